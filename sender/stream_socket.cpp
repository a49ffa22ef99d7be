#include "sender/stream_socket.hpp"

#include "common/net.hpp"
#include "common/usage.hpp"

#include <cerrno>
#include <fmt/format.h>
#include <sys/socket.h>

namespace sluice {

namespace {

// How long the socket may take nothing before the wait is started anew; nothing else happens then.
constexpr std::chrono::milliseconds kWait{60'000};

} // namespace

Status StreamSocket::connect() {
    if (socket_) {
        ::shutdown(socket_.get(), SHUT_WR); // what is queued still goes out, then the end
    }
    Result<UniqueFd> connected = connect_tcp(target_.host, target_.port, target_.connect_timeout,
                                             target_.cancel_fd, target_.congestion);
    if (!connected) {
        return std::move(connected).error();
    }
    socket_ = std::move(*connected);
    const auto preamble = proto::encode_preamble({proto::kVersion, proto::Role::data});
    proto::Bytes hello(preamble.begin(), preamble.end());
    proto::encode(proto::Join{target_.token, target_.index}, hello);
    return send(hello, false);
}

Status StreamSocket::send(proto::ByteView bytes, bool more) {
    while (!bytes.empty()) {
        count_system_call();
        const ssize_t sent =
            ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | (more ? MSG_MORE : 0));
        if (sent >= 0) {
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
        const Step step = copier.step(file, offset, socket_.get(), length);
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

Status StreamSocket::wait_until_writable() {
    for (;;) {
        switch (wait_for_socket(socket_.get(), true, target_.cancel_fd, kWait)) {
        case Wait::ready: return ok();
        case Wait::cancelled: return Error{ErrorKind::interrupted, "cancelled", ECANCELED};
        case Wait::timed_out: break;
        }
    }
}

Error StreamSocket::broken(int error_number) const {
    return system_error(
        ErrorKind::network,
        fmt::format("lost the data connection to {}:{}", target_.host, target_.port), error_number);
}

} // namespace sluice
