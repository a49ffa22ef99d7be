#include "common/connect.hpp"

#include "common/net.hpp"
#include "common/usage.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <optional>
#include <poll.h>
#include <sys/socket.h>
#include <utility>
#include <vector>

namespace sluice {

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// Of all the errors, people should see the one that says most about what is wrong.
int telling(int error_number) noexcept {
    switch (error_number) {
    case ECONNREFUSED: return 4; // the host is there, the program is not
    case ETIMEDOUT: return 2;
    case EHOSTUNREACH: return 1;
    case ENETUNREACH: // this machine has no way to such addresses at all
    case EADDRNOTAVAIL:
    case EAFNOSUPPORT: return 0;
    default: return 3;
    }
}

bool lacks_scope(const SocketAddress& address) noexcept {
    if (address.family() != AF_INET6) {
        return false;
    }
    sockaddr_in6 v6{};
    std::memcpy(&v6, &address.storage, sizeof v6);
    return IN6_IS_ADDR_LINKLOCAL(&v6.sin6_addr) != 0 && v6.sin6_scope_id == 0;
}

int socket_error(int socket) noexcept {
    int error = 0;
    socklen_t length = sizeof error;
    count_system_call();
    return getsockopt(socket, SOL_SOCKET, SO_ERROR, &error, &length) == 0 ? error : errno;
}

class Race {
public:
    Race(const SocketAddresses& addresses, const std::string& host, milliseconds timeout,
         int cancel_fd, const std::string& congestion)
        : addresses_(addresses), count_(std::min(addresses.size(), kMaxAttempts)), host_(host),
          deadline_(Clock::now() + timeout), cancel_fd_(cancel_fd), congestion_(congestion) {}

    Result<UniqueFd> run();

private:
    struct Attempt {
        UniqueFd socket;
        std::size_t address;
    };

    // What ends the race, where something does.
    using Outcome = std::optional<Result<UniqueFd>>;

    Outcome start_next(Clock::time_point now);
    Outcome wait(Clock::time_point now);
    Outcome look_at(const std::vector<pollfd>& watched);
    void failed(std::size_t address, int error_number);
    [[nodiscard]] Result<UniqueFd> won(UniqueFd socket) const;
    [[nodiscard]] Error lost() const;

    const SocketAddresses& addresses_;
    const std::size_t count_; // of them that are tried
    const std::string& host_;
    const Clock::time_point deadline_;
    const int cancel_fd_;
    const std::string& congestion_;

    std::vector<Attempt> attempts_; // under way
    std::size_t next_ = 0;          // the address to try next
    Clock::time_point next_start_{};
    int error_number_ = EADDRNOTAVAIL; // the most telling so far, and whose it is
    std::size_t error_address_ = 0;
};

Result<UniqueFd> Race::run() {
    for (;;) {
        const Clock::time_point now = Clock::now();
        Outcome outcome;
        if (next_ < count_ && (attempts_.empty() || now >= next_start_)) {
            outcome = start_next(now);
        } else if (attempts_.empty()) {
            return lost();
        } else {
            outcome = wait(now);
        }
        if (outcome) {
            return std::move(*outcome);
        }
    }
}

Race::Outcome Race::start_next(Clock::time_point now) {
    const std::size_t index = next_++;
    const SocketAddress& address = addresses_[index];
    UniqueFd fd = UniqueFd::adopt(
        socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP));
    if (!fd) {
        failed(index, errno);
        return std::nullopt;
    }
    if (!congestion_.empty()) { // chosen because it can be set
        static_cast<void>(set_congestion(fd.get(), congestion_));
    }
    count_system_call();
    if (connect(fd.get(), address.get(), address.length) == 0) {
        return won(std::move(fd));
    }
    if (errno != EINPROGRESS) {
        failed(index, errno);
        return std::nullopt;
    }
    attempts_.push_back({std::move(fd), index});
    next_start_ = now + kAttemptDelay;
    return std::nullopt;
}

Race::Outcome Race::wait(Clock::time_point now) {
    std::vector<pollfd> watched{{cancel_fd_, POLLIN, 0}}; // poll(2) ignores negative descriptors
    for (const Attempt& attempt : attempts_) {
        watched.push_back({attempt.socket.get(), POLLOUT, 0});
    }
    const Clock::time_point until = next_ < count_ ? std::min(next_start_, deadline_) : deadline_;
    const auto left = std::chrono::ceil<milliseconds>(until - now);
    count_system_call();
    const int ready = poll(watched.data(), watched.size(),
                           static_cast<int>(std::max(left, milliseconds{0}).count()));
    if (ready > 0) {
        return look_at(watched);
    }
    if (Clock::now() >= deadline_) {
        for (const Attempt& attempt : attempts_) {
            failed(attempt.address, ETIMEDOUT);
        }
        return Result<UniqueFd>(lost());
    }
    return std::nullopt;
}

// `watched`: for cancelling, and for each attempt, as poll(2) has left it.
Race::Outcome Race::look_at(const std::vector<pollfd>& watched) {
    if (watched[0].revents != 0) {
        return Result<UniqueFd>(
            Error{ErrorKind::interrupted, "interrupted while connecting", ECANCELED});
    }
    std::vector<Attempt> waiting;
    for (std::size_t index = 0; index < attempts_.size(); ++index) {
        Attempt& attempt = attempts_[index];
        if (watched[index + 1].revents == 0) {
            waiting.push_back(std::move(attempt));
            continue;
        }
        const int error = socket_error(attempt.socket.get());
        if (error == 0) {
            return won(std::move(attempt.socket));
        }
        failed(attempt.address, error);
        next_start_ = {}; // no need to wait for another to do better
    }
    attempts_ = std::move(waiting);
    return std::nullopt;
}

void Race::failed(std::size_t address, int error_number) {
    if (telling(error_number) >= telling(error_number_)) {
        error_number_ = error_number;
        error_address_ = address;
    }
}

Result<UniqueFd> Race::won(UniqueFd socket) const {
    set_common_options(socket.get());
    return socket;
}

Error Race::lost() const {
    const ErrorKind kind = error_number_ == ETIMEDOUT ? ErrorKind::timed_out : ErrorKind::network;
    const std::string address = format_address(addresses_[error_address_]);
    Error error = system_error(
        kind,
        next_ == 1 ? fmt::format("cannot connect to {}", address)
                   : fmt::format("cannot connect to any of {} addresses of {}, such as {}", next_,
                                 host_, address),
        error_number_);
    if (error_number_ == EINVAL && lacks_scope(addresses_[error_address_])) {
        error.message += " (a link-local address needs its interface: ADDRESS%INTERFACE)";
    }
    return error;
}

} // namespace

Result<UniqueFd> connect_to_any(const SocketAddresses& addresses, const std::string& host,
                                milliseconds timeout, int cancel_fd,
                                const std::string& congestion) {
    return Race(addresses, host, timeout, cancel_fd, congestion).run();
}

Result<UniqueFd> connect_tcp(const std::string& host, std::uint16_t port, milliseconds timeout,
                             int cancel_fd, const std::string& congestion) {
    const Clock::time_point began = Clock::now();
    const Lookup lookup = [host, port] { return resolve(host, port, false); };
    const Result<SocketAddresses> found = resolve_within(host, lookup, timeout, cancel_fd);
    if (!found) {
        return found.error();
    }
    const auto left = timeout - std::chrono::duration_cast<milliseconds>(Clock::now() - began);
    return connect_to_any(take_turns(*found), host, std::max(left, milliseconds{1}), cancel_fd,
                          congestion);
}

} // namespace sluice
