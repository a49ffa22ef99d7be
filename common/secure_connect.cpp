#include "common/secure_connect.hpp"

#include "common/net.hpp"

#include <algorithm>
#include <cerrno>
#include <fmt/format.h>
#include <utility>

namespace sluice {

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

Status shake_hands(TlsConnection& tls, int socket, Clock::time_point deadline, int cancel_fd) {
    for (;;) {
        const TlsConnection::Progress progress = tls.handshake();
        if (progress == TlsConnection::Progress::done) {
            return ok();
        }
        if (progress == TlsConnection::Progress::failed) {
            return tls.failure();
        }
        const bool for_writing = progress == TlsConnection::Progress::wants_to_write;
        const auto left = std::chrono::ceil<milliseconds>(deadline - Clock::now());
        switch (wait_for_socket(socket, for_writing, cancel_fd, std::max(left, milliseconds{0}))) {
        case Wait::ready: break;
        case Wait::cancelled: return Error{ErrorKind::interrupted, "cancelled", ECANCELED};
        case Wait::timed_out:
            return Error{ErrorKind::timed_out, "the TLS handshake took too long", ETIMEDOUT};
        }
    }
}

} // namespace

Result<Channel> connect_channel(const std::string& host, std::uint16_t port, milliseconds timeout,
                                int cancel_fd, TlsContext* tls, const std::string& congestion) {
    const Clock::time_point deadline = Clock::now() + timeout;
    Result<UniqueFd> socket = connect_tcp(host, port, timeout, cancel_fd, congestion);
    if (!socket) {
        return std::move(socket).error();
    }
    if (tls == nullptr) {
        return Channel(std::move(*socket));
    }
    Result<std::unique_ptr<TlsConnection>> connection = tls->begin(socket->get());
    if (!connection) {
        return std::move(connection).error();
    }
    if (Status done = shake_hands(**connection, socket->get(), deadline, cancel_fd); !done) {
        Error error = std::move(done).error();
        error.message = fmt::format("{}: {}", format_host_and_port(host, port), error.message);
        return error;
    }
    return Channel(std::move(*socket), std::move(*connection));
}

} // namespace sluice
