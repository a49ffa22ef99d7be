// Somebody on the way: a TCP proxy on loopback that reads and changes what senders say on
// connections in clear, and passes connections in TLS on as they are.
#pragma once

#include "common/net.hpp"
#include "common/unique_fd.hpp"

#include <array>
#include <catch2/catch.hpp>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <mutex>
#include <poll.h>
#include <span>
#include <string>
#include <sys/socket.h>
#include <thread>
#include <utility>
#include <vector>

namespace sluice::test {

class TamperProxy {
public:
    // Called with what comes from a sender, one call at a time: which connection in clear it is
    // (counted from 0), where in its stream the bytes are, and the bytes, which may be changed.
    // False: the connection is cut here.
    using Tamper =
        std::function<bool(unsigned connection, std::uint64_t offset, std::span<std::byte> bytes)>;

    TamperProxy(const std::string& target_port, Tamper tamper)
        : target_(static_cast<std::uint16_t>(std::stoul(target_port))), tamper_(std::move(tamper)) {
        auto listener = listen_tcp("127.0.0.1", 0);
        REQUIRE(listener);
        listener_ = std::move(*listener);
        acceptor_ = std::thread([this] { accept_all(); });
    }
    ~TamperProxy() {
        ::shutdown(listener_.get(), SHUT_RDWR); // ends the wait for connections
        acceptor_.join();
        for (Link& link : links_) {
            ::shutdown(link.client.get(), SHUT_RDWR);
            ::shutdown(link.server.get(), SHUT_RDWR);
        }
        for (Link& link : links_) {
            link.to_server.join();
            link.to_client.join();
        }
    }
    TamperProxy(const TamperProxy&) = delete;
    TamperProxy& operator=(const TamperProxy&) = delete;

    [[nodiscard]] std::string port() const { return std::to_string(local_port(listener_.get())); }
    // Connections so far.
    [[nodiscard]] unsigned in_clear() const {
        const std::scoped_lock lock(mutex_);
        return in_clear_;
    }
    [[nodiscard]] unsigned in_tls() const {
        const std::scoped_lock lock(mutex_);
        return in_tls_;
    }

private:
    static constexpr std::byte kTlsHandshake{0x16}; // RFC 8446, section 5.1

    struct Link {
        UniqueFd client;
        UniqueFd server;
        std::thread to_server{};
        std::thread to_client{};
    };

    static bool wait(int socket, short events) {
        pollfd watched{socket, events, 0};
        return ::poll(&watched, 1, 60'000) == 1;
    }

    void accept_all() {
        while (wait(listener_.get(), POLLIN)) {
            auto client = accept_tcp(listener_.get());
            if (!client) {
                return;
            }
            auto server = connect_tcp("127.0.0.1", target_, std::chrono::seconds(10), -1);
            if (!server) {
                continue; // closes that of the client as well
            }
            Link& link = links_.emplace_back(Link{std::move(*client), std::move(*server)});
            link.to_server = std::thread([this, &link] { forward_to_server(link); });
            link.to_client = std::thread([&link] {
                forward(link.server.get(), link.client.get(), [](auto) { return true; });
            });
        }
    }

    void forward_to_server(const Link& link) {
        std::uint64_t offset = 0;
        bool clear = false;
        unsigned number = 0;
        forward(link.client.get(), link.server.get(), [&](std::span<std::byte> bytes) {
            const std::scoped_lock lock(mutex_);
            if (offset == 0) {
                clear = bytes.front() != kTlsHandshake;
                number = clear ? in_clear_++ : in_tls_++;
            }
            const bool on = !clear || tamper_(number, offset, bytes);
            offset += bytes.size();
            return on;
        });
    }

    // Until the end, whoever makes it.
    static void forward(int from, int to, const std::function<bool(std::span<std::byte>)>& pass) {
        std::array<std::byte, 16'384> buffer;
        while (wait(from, POLLIN)) {
            const ssize_t got = ::recv(from, buffer.data(), buffer.size(), 0);
            if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
                continue;
            }
            if (got <= 0) {
                break;
            }
            auto bytes = std::span(buffer).first(static_cast<std::size_t>(got));
            const bool on = pass(bytes);
            while (on && !bytes.empty()) {
                const ssize_t sent = ::send(to, bytes.data(), bytes.size(), MSG_NOSIGNAL);
                if (sent > 0) {
                    bytes = bytes.subspan(static_cast<std::size_t>(sent));
                } else if (errno != EAGAIN || !wait(to, POLLOUT)) {
                    break;
                }
            }
            if (!bytes.empty()) {
                ::shutdown(from, SHUT_RDWR);
                break;
            }
        }
        ::shutdown(to, SHUT_RDWR);
    }

    const std::uint16_t target_;
    UniqueFd listener_;
    mutable std::mutex mutex_; // guards what follows, but for the links
    const Tamper tamper_;
    unsigned in_clear_ = 0;
    unsigned in_tls_ = 0;
    std::list<Link> links_; // of the acceptor, then of the destructor
    std::thread acceptor_;
};

} // namespace sluice::test
