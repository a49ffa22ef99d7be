#include "sender/stream_socket.hpp"

#include "common/net.hpp"
#include "common/usage.hpp"

#include <cerrno>
#include <fmt/format.h>
#include <optional>
#include <sys/socket.h>

namespace sluice {

namespace {

// How long the socket may take nothing before the wait is started anew, where there is no timeout.
constexpr std::chrono::milliseconds kWait{60'000};
// What may wait in the socket of a far path beyond what is under way. What is in there cannot be
// left to another stream any more, and at the end the slowest of all is waited for.
constexpr std::size_t kUnsentBytes = std::size_t{256} << 10;

Error cancelled() {
    return {ErrorKind::interrupted, "cancelled", ECANCELED};
}

} // namespace

Status StreamSocket::connect() {
    Result<UniqueFd> connected = connect_tcp(target_.host, target_.port, target_.connect_timeout,
                                             target_.cancel_fd, target_.congestion);
    if (!connected) {
        return std::move(connected).error();
    }
    socket_ = std::move(*connected);
    if (target_.far) {
        set_unsent_limit(socket_.get(), kUnsentBytes);
    }
    return ok();
}

void StreamSocket::close() noexcept {
    socket_ = {};
}

Status StreamSocket::send(proto::ByteView bytes, bool more) {
    while (!bytes.empty()) {
        const Result<std::uint64_t> turn = wait_for_turn(bytes.size());
        if (!turn) {
            return turn.error();
        }
        count_system_call();
        const ssize_t sent = ::send(socket_.get(), bytes.data(), static_cast<std::size_t>(*turn),
                                    MSG_NOSIGNAL | (more ? MSG_MORE : 0));
        if (sent >= 0) {
            share_.spend(static_cast<std::uint64_t>(sent));
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
        const Step step = copier.step(file, offset, socket_.get(), *turn);
        share_.spend(step.moved);
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

Result<std::uint64_t> StreamSocket::wait_for_turn(std::uint64_t wanted) {
    const auto began = std::chrono::steady_clock::now();
    const std::uint64_t allowed = share_.wait(wanted, target_.cancel_fd);
    waited_ += std::chrono::steady_clock::now() - began;
    return allowed > 0 ? Result<std::uint64_t>(allowed) : Result<std::uint64_t>(cancelled());
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
        switch (wait_for_socket(socket_.get(), true, target_.cancel_fd, wait)) {
        case Wait::ready: return ok();
        case Wait::cancelled: return cancelled();
        case Wait::timed_out: break;
        }
        const std::uint64_t now = tcp_progress(socket_.get()).acknowledged_bytes;
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
