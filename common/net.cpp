#include "common/net.hpp"

#include "common/addresses.hpp"
#include "common/usage.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <array>
#include <cerrno>
#include <climits>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/tcp.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

namespace sluice {

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

using NameCall = int (*)(int, sockaddr*, socklen_t*);

std::string socket_address(int socket, NameCall call) {
    SocketAddress address;
    address.length = sizeof address.storage;
    if (call(socket, reinterpret_cast<sockaddr*>(&address.storage), &address.length) != 0) {
        return "?";
    }
    return format_address(address);
}

std::string socket_host(int socket, NameCall call) {
    sockaddr_storage address{};
    socklen_t length = sizeof address;
    std::array<char, NI_MAXHOST> host{};
    if (call(socket, reinterpret_cast<sockaddr*>(&address), &length) != 0 ||
        getnameinfo(reinterpret_cast<const sockaddr*>(&address), length, host.data(), host.size(),
                    nullptr, 0, NI_NUMERICHOST) != 0) {
        return {};
    }
    return host.data(); // with the scope of a link-local address
}

void set_option(int socket, int level, int name, int value) noexcept {
    count_system_call();
    static_cast<void>(setsockopt(socket, level, name, &value, sizeof value));
}

// 0, or errno.
int listen_on(const SocketAddress& address, UniqueFd& out) {
    UniqueFd fd = UniqueFd::adopt(
        socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP));
    if (!fd) {
        return errno;
    }
    set_option(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1);
    if (bind(fd.get(), address.get(), address.length) != 0 || listen(fd.get(), SOMAXCONN) != 0) {
        return errno;
    }
    out = std::move(fd);
    return 0;
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

bool is_loopback_address(const sockaddr_storage& address) {
    if (address.ss_family == AF_INET) {
        sockaddr_in v4{};
        std::memcpy(&v4, &address, sizeof v4);
        return (ntohl(v4.sin_addr.s_addr) >> 24U) == IN_LOOPBACKNET;
    }
    sockaddr_in6 v6{};
    std::memcpy(&v6, &address, sizeof v6);
    return address.ss_family == AF_INET6 && (IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr) != 0 ||
                                             (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr) != 0 &&
                                              v6.sin6_addr.s6_addr[12] == IN_LOOPBACKNET));
}

// Where the kernel has measured none, neither local nor long.
std::chrono::microseconds round_trip_of(const tcp_info& info) noexcept {
    const bool known = info.tcpi_min_rtt != 0 && info.tcpi_min_rtt != UINT32_MAX;
    return known ? std::chrono::microseconds{info.tcpi_min_rtt} : kLocalRoundTrip;
}

} // namespace

std::string local_address(int socket) {
    return socket_address(socket, getsockname);
}

std::string peer_address(int socket) {
    return socket_address(socket, getpeername);
}

std::string local_host(int socket) {
    return socket_host(socket, getsockname);
}

std::string peer_host(int socket) {
    return socket_host(socket, getpeername);
}

bool peer_is_loopback(int socket) {
    sockaddr_storage address{};
    socklen_t length = sizeof address;
    return getpeername(socket, reinterpret_cast<sockaddr*>(&address), &length) == 0 &&
           is_loopback_address(address);
}

