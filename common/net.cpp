#include "common/net.hpp"

#include "common/usage.hpp"

#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/tcp.h>
#include <memory>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <vector>

namespace sluice {

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// Round trips below this count as local: BBR's pacing hurts there, and its virtues do not matter.
constexpr std::uint32_t kLocalRoundTripUs = 1000;

struct FreeAddresses {
    void operator()(addrinfo* list) const noexcept { freeaddrinfo(list); }
};
using Addresses = std::unique_ptr<addrinfo, FreeAddresses>;

Result<Addresses> resolve(const std::string& host, std::uint16_t port, bool passive) {
    addrinfo hints{};
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_NUMERICSERV | (passive ? AI_PASSIVE : 0);
    addrinfo* list = nullptr;
    const int error = getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &list);
    if (error != 0) {
        const char* const why = error == EAI_SYSTEM ? std::strerror(errno) : gai_strerror(error);
        return Error{ErrorKind::network, fmt::format("cannot resolve host '{}': {}", host, why)};
    }
    return Addresses{list};
}

std::string format_address(const sockaddr_storage& address, socklen_t length) {
    std::array<char, NI_MAXHOST> host{};
    std::array<char, NI_MAXSERV> port{};
    if (getnameinfo(reinterpret_cast<const sockaddr*>(&address), length, host.data(), host.size(),
                    port.data(), port.size(), NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
        return "?";
    }
    return address.ss_family == AF_INET6 ? fmt::format("[{}]:{}", host.data(), port.data())
                                         : fmt::format("{}:{}", host.data(), port.data());
}

using NameCall = int (*)(int, sockaddr*, socklen_t*);

std::string socket_address(int socket, NameCall call) {
    sockaddr_storage address{};
    socklen_t length = sizeof address;
    if (call(socket, reinterpret_cast<sockaddr*>(&address), &length) != 0) {
        return "?";
    }
    return format_address(address, length);
}

void set_option(int socket, int level, int name, int value) noexcept {
    count_system_call();
    static_cast<void>(setsockopt(socket, level, name, &value, sizeof value));
}

// 0, or errno.
int listen_on(const addrinfo& address, UniqueFd& out) {
    UniqueFd fd = UniqueFd::adopt(
        socket(address.ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP));
    if (!fd) {
        return errno;
    }
    set_option(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1);
    if (bind(fd.get(), address.ai_addr, address.ai_addrlen) != 0 ||
        listen(fd.get(), SOMAXCONN) != 0) {
        return errno;
    }
    out = std::move(fd);
    return 0;
}

int socket_error(int socket) noexcept {
    int error = 0;
    socklen_t length = sizeof error;
    count_system_call();
    return getsockopt(socket, SOL_SOCKET, SO_ERROR, &error, &length) == 0 ? error : errno;
}

std::string congestion_of(int socket) {
    std::array<char, 16> name{}; // TCP_CA_NAME_MAX (net/tcp.h)
    socklen_t length = name.size();
    count_system_call();
    if (getsockopt(socket, IPPROTO_TCP, TCP_CONGESTION, name.data(), &length) != 0) {
        return "?";
    }
    return std::string(name.data(), strnlen(name.data(), length));
}

bool set_algorithm(int socket, std::string_view name) noexcept {
    count_system_call();
    return setsockopt(socket, IPPROTO_TCP, TCP_CONGESTION, name.data(),
                      static_cast<socklen_t>(name.size())) == 0;
}

std::uint32_t round_trip_us(int socket) noexcept {
    tcp_info info{};
    socklen_t length = sizeof info;
    count_system_call();
    if (getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &length) != 0) {
        return UINT32_MAX;
    }
    return info.tcpi_rtt;
}

