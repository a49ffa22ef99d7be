// For tests: somebody on the way between a sender and a receiver, who passes everything on and
// writes down what the sender says.
#pragma once

#include "common/unique_fd.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <netinet/in.h>
#include <poll.h>
#include <stdexcept>
#include <string>
#include <sys/socket.h>
#include <thread>
#include <utility>
#include <vector>

namespace sluice::test {

class RecordingRelay {
public:
    // Passes on to that port of this machine.
    explicit RecordingRelay(std::uint16_t target) : target_(target) {
        listener_ = UniqueFd::adopt(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        sockaddr_in address = loopback(0);
        socklen_t length = sizeof address;
        auto* const generic = reinterpret_cast<sockaddr*>(&address);
        if (::bind(listener_.get(), generic, length) != 0 || ::listen(listener_.get(), 64) != 0 ||
            ::getsockname(listener_.get(), generic, &length) != 0) {
            throw std::runtime_error("cannot listen");
        }
        port_ = ntohs(address.sin_port);
        thread_ = std::thread([this] { accept_all(); });
    }
    ~RecordingRelay() {
        ::shutdown(listener_.get(), SHUT_RDWR);
        thread_.join();
        for (Relayed& one : connections_) {
            ::shutdown(one.client.get(), SHUT_RDWR);
            ::shutdown(one.server.get(), SHUT_RDWR);
            one.thread.join();
        }
    }
    RecordingRelay(const RecordingRelay&) = delete;
    RecordingRelay& operator=(const RecordingRelay&) = delete;

    [[nodiscard]] std::string port() const { return std::to_string(port_); }
    // What each connection has said so far, in the order of their arrival.
    [[nodiscard]] std::vector<std::vector<std::byte>> recorded() {
        const std::scoped_lock lock(mutex_);
        return recorded_;
    }

private:
    struct Relayed {
        UniqueFd client;
        UniqueFd server;
        std::thread thread;
    };

    static sockaddr_in loopback(std::uint16_t port) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        address.sin_port = htons(port);
        return address;
    }

    void accept_all() {
        for (;;) {
            Relayed one;
            one.client =
                UniqueFd::adopt(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
            if (!one.client) {
                return;
            }
            one.server = UniqueFd::adopt(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
            const sockaddr_in address = loopback(target_);
            if (::connect(one.server.get(), reinterpret_cast<const sockaddr*>(&address),
                          sizeof address) != 0) {
                continue;
            }
            std::size_t index = 0;
            {
                const std::scoped_lock lock(mutex_);
                index = recorded_.size();
                recorded_.emplace_back();
            }
            one.thread = std::thread([this, index, client = one.client.get(),
                                      server = one.server.get()] { relay(index, client, server); });
            connections_.push_back(std::move(one));
        }
    }

    void relay(std::size_t index, int client, int server) {
        std::array<std::byte, 65'536> buffer{};
        std::array<pollfd, 2> ends{{{client, POLLIN, 0}, {server, POLLIN, 0}}};
        for (;;) {
            if (::poll(ends.data(), ends.size(), -1) < 0) {
                return;
            }
            for (const std::size_t from : {0U, 1U}) {
                if (ends[from].revents == 0) {
                    continue;
                }
                const ssize_t got = ::recv(ends[from].fd, buffer.data(), buffer.size(), 0);
                if (got <= 0) {
                    ::shutdown(client, SHUT_RDWR);
                    ::shutdown(server, SHUT_RDWR);
                    return;
                }
                const auto length = static_cast<std::size_t>(got);
                if (from == 0) {
                    const std::scoped_lock lock(mutex_);
                    recorded_[index].insert(recorded_[index].end(), buffer.begin(),
                                            buffer.begin() + got);
                }
                if (::send(ends[1 - from].fd, buffer.data(), length, MSG_NOSIGNAL) != got) {
                    return;
                }
            }
        }
    }

    const std::uint16_t target_;
    std::uint16_t port_ = 0;
    UniqueFd listener_;
    std::mutex mutex_;
    std::vector<std::vector<std::byte>> recorded_; // guarded by mutex_
    std::vector<Relayed> connections_;             // of the thread, and then of the destructor
    std::thread thread_;
};

} // namespace sluice::test
