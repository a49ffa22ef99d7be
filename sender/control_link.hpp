// The control connection as the sender sees it: frames out, answers in, and signs of life both
// ways. Lives on the thread of its loop.
//
//     AwaitWelcome --welcome--> Active --finish--> Finishing --done--> Over
//     any state --error, end of stream, silence--> Over
#pragma once

#include "common/channel.hpp"
#include "common/loop.hpp"
#include "common/result.hpp"
#include "proto/frame_reader.hpp"

#include <chrono>
#include <cstddef>
#include <functional>
#include <string>

namespace sluice {

class ControlLink {
public:
    using Clock = std::chrono::steady_clock;

    // Those that return false: the message answers nothing.
    struct Callbacks {
        std::function<void(const proto::Welcome&)> welcome;
        std::function<bool(const proto::Present&)> present;
        std::function<bool(const proto::Verdict&)> verdict;
        std::function<bool(const proto::Ack&)> ack;
        std::function<bool(const proto::Again&)> again;
        std::function<void(const proto::Lost&)> lost;
        std::function<void(const proto::FileError&)> file_error;
        std::function<void(const proto::Done&)> done;
        // Once, and nothing after it. `said`: in the words of the receiver.
        std::function<void(Error, bool said)> failed;
    };

    // Gives the receiver (`peer`, for messages) up when nothing comes from it for `timeout`; zero:
    // never.
    ControlLink(Loop& loop, Channel channel, std::string peer, std::chrono::milliseconds timeout,
                Callbacks callbacks);

    // Queues complete frames. Whoever calls bounds what is under way.
    void send(const proto::Bytes& frames);
    // Queues the Finish, after which the receiver may say Done.
    void finish(const proto::Finish& message);
    // Handles what has already come in, whatever the loop is doing.
    void read_pending();
    // Sends as much as the socket takes at once: a last word before everything ends.
    void send_last(const proto::Bytes& frames);

    // How often to look after things that may take as long as the timeouts.
    [[nodiscard]] std::chrono::milliseconds tick() const noexcept;

private:
    enum class State : unsigned char { await_welcome, active, finishing, over };

    void on_ready(Readiness ready);
    void on_tick();
    [[nodiscard]] bool read_frame();
    [[nodiscard]] proto::Fault handle_frame();
    [[nodiscard]] proto::Fault handle_answer();
    [[nodiscard]] std::chrono::milliseconds shorter_timeout() const noexcept;
    void flush();
    void fail(Error error, bool said);

    Channel channel_;
    const std::string peer_;
    const std::chrono::milliseconds timeout_;
    std::chrono::milliseconds peer_timeout_{0}; // as it says in its Welcome
    Callbacks callbacks_;
    proto::FrameReader reader_;
    State state_ = State::await_welcome;
    proto::Bytes out_;
    std::size_t out_sent_ = 0;
    int send_error_ = 0;                        // errno; nothing is sent any more
    Clock::time_point heard_at_ = Clock::now(); // something from the receiver, the last time
    Clock::time_point sent_at_ = Clock::now();
    Poll poll_;
    Timer timer_;
};

} // namespace sluice
