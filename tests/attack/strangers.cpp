#include "tests/attack/strangers.hpp"

#include <array>
#include <cerrno>
#include <netinet/in.h>
#include <sys/socket.h>

namespace sluice::attack {

namespace {

// Connections that are begun in one step: the receiver's queue of those that it has not accepted is
// not to overflow, which would cost the kernel's retries a second each.
constexpr int kOpensPerStep = 64;

} // namespace

Strangers::Strangers(const Plan& plan) : plan_(plan), strangers_(plan.idle + plan.tricklers) {
    const auto preamble = proto::encode_preamble({proto::kVersion, proto::Role::control});
    greeting_.assign(preamble.begin(), preamble.end());
    proto::Open open;
    open.software = "attack";
    open.run.fill(std::byte{1});
    proto::encode(open, greeting_);
    greeting_.pop_back();
    // Mixed, as they come.
    for (std::size_t index = 0; index < strangers_.size(); ++index) {
        strangers_[index].trickles = index * plan.tricklers / strangers_.size() !=
                                     (index + 1) * plan.tricklers / strangers_.size();
    }
}

bool Strangers::connect(Stranger& stranger) {
    stranger.said = 0;
    stranger.socket =
        UniqueFd::adopt(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(plan_.port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const bool begun =
        stranger.socket && (::connect(stranger.socket.get(), reinterpret_cast<sockaddr*>(&address),
                                      sizeof address) == 0 ||
                            errno == EINPROGRESS);
    if (!begun) {
        ++counts_.refused;
        stranger.socket.reset();
        return false;
    }
    ++(stranger.trickles ? counts_.tricklers_opened : counts_.idle_opened);
    return true;
}

void Strangers::open_some() {
    int left = kOpensPerStep;
    for (; next_ < strangers_.size() && left > 0; --left) {
        static_cast<void>(connect(strangers_[next_++]));
    }
    if (!plan_.come_back) {
        return;
    }
    for (std::size_t index = 0; index < next_ && left > 0; ++index) {
        if (!strangers_[index].socket) {
            --left;
            static_cast<void>(connect(strangers_[index]));
        }
    }
}

void Strangers::trickle() {
    for (Stranger& stranger : strangers_) {
        if (stranger.trickles && stranger.socket && stranger.said < greeting_.size() &&
            ::send(stranger.socket.get(), &greeting_[stranger.said], 1,
                   MSG_NOSIGNAL | MSG_DONTWAIT) == 1) {
            ++stranger.said;
            ++counts_.trickled_bytes;
        }
    }
}

void Strangers::look(Stranger& stranger, short events) {
    std::array<std::byte, 4096> heard; // an Error, perhaps
    ssize_t got = 0;
    do {
        got = ::recv(stranger.socket.get(), heard.data(), heard.size(), MSG_DONTWAIT);
    } while (got > 0);
    if (got == 0 || errno != EAGAIN || (events & (POLLERR | POLLHUP)) != 0) {
        ++(stranger.trickles ? counts_.tricklers_gone : counts_.idle_gone);
        stranger.socket.reset();
    }
}

void Strangers::step(std::chrono::milliseconds time) {
    const auto end = std::chrono::steady_clock::now() + time;
    open_some();
    trickle();
    for (;;) {
        const auto left =
            std::chrono::ceil<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
        if (left.count() <= 0) {
            return;
        }
        polled_.clear();
        for (const Stranger& stranger : strangers_) {
            polled_.push_back({stranger.socket ? stranger.socket.get() : -1, POLLIN, 0});
        }
        if (::poll(polled_.data(), polled_.size(), static_cast<int>(left.count())) <= 0) {
            return;
        }
        for (std::size_t index = 0; index < polled_.size(); ++index) {
            if (polled_[index].revents != 0) {
                look(strangers_[index], polled_[index].revents);
            }
        }
    }
}

} // namespace sluice::attack
