// The socket of one data connection: connecting, and sending all of something, however little the
// socket takes at a time. Belongs to the stream's thread.
#pragma once

#include "common/channel.hpp"
#include "common/digest.hpp"
#include "common/rate_limit.hpp"
#include "common/result.hpp"
#include "common/tls.hpp"
#include "common/zero_copy.hpp"
#include "proto/messages.hpp"

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

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
    std::shared_ptr<TlsContext> tls;  // null: in clear
    std::uint64_t most_tls_bytes = 0; // that one connection may carry
    RateLimiter* limiter = nullptr;   // of all streams together, borrowed; nullptr: no limit
};

// Errors are of kind network or timed_out (the connection is broken), interrupted, or refused (the
// receiver does not have the key).
class StreamSocket {
public:
    explicit StreamSocket(StreamTarget target)
        : target_(std::move(target)), share_(target_.limiter) {}

    // In place of an earlier connection, which must have been closed.
    [[nodiscard]] Status connect();
    // What the socket has taken still goes out.
    void close() noexcept;
    // The connection has carried as much as it may, and shall be replaced.
    [[nodiscard]] bool used_up() const noexcept {
        return protected_bytes_ >= target_.most_tls_bytes;
    }
    [[nodiscard]] int fd() const noexcept { return channel_.fd(); }

    // Sends all of `bytes`. With `more`, the kernel may wait for what follows (MSG_MORE).
    [[nodiscard]] Status send(proto::ByteView bytes, bool more);

    // What became of a file range. `sent` < asked with success: the file is shorter than that.
    struct Sent {
        std::uint64_t zero_copy = 0;
        std::uint64_t copied = 0;
        bool truncated = false;
        int read_error = 0; // errno of a file that could not be read
    };
    // Whether `copier` below does the work; else the bytes have to be encrypted on their way.
    [[nodiscard]] bool sends_files() const noexcept { return channel_.sends_files(); }
    [[nodiscard]] Result<Sent> send_file(FileToSocket& copier, int file, std::uint64_t offset,
                                         std::uint64_t length);
    // The same through a buffer, whose bytes are added to `digester` (null: there is none).
    [[nodiscard]] Result<Sent> copy_file(int file, std::uint64_t offset, std::uint64_t length,
                                         Digester* digester);

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
    [[nodiscard]] std::uint64_t wait_for_record(std::uint64_t wanted);
    void sent(std::uint64_t bytes) noexcept;
    [[nodiscard]] Status wait_until_writable();
    [[nodiscard]] Status wait_as_long_as_it_moves();

    const StreamTarget target_;
    RateShare share_;
    Channel channel_;
    std::uint64_t protected_bytes_ = 0; // sent on this connection under TLS
    std::uint64_t granted_ = 0;         // by the limiter, for the next record
    std::vector<std::byte> copied_;     // file bytes on their way; made when it is needed
    std::chrono::steady_clock::duration waited_{0};
};

} // namespace sluice
