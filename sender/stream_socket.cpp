#include "sender/stream_socket.hpp"

#include "common/net.hpp"
#include "common/secure_connect.hpp"
#include "common/usage.hpp"

#include <algorithm>
#include <cerrno>
#include <fmt/format.h>
#include <optional>
#include <span>
#include <unistd.h>
#include <utility>

namespace sluice {

namespace {

// How long the socket may take nothing before the wait is started anew, where there is no timeout.
constexpr std::chrono::milliseconds kWait{60'000};
// What may wait in the socket of a far path beyond what is under way. What is in there cannot be
// left to another stream any more, and at the end the slowest of all is waited for.
constexpr std::size_t kUnsentBytes = std::size_t{256} << 10;

// What is read at once of a file that has to be encrypted.
constexpr std::size_t kCopyBytes = std::size_t{256} << 10;

// What a record adds to its content: header, type and tag (RFC 8446, 5.2); and the least that is
// sent as one where the rate is limited.
constexpr std::uint64_t kRecordBytes = 22;
constexpr std::uint64_t kLeastRecordBytes = 1024;
constexpr std::uint64_t kRecordContentBytes = std::uint64_t{16} << 10;

std::uint64_t records(std::uint64_t bytes) {
    return bytes / kRecordContentBytes + 1;
}

Error cancelled() {
    return {ErrorKind::interrupted, "cancelled", ECANCELED};
}

} // namespace

Status StreamSocket::connect() {
    Result<Channel> connected =
        connect_channel(target_.host, target_.port, target_.connect_timeout, target_.cancel_fd,
                        target_.tls.get(), target_.congestion);
    if (!connected) {
        return std::move(connected).error();
    }
    channel_ = std::move(*connected);
    protected_bytes_ = 0;
    if (target_.far) {
        set_unsent_limit(channel_.fd(), kUnsentBytes);
    }
    return ok();
}

void StreamSocket::close() noexcept {
    channel_ = {};
}

Status StreamSocket::send(proto::ByteView bytes, bool more) {
    while (!bytes.empty()) {
        const Result<std::uint64_t> turn = wait_for_turn(bytes.size());
        if (!turn) {
            return turn.error();
        }
        const ssize_t sent = channel_.send(bytes.first(static_cast<std::size_t>(*turn)), more);
        if (sent >= 0) {
            this->sent(static_cast<std::uint64_t>(sent));
            bytes = bytes.subspan(static_cast<std::size_t>(sent));
        } else if (errno == EAGAIN) {
            if (Status ready = wait_until_writable(); !ready) {
                return ready;
            }
        } else if (errno != EINTR) {
            return broken(errno);
        }
    }
    return ok();
}

Result<StreamSocket::Sent> StreamSocket::send_file(FileToSocket& copier, int file,
                                                   std::uint64_t offset, std::uint64_t length) {
    Sent sent;
    while (length > 0) {
        const Result<std::uint64_t> turn = wait_for_turn(length);
        if (!turn) {
            return turn.error();
        }
        const Step step = copier.step(file, offset, channel_.fd(), *turn);
        this->sent(step.moved);
        (step.zero_copy ? sent.zero_copy : sent.copied) += step.moved;
        offset += step.moved;
        length -= step.moved;
        switch (step.status) {
        case StepStatus::progress: break;
        case StepStatus::would_block:
            if (Status ready = wait_until_writable(); !ready) {
                return std::move(ready).error();
            }
            break;
        case StepStatus::end: sent.truncated = true; return sent;
        case StepStatus::file_failed: sent.read_error = step.error_number; return sent;
        case StepStatus::socket_failed: return broken(step.error_number);
        }
    }
    return sent;
}

Result<StreamSocket::Sent> StreamSocket::copy_file(int file, std::uint64_t offset,
                                                   std::uint64_t length, Digester* digester) {
    copied_.resize(kCopyBytes);
    Sent sent;
    while (sent.copied < length) {
        const auto wanted =
            static_cast<std::size_t>(std::min<std::uint64_t>(length - sent.copied, kCopyBytes));
        count_system_call();
        const ssize_t got =
            ::pread(file, copied_.data(), wanted, static_cast<off_t>(offset + sent.copied));
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            sent.read_error = errno;
            return sent;
        }
        if (got == 0) {
            sent.truncated = true;
            return sent;
        }
        const auto bytes = std::span(copied_).first(static_cast<std::size_t>(got));
        if (digester != nullptr) {
            digester->add(bytes);
        }
        if (Status done = send(bytes, false); !done) {
            return std::move(done).error();
        }
        sent.copied += static_cast<std::uint64_t>(got);
    }
    return sent;
}

Result<std::uint64_t> StreamSocket::wait_for_turn(std::uint64_t wanted) {
    const auto began = std::chrono::steady_clock::now();
    const bool by_record = target_.limiter != nullptr && channel_.tls() != nullptr;
    Result<std::uint64_t> turn =
        by_record ? wait_for_record(wanted) : share_.wait(wanted, target_.cancel_fd);
    waited_ += std::chrono::steady_clock::now() - began;
    return turn && *turn == 0 ? Result<std::uint64_t>(cancelled()) : turn;
}

// A turn of a low rate may be a few bytes, and each record takes kRecordBytes beside its content.
// So turns are gathered until they are worth a record.
std::uint64_t StreamSocket::wait_for_record(std::uint64_t wanted) {
    const std::uint64_t least = std::min(wanted + kRecordBytes, kLeastRecordBytes);
    while (granted_ < least) {
        const std::uint64_t turn = share_.wait(RateSchedule::kMaxTurnBytes, target_.cancel_fd);
        if (turn == 0) {
            return 0;
        }
        share_.spend(turn);
        granted_ += turn;
    }
    return std::min(wanted, granted_ - records(granted_) * kRecordBytes);
}

void StreamSocket::sent(std::uint64_t bytes) noexcept {
    if (channel_.tls() == nullptr) {
        share_.spend(bytes);
        return;
    }
    protected_bytes_ += bytes;
    if (target_.limiter != nullptr) {
        granted_ -= std::min(granted_, bytes + records(bytes) * kRecordBytes);
    }
}

Status StreamSocket::wait_until_writable() {
    const auto began = std::chrono::steady_clock::now();
    Status ready = wait_as_long_as_it_moves();
    waited_ += std::chrono::steady_clock::now() - began;
    return ready;
}

// A socket is writable only when a good part of its buffer is free, which takes long on a slow
// path. So half the timeout passes in good faith; in the other half the peer's kernel must have
// taken something.
Status StreamSocket::wait_as_long_as_it_moves() {
    const bool limited = target_.timeout.count() > 0;
    std::optional<std::uint64_t> taken;
    for (;;) {
        const auto wait = limited ? (target_.timeout + std::chrono::milliseconds{1}) / 2 : kWait;
        switch (wait_for_socket(channel_.fd(), true, target_.cancel_fd, wait)) {
        case Wait::ready: return ok();
        case Wait::cancelled: return cancelled();
        case Wait::timed_out: break;
        }
        const std::uint64_t now = tcp_progress(channel_.fd()).acknowledged_bytes;
        if (limited && taken == now) {
            return broken(ETIMEDOUT);
        }
        taken = now;
    }
}

Error StreamSocket::broken(int error_number) const {
    return system_error(error_number == ETIMEDOUT ? ErrorKind::timed_out : ErrorKind::network,
                        fmt::format("lost a data connection to {}",
                                    format_host_and_port(target_.host, target_.port)),
                        error_number);
}

} // namespace sluice
