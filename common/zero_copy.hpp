// The one place that moves file bytes between a file and a socket: without passing through user
// space (sendfile(2), splice(2)), and the copying twin of each under the same contract.
//
// Every step moves at most `budget_bytes` and returns what it moved together with why it stopped.
// Offsets are explicit; no shared file position is read or changed. Descriptors are borrowed.
// Sockets should be non-blocking: on a blocking one a step waits instead of reporting would_block.
// The calling thread must block or ignore SIGPIPE: sendfile(2) has no MSG_NOSIGNAL (seen on
// Linux 6.18). An object belongs to one thread at a time; it may serve many transfers one after the
// other.
#pragma once

#include "common/result.hpp"
#include "common/unique_fd.hpp"
#include "common/usage.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

namespace sluice {

enum class CopyPath : unsigned char {
    automatic, // zero-copy, and copying where the kernel refuses (EINVAL, ENOSYS, EOPNOTSUPP)
    zero_copy, // zero-copy or an error
    copy,      // through a user-space buffer
};

// "auto", "sendfile"/"splice", "copy"; nullopt for anything else. `zero_copy_name` is the word for
// CopyPath::zero_copy.
[[nodiscard]] std::optional<CopyPath> parse_copy_path(std::string_view text,
                                                      std::string_view zero_copy_name) noexcept;

enum class StepStatus : unsigned char {
    progress,      // the budget is spent
    would_block,   // the socket is full (sending) or empty (receiving)
    end,           // sending: the file is shorter than asked (it was truncated)
                   // receiving: the peer closed its side
    socket_failed, // error_number says why (EPIPE, ECONNRESET, ...)
    file_failed,   // error_number says why (EIO, ENOSPC, ...)
};

struct Step {
    StepStatus status = StepStatus::progress;
    // Sending: bytes that the socket took. Receiving: bytes that left the socket, also those that
    // could then not be written to the file (status file_failed), so that framing stays in step.
    std::uint64_t moved = 0;
    int error_number = 0;
    // Whether these bytes bypassed user space.
    bool zero_copy = false;
};

class FileToSocket {
public:
    virtual ~FileToSocket() = default;
    // Sends file bytes [offset, offset + budget_bytes). The caller asks for bytes inside the file
    // only: asking beyond the end leaves the tail in the socket under MSG_MORE for 200 ms on
    // kernels before 6.5.
    [[nodiscard]] virtual Step step(int file, std::uint64_t offset, int socket,
                                    std::uint64_t budget_bytes) = 0;
};

class SocketToFile {
public:
    virtual ~SocketToFile() = default;
    // Moves up to budget_bytes from the socket to the file at `offset`. When it returns, nothing
    // is left in between: the internal pipe is empty, or was replaced after a failed write.
    [[nodiscard]] virtual Step step(int socket, int file, std::uint64_t offset,
                                    std::uint64_t budget_bytes) = 0;
    // Takes up to budget_bytes from the socket and drops them.
    [[nodiscard]] virtual Step discard(int socket, std::uint64_t budget_bytes) = 0;
};

// Never fails: where a zero-copy object cannot be had (no descriptors for a pipe), `automatic`
// copies, and `zero_copy` reports the error from its first step. With `automatic` the change to
// copying is made per transfer, only while nothing of the step has moved (a payload that is
// already in the pipe is rescued through user space).
[[nodiscard]] std::unique_ptr<FileToSocket> make_file_to_socket(CopyPath path);
[[nodiscard]] std::unique_ptr<SocketToFile> make_socket_to_file(CopyPath path);

// A pipe as large as the system lets it be, up to `wanted_bytes`.
struct Pipe {
    UniqueFd read_end;
    UniqueFd write_end;
    std::size_t capacity_bytes = 0; // what F_GETPIPE_SZ says
};
[[nodiscard]] Result<Pipe> make_pipe(std::size_t wanted_bytes);

} // namespace sluice