// Connects to one address; 0, ECANCELED, ETIMEDOUT or what connect(2) said.
int connect_to(const addrinfo& address, milliseconds timeout, int cancel_fd,
               const std::string& congestion, UniqueFd& out) {
    UniqueFd fd = UniqueFd::adopt(
        socket(address.ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP));
    if (!fd) {
        return errno;
    }
    if (!congestion.empty()) {
        static_cast<void>(set_algorithm(fd.get(), congestion)); // chosen because it can be set
    }
    count_system_call();
    int error = connect(fd.get(), address.ai_addr, address.ai_addrlen) == 0 ? 0 : errno;
    if (error == EINPROGRESS) {
        switch (wait_for_socket(fd.get(), true, cancel_fd, timeout)) {
        case Wait::ready: error = socket_error(fd.get()); break;
        case Wait::cancelled: error = ECANCELED; break;
        case Wait::timed_out: error = ETIMEDOUT; break;
        }
    }
    if (error == 0) {
        set_common_options(fd.get());
        out = std::move(fd);
    }
    return error;
}

} // namespace

std::string local_address(int socket) {
    return socket_address(socket, getsockname);
}

std::string peer_address(int socket) {
    return socket_address(socket, getpeername);
}

std::string peer_host(int socket) {
    sockaddr_storage address{};
    socklen_t length = sizeof address;
    std::array<char, NI_MAXHOST> host{};
    if (getpeername(socket, reinterpret_cast<sockaddr*>(&address), &length) != 0 ||
        getnameinfo(reinterpret_cast<const sockaddr*>(&address), length, host.data(), host.size(),
                    nullptr, 0, NI_NUMERICHOST) != 0) {
        return {};
    }
    return host.data(); // with the scope of a link-local address
}

std::string format_host_and_port(const std::string& host, std::uint16_t port) {
    return host.find(':') != std::string::npos ? fmt::format("[{}]:{}", host, port)
                                               : fmt::format("{}:{}", host, port);
}

std::uint16_t local_port(int socket) {
    sockaddr_storage address{};
    socklen_t length = sizeof address;
    if (getsockname(socket, reinterpret_cast<sockaddr*>(&address), &length) != 0) {
        return 0;
    }
    // sockaddr_in and sockaddr_in6 have the port in the same place.
    sockaddr_in generic{};
    std::memcpy(&generic, &address, sizeof generic);
    return ntohs(generic.sin_port);
}

Result<UniqueFd> listen_tcp(const std::string& address, std::uint16_t port) {
    Result<Addresses> addresses = resolve(address, port, true);
    if (!addresses) {
        return std::move(addresses).error();
    }
    int error = EADDRNOTAVAIL;
    for (const addrinfo* one = addresses->get(); one != nullptr; one = one->ai_next) {
        UniqueFd fd;
        error = listen_on(*one, fd);
        if (error == 0) {
            return fd;
        }
    }
    return system_error(ErrorKind::network, fmt::format("cannot listen on {}:{}", address, port),
                        error);
}

Result<bool> is_loopback(const std::string& address) {
    Result<Addresses> addresses = resolve(address, 0, true);
    if (!addresses) {
        Error error = std::move(addresses).error();
        error.kind = ErrorKind::usage;
        return error;
    }
    for (const addrinfo* one = addresses->get(); one != nullptr; one = one->ai_next) {
        bool loopback = false;
        if (one->ai_family == AF_INET) {
            sockaddr_in v4{};
            std::memcpy(&v4, one->ai_addr, sizeof v4);
            loopback = (ntohl(v4.sin_addr.s_addr) >> 24U) == IN_LOOPBACKNET;
        } else if (one->ai_family == AF_INET6) {
            sockaddr_in6 v6{};
            std::memcpy(&v6, one->ai_addr, sizeof v6);
            loopback = IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr) != 0;
        }
        if (!loopback) {
            return false;
        }
    }
    return true;
}

Result<UniqueFd> accept_tcp(int listener) {
    count_system_call();
    const int fd = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        return system_error(ErrorKind::network, "cannot accept a connection", errno);
    }
    set_common_options(fd);
    return UniqueFd::adopt(fd);
}

