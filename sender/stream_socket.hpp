// The socket of one data connection: connecting, and sending all of something, however little the
// socket takes at a time. Belongs to the stream's thread.
#pragma once

#include "common/rate_limit.hpp"
#include "common/result.hpp"
#include "common/unique_fd.hpp"
#include "common/zero_copy.hpp"
#include "proto/messages.hpp"

#include <chrono>
#include <cstdint>
#include <string>

namespace sluice {

// Where a stream connects to. `cancel_fd` (borrowed) becomes readable when all shall stop.
struct StreamTarget {
    std::string host; // the address that the control connection reached
    std::uint16_t port = 0;
    std::chrono::milliseconds connect_timeout{0};
    // The connection is given up when the peer takes nothing for so long; 0: never.
    std::chrono::milliseconds timeout{0};
    std::string congestion;
    bool far = false; // the path is long enough for the network to be what limits it
    int cancel_fd = -1;
    RateLimiter* limiter = nullptr; // of all streams together, borrowed; nullptr: no limit
};

// Errors are of kind network or timed_out (the connection is broken), or interrupted.
class StreamSocket {
public:
    explicit StreamSocket(StreamTarget target)
        : target_(std::move(target)), share_(target_.limiter) {}

    // In place of an earlier connection, which must have been closed.
    [[nodiscard]] Status connect();
    // What the socket has taken still goes out.
    void close() noexcept;
    [[nodiscard]] int fd() const noexcept { return socket_.get(); }

    // Sends all of `bytes`. With `more`, the kernel may wait for what follows (MSG_MORE).
    [[nodiscard]] Status send(proto::ByteView bytes, bool more);

    // What became of a file range. `sent` < asked with success: the file is shorter than that.
    struct Sent {
        std::uint64_t zero_copy = 0;
        std::uint64_t copied = 0;
        bool truncated = false;
        int read_error = 0; // errno of a file that could not be read
    };
    [[nodiscard]] Result<Sent> send_file(FileToSocket& copier, int file, std::uint64_t offset,
                                         std::uint64_t length);

    // The bound on what all streams send together, in bytes per second; 0: none.
    [[nodiscard]] std::uint64_t rate() const noexcept {
        return target_.limiter == nullptr ? 0 : target_.limiter->rate();
    }

    // How long all sends have waited for the socket to take more, connections before included.
    [[nodiscard]] std::chrono::steady_clock::duration waited() const noexcept { return waited_; }

    [[nodiscard]] Error broken(int error_number) const;

private:
    // How many of `wanted` bytes may be sent now.
    [[nodiscard]] Result<std::uint64_t> wait_for_turn(std::uint64_t wanted);
    [[nodiscard]] Status wait_until_writable();
    [[nodiscard]] Status wait_as_long_as_it_moves();

    const StreamTarget target_;
    RateShare share_;
    UniqueFd socket_;
    std::chrono::steady_clock::duration waited_{0};
};

} // namespace sluice
