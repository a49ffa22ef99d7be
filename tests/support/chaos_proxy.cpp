#include "tests/support/chaos_proxy.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <optional>
#include <poll.h>
#include <random>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <system_error>

namespace sluice::test {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kBufferBytes = std::size_t{1} << 20;
// After the end of an orderly truncated connection: enough for what was under way, not for a sender
// that never looks.
constexpr std::uint64_t kDiscardBytes = std::uint64_t{4} << 20;

[[noreturn]] void fail(const char* what) {
    throw std::system_error(errno, std::generic_category(), what);
}

sockaddr_in loopback(std::uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);
    return address;
}

UniqueFd tcp_socket() {
    auto socket = UniqueFd::adopt(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!socket) {
        fail("socket");
    }
    // BBR paces with timers, which makes loopback slow; not essential, so not checked. Accepted
    // sockets inherit it from the listener.
    ::setsockopt(socket.get(), IPPROTO_TCP, TCP_CONGESTION, "reno", 4);
    return socket;
}

void close_with_reset(UniqueFd& socket) {
    if (socket) {
        const linger at_once{1, 0};
        ::setsockopt(socket.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        socket.reset();
    }
}

} // namespace

std::string describe(const ConnectionPlan& plan) {
    constexpr std::array kKinds{"delay", "flip", "truncate", "reset", "stall", "half-open"};
    std::string text;
    for (const ProxyFault& fault : plan.faults) {
        text += fmt::format("{}{} to {} at {}", text.empty() ? "" : ", ",
                            kKinds[static_cast<std::size_t>(fault.kind)],
                            fault.way == Way::to_server ? "server" : "client", fault.offset);
    }
    return plan.piece > 0 ? text + fmt::format(" (pieces of {})", plan.piece) : text;
}

ChaosPlan random_plan(std::uint64_t seed, Probabilities probabilities) {
    return [seed, probabilities](unsigned index) {
        ConnectionPlan plan;
        if (index >= probabilities.clean_after) {
            return plan;
        }
        std::seed_seq sequence{static_cast<std::uint32_t>(seed),
                               static_cast<std::uint32_t>(seed >> 32U), index};
        std::mt19937_64 random(sequence);
        std::uniform_real_distribution<double> unit(0, 1);
        const auto add = [&](FaultKind kind, double probability) {
            // Drawn in any case, so that one probability does not change the other faults.
            const double chance = unit(random);
            const double magnitude = unit(random);
            const auto offset = static_cast<std::uint64_t>(
                std::exp2(magnitude * std::log2(static_cast<double>(probabilities.span))));
            const auto delay = std::chrono::milliseconds{static_cast<std::int64_t>(
                unit(random) * static_cast<double>(probabilities.longest_delay.count()))};
            const auto way = random() % 4 == 0 ? Way::to_client : Way::to_server;
            const auto bit = static_cast<unsigned>(random() % 8);
            if (chance < probability) {
                plan.faults.push_back({kind, way, offset, delay, bit});
            }
        };
        add(FaultKind::delay, probabilities.delay);
        add(FaultKind::flip, probabilities.flip);
        add(FaultKind::truncate, probabilities.truncate);
        add(FaultKind::reset, probabilities.reset);
        add(FaultKind::stall, probabilities.stall);
        add(FaultKind::half_open, probabilities.half_open);
        if (unit(random) < probabilities.split) {
            plan.piece = 64 + random() % 3000;
        }
        return plan;
    };
}