Result<UniqueFd> connect_tcp(const std::string& host, std::uint16_t port, milliseconds timeout,
                             int cancel_fd, const std::string& congestion) {
    Result<Addresses> addresses = resolve(host, port, false);
    if (!addresses) {
        return std::move(addresses).error();
    }
    int remaining = 0;
    for (const addrinfo* one = addresses->get(); one != nullptr; one = one->ai_next) {
        ++remaining;
    }
    const Clock::time_point deadline = Clock::now() + timeout;
    std::string where = fmt::format("{}:{}", host, port);
    int error = EADDRNOTAVAIL;
    for (const addrinfo* one = addresses->get(); one != nullptr; one = one->ai_next, --remaining) {
        const auto left = std::chrono::duration_cast<milliseconds>(deadline - Clock::now());
        UniqueFd fd;
        error = connect_to(*one, std::max(left / remaining, milliseconds{1}), cancel_fd, congestion,
                           fd);
        if (error == 0) {
            return fd;
        }
        if (error == ECANCELED) {
            return Error{ErrorKind::interrupted, "interrupted while connecting", error};
        }
        sockaddr_storage address{};
        std::memcpy(&address, one->ai_addr, one->ai_addrlen);
        where = format_address(address, one->ai_addrlen);
    }
    const ErrorKind kind = error == ETIMEDOUT ? ErrorKind::timed_out : ErrorKind::network;
    return system_error(kind, fmt::format("cannot connect to {}", where), error);
}

void set_common_options(int socket) noexcept {
    set_option(socket, IPPROTO_TCP, TCP_NODELAY, 1);
    set_option(socket, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_option(socket, IPPROTO_TCP, TCP_KEEPIDLE, 30);  // seconds
    set_option(socket, IPPROTO_TCP, TCP_KEEPINTVL, 10); // seconds
    set_option(socket, IPPROTO_TCP, TCP_KEEPCNT, 6);
}

Result<std::string> choose_congestion(int connected, const std::string& setting) {
    const UniqueFd probe =
        UniqueFd::adopt(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP));
    if (setting != "auto") {
        if (!set_algorithm(probe.get(), setting)) {
            const int error = errno;
            return system_error(ErrorKind::usage,
                                fmt::format("cannot use congestion control '{}' (see sysctl "
                                            "net.ipv4.tcp_allowed_congestion_control)",
                                            setting),
                                error);
        }
        return setting;
    }
    const std::string present = congestion_of(connected);
    const bool paced = present.rfind("bbr", 0) == 0;
    if (!paced || round_trip_us(connected) >= kLocalRoundTripUs) {
        return present;
    }
    for (const char* const better : {"cubic", "reno"}) {
        if (set_algorithm(probe.get(), better)) {
            return std::string(better);
        }
    }
    return present;
}

TcpProgress tcp_progress(int socket) noexcept {
    // include/net/tcp_states.h: these and what lies between are not over yet.
    constexpr unsigned kEstablished = 1;
    constexpr unsigned kSynReceived = 3;
    // What an old kernel does not fill stays zero: the structure has grown over the years.
    tcp_info info{};
    socklen_t length = sizeof info;
    count_system_call();
    static_cast<void>(getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &length));
    return {info.tcpi_bytes_acked,
            info.tcpi_state < kEstablished || info.tcpi_state > kSynReceived};
}

Wait wait_for_socket(int socket, bool for_writing, int cancel_fd, milliseconds timeout) noexcept {
    const Clock::time_point deadline = Clock::now() + timeout;
    std::array<pollfd, 2> watched{};
    watched[0].fd = socket;
    watched[0].events = for_writing ? POLLOUT : POLLIN;
    watched[1].fd = cancel_fd; // poll(2) ignores negative descriptors
    watched[1].events = POLLIN;
    for (;;) {
        const auto left = std::chrono::ceil<milliseconds>(deadline - Clock::now());
        if (left.count() < 0) {
            return Wait::timed_out;
        }
        count_system_call();
        const int found = poll(watched.data(), watched.size(), static_cast<int>(left.count()));
        if (found == 0 || (found < 0 && errno != EINTR)) { // ENOMEM: as good as no answer
            return Wait::timed_out;
        }
        if (found > 0) {
            return watched[1].revents != 0 ? Wait::cancelled : Wait::ready;
        }
    }
}

} // namespace sluice