std::string peer_network(int socket) {
    SocketAddress peer;
    peer.length = sizeof peer.storage;
    if (getpeername(socket, reinterpret_cast<sockaddr*>(&peer.storage), &peer.length) != 0) {
        return {};
    }
    std::array<char, INET6_ADDRSTRLEN> text{};
    sockaddr_in v4{};
    std::memcpy(&v4, &peer.storage, sizeof v4);
    sockaddr_in6 v6{};
    std::memcpy(&v6, &peer.storage, sizeof v6);
    if (peer.family() == AF_INET) {
        return inet_ntop(AF_INET, &v4.sin_addr, text.data(), text.size()) != nullptr ? text.data()
                                                                                     : "";
    }
    if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) { // the last four bytes; RFC 4291, 2.5.5.2
        return inet_ntop(AF_INET, &v6.sin6_addr.s6_addr[12], text.data(), text.size()) != nullptr
                   ? text.data()
                   : "";
    }
    std::memset(&v6.sin6_addr.s6_addr[8], 0, 8);
    return inet_ntop(AF_INET6, &v6.sin6_addr, text.data(), text.size()) != nullptr
               ? std::string(text.data()) + "/64"
               : "";
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
    Result<SocketAddresses> addresses = resolve(address, port, true);
    if (!addresses) {
        return std::move(addresses).error();
    }
    int error = EADDRNOTAVAIL;
    for (const SocketAddress& one : *addresses) {
        UniqueFd fd;
        error = listen_on(one, fd);
        if (error == 0) {
            return fd;
        }
    }
    return system_error(ErrorKind::network, fmt::format("cannot listen on {}:{}", address, port),
                        error);
}

Result<bool> is_loopback(const std::string& address) {
    Result<SocketAddresses> addresses = resolve(address, 0, true);
    if (!addresses) {
        Error error = std::move(addresses).error();
        error.kind = ErrorKind::usage;
        return error;
    }
    return std::all_of(addresses->begin(), addresses->end(),
                       [](const SocketAddress& one) { return is_loopback_address(one.storage); });
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

void set_common_options(int socket) noexcept {
    set_option(socket, IPPROTO_TCP, TCP_NODELAY, 1);
    set_option(socket, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_option(socket, IPPROTO_TCP, TCP_KEEPIDLE, 30);  // seconds
    set_option(socket, IPPROTO_TCP, TCP_KEEPINTVL, 10); // seconds
    set_option(socket, IPPROTO_TCP, TCP_KEEPCNT, 6);
}

void set_low_water_mark(int socket, std::size_t bytes) noexcept {
    constexpr std::size_t kMost = INT_MAX;
    set_option(socket, SOL_SOCKET, SO_RCVLOWAT, static_cast<int>(std::min(bytes, kMost)));
}

void set_unsent_limit(int socket, std::size_t bytes) noexcept {
    set_option(socket, IPPROTO_TCP, TCP_NOTSENT_LOWAT,
               static_cast<int>(std::min(bytes, std::size_t{INT_MAX})));
}

bool set_congestion(int socket, std::string_view algorithm) noexcept {
    count_system_call();
    return setsockopt(socket, IPPROTO_TCP, TCP_CONGESTION, algorithm.data(),
                      static_cast<socklen_t>(algorithm.size())) == 0;
}

Result<CongestionChoice> choose_congestion(int connected, const std::string& setting) {
    const UniqueFd probe =
        UniqueFd::adopt(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP));
    if (setting != "auto") {
        if (!set_congestion(probe.get(), setting)) {
            const int error = errno;
            return system_error(ErrorKind::usage,
                                fmt::format("cannot use congestion control '{}' (see sysctl "
                                            "net.ipv4.tcp_allowed_congestion_control)",
                                            setting),
                                error);
        }
        return CongestionChoice{setting, {}};
    }
    const std::string present = congestion_of(connected);
    const std::chrono::microseconds round_trip = tcp_progress(connected).round_trip;
    for (const std::string_view better : better_congestion(present, round_trip)) {
        if (set_congestion(probe.get(), better)) {
            return CongestionChoice{
                std::string(better),
                fmt::format("instead of {}: the round trip is {:.3g} ms", present,
                            std::chrono::duration<double, std::milli>(round_trip).count())};
        }
    }
    return CongestionChoice{present, {}};
}

std::vector<std::string_view> better_congestion(std::string_view present,
                                                std::chrono::microseconds round_trip) {
    const bool paced = present.starts_with("bbr");
    if (round_trip < kLocalRoundTrip && paced) {
        return {"cubic", "reno"};
    }
    if (round_trip >= kLongRoundTrip && !paced) {
        return {"bbr"};
    }
    return {};
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
    return {info.tcpi_bytes_acked, round_trip_of(info),
            2 * info.tcpi_rwnd_limited > info.tcpi_busy_time,
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
