#include "receiver/service_manager.hpp"

#include "common/text.hpp"

#include <array>
#include <cerrno>
#include <climits>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <string_view>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

namespace sluice {

namespace {

constexpr int kFirstSocket = 3; // SD_LISTEN_FDS_START (sd-daemon.h)

Error socket_error(const std::string& what) {
    return Error{ErrorKind::usage, "the socket that this process was started with " + what};
}

// -1 where it is no socket.
int option(int socket, int name) noexcept {
    int value = -1;
    socklen_t length = sizeof value;
    return getsockopt(socket, SOL_SOCKET, name, &value, &length) == 0 ? value : -1;
}

bool add_flag(int fd, int get, int set, int flag) noexcept {
    const int flags = fcntl(fd, get);
    return flags >= 0 && fcntl(fd, set, flags | flag) == 0;
}

} // namespace

Result<int> count_inherited_sockets(const char* listen_pid, const char* listen_fds, pid_t self) {
    if (listen_pid == nullptr || listen_fds == nullptr) {
        return 0;
    }
    const auto pid = parse_number(listen_pid, 1, INT_MAX);
    const auto count = parse_number(listen_fds, 0, INT_MAX);
    if (!pid || !count) {
        return Error{ErrorKind::usage,
                     fmt::format("LISTEN_PID='{}' and LISTEN_FDS='{}' are not numbers",
                                 escape(listen_pid), escape(listen_fds))};
    }
    if (static_cast<pid_t>(*pid) != self) {
        return 0; // meant for who started us
    }
    if (*count > 1) {
        return Error{ErrorKind::usage,
                     fmt::format("started with {} sockets (LISTEN_FDS): one is served, so give "
                                 "the socket unit one ListenStream=",
                                 *count)};
    }
    return static_cast<int>(*count);
}

Result<UniqueFd> adopt_listener(int socket) {
    UniqueFd listener = UniqueFd::adopt(socket);
    const int type = option(socket, SO_TYPE);
    const int domain = option(socket, SO_DOMAIN);
    if (type < 0) {
        return socket_error("is none: descriptor 3 is closed, or something else");
    }
    if (type != SOCK_STREAM || (domain != AF_INET && domain != AF_INET6) ||
        option(socket, SO_PROTOCOL) != IPPROTO_TCP) {
        return socket_error("is not one of TCP (ListenStream= with a port)");
    }
    if (option(socket, SO_ACCEPTCONN) != 1) {
        return socket_error("does not listen (Accept=no is wanted)");
    }
    if (!add_flag(socket, F_GETFD, F_SETFD, FD_CLOEXEC) ||
        !add_flag(socket, F_GETFL, F_SETFL, O_NONBLOCK)) {
        return system_error(ErrorKind::network, "cannot use the socket this was started with",
                            errno);
    }
    return listener;
}

Result<UniqueFd> take_inherited_socket(bool address_given) {
    const Result<int> count =
        count_inherited_sockets(std::getenv("LISTEN_PID"), std::getenv("LISTEN_FDS"), getpid());
    for (const char* const name : {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}) {
        unsetenv(name);
    }
    if (!count) {
        return count.error();
    }
    if (*count == 0) {
        return UniqueFd{};
    }
    if (address_given) {
        return Error{ErrorKind::usage, "started with a socket (LISTEN_FDS), which has its address "
                                       "already: leave out --listen and --port"};
    }
    return adopt_listener(kFirstSocket);
}

ServiceNotifier::ServiceNotifier() {
    const char* const variable = std::getenv("NOTIFY_SOCKET");
    const std::string path = variable == nullptr ? "" : variable;
    unsetenv("NOTIFY_SOCKET");
    sockaddr_un address{};
    if (path.size() < 2 || path.size() >= sizeof address.sun_path ||
        (path.front() != '/' && path.front() != '@')) {
        return;
    }
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.data(), path.size());
    if (path.front() == '@') {
        address.sun_path[0] = '\0'; // an abstract one (unix(7)), whose length counts
    }
    const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size());
    UniqueFd made = UniqueFd::adopt(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (made && connect(made.get(), reinterpret_cast<const sockaddr*>(&address), length) == 0) {
        socket_ = std::move(made);
    }
}

void ServiceNotifier::ready() const noexcept {
    constexpr std::string_view kReady = "READY=1\n";
    if (socket_) {
        static_cast<void>(send(socket_.get(), kReady.data(), kReady.size(), MSG_NOSIGNAL));
    }
}

} // namespace sluice
