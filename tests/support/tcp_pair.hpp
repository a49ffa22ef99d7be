// For tests: two connected TCP sockets over loopback, and the waiting that goes with them. Nothing
// here sleeps; waits have a deadline that only a hanging test reaches.
#pragma once

#include "common/unique_fd.hpp"

#include <cerrno>
#include <cstddef>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <span>
#include <stdexcept>
#include <string>
#include <sys/socket.h>
#include <system_error>
#include <vector>

namespace sluice::test {

inline constexpr int kWaitMs = 30'000;

inline void require(bool condition, const char* what) {
    if (!condition) {
        throw std::system_error(errno, std::generic_category(), what);
    }
}

// False where `events` did not come before the deadline.
[[nodiscard]] inline bool wait_for(int fd, short events) {
    pollfd entry{fd, events, 0};
    return ::poll(&entry, 1, kWaitMs) == 1;
}

inline void set_blocking(int fd, bool blocking) {
    const int flags = ::fcntl(fd, F_GETFL);
    require(::fcntl(fd, F_SETFL, blocking ? flags & ~O_NONBLOCK : flags | O_NONBLOCK) == 0,
            "fcntl");
}

// Both ends are non-blocking and have TCP_NODELAY.
struct TcpPair {
    UniqueFd sender;
    UniqueFd receiver;

    TcpPair() {
        const auto listener = UniqueFd::adopt(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t length = sizeof address;
        // The sockets interface is made of such casts.
        auto* const generic = reinterpret_cast<sockaddr*>(&address);
        require(::bind(listener.get(), generic, length) == 0, "bind");
        require(::listen(listener.get(), 1) == 0, "listen");
        require(::getsockname(listener.get(), generic, &length) == 0, "getsockname");
        sender = UniqueFd::adopt(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        // BBR paces with timers, which makes loopback slow; not essential, so not checked.
        ::setsockopt(sender.get(), IPPROTO_TCP, TCP_CONGESTION, "reno", 4);
        require(::connect(sender.get(), generic, length) == 0, "connect");
        receiver = UniqueFd::adopt(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
        require(static_cast<bool>(receiver), "accept");
        const int on = 1;
        for (const int fd : {sender.get(), receiver.get()}) {
            set_blocking(fd, false);
            require(::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0, "nodelay");
        }
    }
};

// Closes with a reset instead of an orderly end.
inline void reset_connection(UniqueFd& socket) {
    const linger now{1, 0};
    require(::setsockopt(socket.get(), SOL_SOCKET, SO_LINGER, &now, sizeof now) == 0, "linger");
    socket.reset();
}

// Sends everything; for amounts that the socket buffers hold.
inline void send_all(int socket, std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
        const ssize_t sent = ::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (sent >= 0) {
            bytes = bytes.subspan(static_cast<std::size_t>(sent));
        } else {
            require(errno == EAGAIN && wait_for(socket, POLLOUT), "send");
        }
    }
}

// Receives exactly `length` bytes, waiting for them.
inline std::vector<std::byte> receive_exactly(int socket, std::size_t length) {
    std::vector<std::byte> bytes(length);
    std::size_t done = 0;
    while (done < length) {
        const ssize_t got = ::recv(socket, bytes.data() + done, length - done, 0);
        if (got > 0) {
            done += static_cast<std::size_t>(got);
        } else if (got == 0) {
            throw std::runtime_error("the peer closed after " + std::to_string(done) + " bytes");
        } else {
            require(errno == EAGAIN && wait_for(socket, POLLIN), "recv");
        }
    }
    return bytes;
}

// Waits until `length` bytes can be read at once.
inline void wait_queued(int socket, std::size_t length) {
    const int mark = static_cast<int>(length);
    const int one = 1;
    require(::setsockopt(socket, SOL_SOCKET, SO_RCVLOWAT, &mark, sizeof mark) == 0, "lowat");
    require(wait_for(socket, POLLIN), "poll");
    require(::setsockopt(socket, SOL_SOCKET, SO_RCVLOWAT, &one, sizeof one) == 0, "lowat");
}

} // namespace sluice::test