class ChaosProxy::Connection {
public:
    Connection(UniqueFd client, UniqueFd server, ConnectionPlan plan, ChaosCounts& counts)
        : client_(std::move(client)), server_(std::move(server)), piece_(plan.piece),
          counts_(counts) {
        const int on = 1; // a piece is a segment
        ::setsockopt(client_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        ::setsockopt(server_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        std::stable_sort(plan.faults.begin(), plan.faults.end(),
                         [](const auto& a, const auto& b) { return a.offset < b.offset; });
        for (const ProxyFault& fault : plan.faults) {
            direction(fault.way).faults.push_back(fault);
        }
        counts_.splits += piece_ > 0 ? 1 : 0;
    }

    // Whether nothing is left of it.
    [[nodiscard]] bool over() const noexcept { return !client_ && !server_; }

    // What to wait for: entries for the client and for the server, fd -1 where nothing.
    void watch(pollfd& client, pollfd& server) {
        client = {client_.get(), 0, 0};
        server = {server_.get(), 0, 0};
        if (phase_ == Phase::forwarding) {
            watch(directions_[0], client, server);
            watch(directions_[1], server, client);
        } else if (phase_ == Phase::draining) {
            client.events = POLLIN;
            server.events = POLLIN;
        }
        // A socket that is over reports that without being asked, again and again.
        client.fd = client.events == 0 ? -1 : client.fd;
        server.fd = server.events == 0 ? -1 : server.fd;
    }
    // The end of the nearest delay.
    [[nodiscard]] std::optional<Clock::time_point> wakes() const {
        std::optional<Clock::time_point> nearest;
        for (const Direction& one : directions_) {
            if (phase_ == Phase::forwarding && one.held_until && !over()) {
                nearest = nearest ? std::min(*nearest, *one.held_until) : *one.held_until;
            }
        }
        return nearest;
    }

    // Does what can be done without waiting.
    void pump() {
        if (phase_ == Phase::draining) {
            drain();
            return;
        }
        for (const Way way : {Way::to_server, Way::to_client}) {
            // Bounded, so that a fast connection leaves room for the others.
            for (int round = 0; round < 4 && phase_ == Phase::forwarding && step(way); ++round) {
            }
        }
        if (phase_ == Phase::forwarding && directions_[0].ended && directions_[1].ended) {
            client_.reset();
            server_.reset();
        }
    }

    void reset() {
        close_with_reset(client_);
        close_with_reset(server_);
        phase_ = Phase::silent;
    }

private:
    // forwarding: next draining (truncate), silent (stall, half_open, reset), or over at the end of
    // both directions. draining: over, once both sides have ended. silent: over only after a reset.
    enum class Phase : unsigned char { forwarding, draining, silent };

    struct Direction {
        std::vector<ProxyFault> faults; // by offset
        std::size_t next = 0;           // among the faults
        std::uint64_t forwarded = 0;
        std::vector<char> buffer;
        std::size_t begin = 0;
        std::size_t end = 0;
        bool ended = false;
        bool flipped = false; // in the buffer
        std::optional<unsigned> flip;
        std::optional<Clock::time_point> held_until;
    };

    [[nodiscard]] Direction& direction(Way way) noexcept {
        return directions_[way == Way::to_server ? 0 : 1];
    }

    static void watch(const Direction& one, pollfd& from, pollfd& to) {
        if (one.ended || one.held_until) {
            return;
        }
        if (one.begin < one.end) {
            to.events |= POLLOUT;
        } else {
            from.events |= POLLIN;
        }
    }

    // False where it has to wait, or there is nothing more to do.
    bool step(Way way) {
        Direction& one = direction(way);
        if (one.ended || (one.held_until && *one.held_until > Clock::now())) {
            return false;
        }
        one.held_until.reset();
        if (one.begin == one.end) {
            while (one.next < one.faults.size() && one.faults[one.next].offset == one.forwarded &&
                   !one.flip) {
                if (apply(one, one.faults[one.next++])) {
                    return false;
                }
            }
            return fill(way, one);
        }
        return drain_buffer(way, one);
    }

    // True where nothing is forwarded for now.
    bool apply(Direction& one, const ProxyFault& fault) {
        switch (fault.kind) {
        case FaultKind::delay:
            ++counts_.delays;
            one.held_until = Clock::now() + fault.delay;
            return true;
        case FaultKind::flip: one.flip = fault.bit; return false;
        case FaultKind::truncate:
            ++counts_.truncations;
            ::shutdown(client_.get(), SHUT_WR);
            ::shutdown(server_.get(), SHUT_WR);
            phase_ = Phase::draining;
            return true;
        case FaultKind::reset:
            ++counts_.resets;
            reset();
            return true;
        case FaultKind::stall:
            ++counts_.stalls;
            phase_ = Phase::silent;
            return true;
        case FaultKind::half_open:
            ++counts_.half_opens;
            client_.reset();
            phase_ = Phase::silent;
            return true;
        }
        return false;
    }

    [[nodiscard]] UniqueFd& from(Way way) noexcept {
        return way == Way::to_server ? client_ : server_;
    }
    [[nodiscard]] UniqueFd& to(Way way) noexcept {
        return way == Way::to_server ? server_ : client_;
    }

    // Reads up to the next fault.
    bool fill(Way way, Direction& one) {
        one.buffer.resize(kBufferBytes);
        std::uint64_t limit = piece_ > 0 ? piece_ : kBufferBytes;
        if (one.flip) {
            limit = 1;
        } else if (one.next < one.faults.size()) {
            limit = std::min(limit, one.faults[one.next].offset - one.forwarded);
        }
        const ssize_t got = ::recv(from(way).get(), one.buffer.data(),
                                   std::min<std::size_t>(limit, kBufferBytes), 0);
        if (got < 0) {
            if (errno != EAGAIN && errno != EINTR) {
                counts_.refused += errno == ECONNREFUSED ? 1 : 0;
                reset();
            }
            return false;
        }
        if (got == 0) {
            one.ended = true;
            ::shutdown(to(way).get(), SHUT_WR);
            return false;
        }
        one.begin = 0;
        one.end = static_cast<std::size_t>(got);
        if (one.flip) {
            one.buffer[0] = static_cast<char>(one.buffer[0] ^ static_cast<char>(1U << *one.flip));
            one.flip.reset();
            one.flipped = true;
        }
        return true;
    }

    bool drain_buffer(Way way, Direction& one) {
        const ssize_t sent =
            ::send(to(way).get(), one.buffer.data() + one.begin, one.end - one.begin, MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno != EAGAIN && errno != EINTR) {
                counts_.refused += errno == ECONNREFUSED ? 1 : 0;
                reset();
            }
            return false;
        }
        const auto bytes = static_cast<std::size_t>(sent);
        one.begin += bytes;
        one.forwarded += bytes;
        counts_.flips += one.flipped ? 1 : 0;
        one.flipped = false;
        (way == Way::to_server ? counts_.to_server : counts_.to_client) += bytes;
        return true;
    }

    // Takes what still comes, so that closing does not turn the orderly end into a reset.
    void drain() {
        std::array<char, 65'536> waste;
        for (UniqueFd* const side : {&client_, &server_}) {
            ssize_t got = 0;
            while (*side && (got = ::recv(side->get(), waste.data(), waste.size(), 0)) > 0 &&
                   discarded_ < kDiscardBytes) {
                discarded_ += static_cast<std::uint64_t>(got);
            }
            if (got >= 0 || (errno != EAGAIN && errno != EINTR)) {
                side->reset();
            }
        }
    }

    UniqueFd client_;
    UniqueFd server_;
    std::size_t piece_;
    ChaosCounts& counts_;
    std::array<Direction, 2> directions_;
    Phase phase_ = Phase::forwarding;
    std::uint64_t discarded_ = 0;
};

ChaosProxy::ChaosProxy(std::uint16_t target_port, ChaosPlan plan)
    : plan_(std::move(plan)), listener_(tcp_socket()),
      wake_(UniqueFd::adopt(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK))), target_(target_port) {
    sockaddr_in address = loopback(0);
    socklen_t length = sizeof address;
    // The address types of the socket interface are one type with many names.
    auto* const generic = reinterpret_cast<sockaddr*>(&address);
    if (!wake_ || ::bind(listener_.get(), generic, length) != 0 ||
        ::listen(listener_.get(), SOMAXCONN) != 0 ||
        ::getsockname(listener_.get(), generic, &length) != 0) {
        fail("the proxy cannot listen");
    }
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { work(); });
}

