#include "common/zero_copy.hpp"

#include <algorithm>
#include <cerrno>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

namespace sluice {
namespace {

// What one sendfile(2) call moves at most, whatever it is asked for.
constexpr std::uint64_t kMaxSendfileBytes = 0x7ffff000;

// 2 GiB over loopback: 0.43 s of wall time with 64 KiB, 0.33 with 256 KiB, 0.29 with 512 KiB and
// with 1 MiB.
constexpr std::size_t kCopyBufferBytes = std::size_t{512} << 10;
constexpr std::size_t kMinReadBytes = std::size_t{64} << 10;

template <typename Call>
ssize_t counted(Call call) {
    for (;;) {
        count_system_call();
        const ssize_t result = call();
        if (result >= 0 || errno != EINTR) {
            return result;
        }
    }
}

// The kernel cannot do this to this file; copying may.
bool is_refusal(int error_number) noexcept {
    return error_number == EINVAL || error_number == ENOSYS || error_number == EOPNOTSUPP;
}

class CopySender final : public FileToSocket {
public:
    Step step(int file, std::uint64_t offset, int socket, std::uint64_t budget_bytes) override {
        Step total;
        while (total.status == StepStatus::progress && total.moved < budget_bytes) {
            const auto wanted = static_cast<std::size_t>(
                std::min<std::uint64_t>(budget_bytes - total.moved, read_bytes_));
            const auto position = static_cast<off_t>(offset + total.moved);
            const ssize_t got = counted([&] { return ::pread(file, buffer(), wanted, position); });
            if (got < 0) {
                total.status = StepStatus::file_failed;
                total.error_number = errno;
            } else if (got == 0) {
                total.status = StepStatus::end;
            } else {
                send_all(socket, static_cast<std::size_t>(got), total);
            }
        }
        return total;
    }

private:
    std::byte* buffer() {
        if (!buffer_) {
            buffer_ = std::make_unique_for_overwrite<std::byte[]>(kCopyBufferBytes);
        }
        return buffer_.get();
    }

    void send_all(int socket, std::size_t length, Step& total) {
        std::size_t sent = 0;
        while (sent < length) {
            const ssize_t result = counted(
                [&] { return ::send(socket, buffer() + sent, length - sent, MSG_NOSIGNAL); });
            if (result < 0) {
                const bool full = errno == EAGAIN || errno == EWOULDBLOCK;
                total.status = full ? StepStatus::would_block : StepStatus::socket_failed;
                total.error_number = full ? 0 : errno;
                break;
            }
            sent += static_cast<std::size_t>(result);
        }
        total.moved += sent;
        // What the socket did not take is read again by the next step (the file may have changed,
        // and the object may serve another one by then), so read less while the socket is slow.
        read_bytes_ = sent < length ? std::max(read_bytes_ / 2, kMinReadBytes)
                                    : std::min(read_bytes_ * 2, kCopyBufferBytes);
    }

    std::unique_ptr<std::byte[]> buffer_;
    std::size_t read_bytes_ = kCopyBufferBytes;
};

// sendfile(2) does not say which of its two ends failed. EPIPE and ECONNRESET cannot come from a
// file; for anything else the file is asked for the byte in question.
StepStatus failed_end(int error_number, int file, std::uint64_t offset) {
    if (is_refusal(error_number)) {
        return StepStatus::file_failed;
    }
    if (error_number == EPIPE || error_number == ECONNRESET) {
        return StepStatus::socket_failed;
    }
    std::byte probe{};
    const ssize_t got =
        counted([&] { return ::pread(file, &probe, 1, static_cast<off_t>(offset)); });
    return got < 0 ? StepStatus::file_failed : StepStatus::socket_failed;
}

class SendfileSender final : public FileToSocket {
public:
    Step step(int file, std::uint64_t offset, int socket, std::uint64_t budget_bytes) override {
        Step total;
        total.zero_copy = true;
        while (total.moved < budget_bytes) {
            auto position = static_cast<off_t>(offset + total.moved);
            const auto wanted =
                static_cast<std::size_t>(std::min(budget_bytes - total.moved, kMaxSendfileBytes));
            const ssize_t sent =
                counted([&] { return ::sendfile(socket, file, &position, wanted); });
            if (sent > 0) {
                total.moved += static_cast<std::uint64_t>(sent);
            } else if (sent == 0) {
                total.status = StepStatus::end;
                return total;
            } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
                total.status = StepStatus::would_block;
                return total;
            } else {
                total.error_number = errno;
                total.status = failed_end(total.error_number, file, offset + total.moved);
                return total;
            }
        }
        return total;
    }
};

class AutomaticSender final : public FileToSocket {
public:
    Step step(int file, std::uint64_t offset, int socket, std::uint64_t budget_bytes) override {
        const Step direct = sendfile_.step(file, offset, socket, budget_bytes);
        if (direct.status != StepStatus::file_failed || !is_refusal(direct.error_number)) {
            return direct;
        }
        // Not remembered: the next file may well do, and a refused call costs little.
        Step copied = copy_.step(file, offset + direct.moved, socket, budget_bytes - direct.moved);
        copied.moved += direct.moved;
        return copied;
    }

private:
    SendfileSender sendfile_;
    CopySender copy_;
};

} // namespace

std::optional<CopyPath> parse_copy_path(std::string_view text,
                                        std::string_view zero_copy_name) noexcept {
    if (text == "auto") {
        return CopyPath::automatic;
    }
    if (text == zero_copy_name) {
        return CopyPath::zero_copy;
    }
    if (text == "copy") {
        return CopyPath::copy;
    }
    return std::nullopt;
}

std::unique_ptr<FileToSocket> make_file_to_socket(CopyPath path) {
    switch (path) {
    case CopyPath::zero_copy: return std::make_unique<SendfileSender>();
    case CopyPath::copy: return std::make_unique<CopySender>();
    case CopyPath::automatic: break;
    }
    return std::make_unique<AutomaticSender>();
}

} // namespace sluice
