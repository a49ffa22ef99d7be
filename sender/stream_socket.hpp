// The socket of one data connection: connecting, joining the session, and sending all of
// something, however little the socket takes at a time. Belongs to the stream's thread.
#pragma once

#include "common/result.hpp"
#include "common/unique_fd.hpp"
#include "common/zero_copy.hpp"
#include "proto/messages.hpp"

#include <chrono>
#include <cstdint>
#include <string>

namespace sluice {

// Where and as what a stream joins. `cancel_fd` (borrowed) becomes readable when all shall stop.
struct StreamTarget {
    std::string host;
    std::uint16_t port = 0;
    std::chrono::milliseconds connect_timeout{0};
    std::string congestion;
    proto::Token token{};
    std::uint16_t index = 0;
    int cancel_fd = -1;
};

class StreamSocket {
public:
    explicit StreamSocket(StreamTarget target) : target_(std::move(target)) {}

    // Connects and joins; in place of an earlier connection, of which everything that was sent
    // still arrives.
    [[nodiscard]] Status connect();

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

private:
    [[nodiscard]] Status wait_until_writable();
    [[nodiscard]] Error broken(int error_number) const;

    const StreamTarget target_;
    UniqueFd socket_;
};

} // namespace sluice
