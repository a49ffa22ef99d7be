// Measures how one stream gets on, and reports it to Compression every few milliseconds. Belongs
// to the stream's thread.
#pragma once

#include "sender/compression.hpp"
#include "sender/frame_pipeline.hpp"
#include "sender/stream_socket.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace sluice {

class SendMeter {
public:
    // What is referred to is borrowed. `stream`: its number.
    SendMeter(Compression& compression, std::size_t stream, const StreamSocket& socket,
              const FramePipeline& frames)
        : compression_(compression), stream_(stream), socket_(socket), frames_(frames) {}

    // There is something to send from now on.
    void begin();
    // There is nothing to send for a while.
    void pause();
    // `payload` bytes of files were handed to the socket, as `on_wire` bytes.
    void sent(std::uint64_t payload, std::uint64_t on_wire, bool packed);
    // The connection has ended: what was not reported never is, and the next one counts from zero.
    void disconnected();

private:
    using Clock = Compression::Clock;

    void report(Clock::time_point now);

    Compression& compression_;
    const std::size_t stream_;
    const StreamSocket& socket_;
    const FramePipeline& frames_;
    bool active_ = false;
    Clock::time_point since_{}; // of what is in report_
    Clock::duration waited_{0};
    Clock::duration starved_{0};
    std::uint64_t acknowledged_ = 0;
    Compression::Report report_;
};

} // namespace sluice