ChaosProxy::~ChaosProxy() {
    ending_ = true;
    wake();
    thread_.join();
}

void ChaosProxy::freeze(bool frozen) {
    frozen_ = frozen;
    wake();
    seen_frozen_.wait(!frozen);
}

void ChaosProxy::reset_all() {
    reset_all_ = true;
    wake();
    reset_all_.wait(true);
}

void ChaosProxy::wake() const {
    const std::uint64_t one = 1;
    static_cast<void>(!::write(wake_.get(), &one, sizeof one));
}

void ChaosProxy::work() {
    while (turn()) {
    }
    for (Connection& connection : connections_) {
        connection.reset();
    }
    connections_.clear();
}

bool ChaosProxy::turn() {
    std::vector<pollfd> watched{{wake_.get(), POLLIN, 0}};
    std::optional<Clock::time_point> wakes;
    const bool frozen = frozen_;
    seen_frozen_ = frozen;
    seen_frozen_.notify_all();
    if (!frozen) {
        watched.push_back({listener_.get(), POLLIN, 0});
        for (Connection& connection : connections_) {
            pollfd client{};
            pollfd server{};
            connection.watch(client, server);
            watched.push_back(client);
            watched.push_back(server);
            if (const auto until = connection.wakes()) {
                wakes = wakes ? std::min(*wakes, *until) : *until;
            }
        }
    }
    int timeout_ms = -1;
    if (wakes) {
        const auto rest = std::chrono::ceil<std::chrono::milliseconds>(*wakes - Clock::now());
        timeout_ms = std::max(0, static_cast<int>(rest.count()));
    }
    ::poll(watched.data(), watched.size(), timeout_ms);
    std::uint64_t ignored = 0;
    static_cast<void>(!::read(wake_.get(), &ignored, sizeof ignored));
    if (ending_) {
        return false;
    }
    if (reset_all_) {
        for (Connection& connection : connections_) {
            counts_.resets += connection.over() ? 0 : 1;
            connection.reset();
        }
        reset_all_ = false;
        reset_all_.notify_all();
    }
    if (!frozen_) {
        accept_one();
        for (Connection& connection : connections_) {
            connection.pump();
        }
    }
    connections_.remove_if([](const Connection& connection) { return connection.over(); });
    return true;
}

void ChaosProxy::accept_one() {
    auto client =
        UniqueFd::adopt(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!client) {
        return;
    }
    UniqueFd server = tcp_socket();
    const sockaddr_in address = loopback(target_);
    const auto* const generic = reinterpret_cast<const sockaddr*>(&address);
    const unsigned index = counts_.connections++;
    if (::connect(server.get(), generic, sizeof address) != 0 && errno != EINPROGRESS) {
        ++counts_.refused;
        close_with_reset(client);
        return;
    }
    connections_.emplace_back(std::move(client), std::move(server), plan_(index), counts_);
}

} // namespace sluice::test
