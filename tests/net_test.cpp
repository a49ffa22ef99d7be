// Listening, connecting and giving up, and the choice of congestion control.
#include "common/net.hpp"
#include "tests/support/full_listener.hpp"
#include "tests/support/tcp_pair.hpp"

#include <array>
#include <catch2/catch.hpp>
#include <iostream>
#include <sys/eventfd.h>
#include <thread>

using namespace sluice;
using namespace sluice::test;
using std::chrono::milliseconds;

namespace {

constexpr milliseconds kLong{kWaitMs};

UniqueFd listen_somewhere(const std::string& address = "127.0.0.1") {
    auto listener = listen_tcp(address, 0);
    REQUIRE(listener);
    return std::move(*listener);
}

std::string congestion_of(int socket) {
    std::array<char, 16> name{};
    socklen_t length = name.size();
    REQUIRE(::getsockopt(socket, IPPROTO_TCP, TCP_CONGESTION, name.data(), &length) == 0);
    return name.data();
}

bool set_algorithm(int socket, const std::string& name) {
    return ::setsockopt(socket, IPPROTO_TCP, TCP_CONGESTION, name.data(),
                        static_cast<socklen_t>(name.size())) == 0;
}

bool has_option(int socket, int level, int name) {
    int value = 0;
    socklen_t length = sizeof value;
    REQUIRE(::getsockopt(socket, level, name, &value, &length) == 0);
    return value != 0;
}

} // namespace

TEST_CASE("a peer counts by its IPv4 address, or by the /64 network of its IPv6 address") {
    struct Way {
        const char* listen;
        const char* connect;
        const char* network;
    };
    for (const Way& way : {Way{"127.0.0.1", "127.0.0.1", "127.0.0.1"}, Way{"::1", "::1", "::/64"},
                           Way{"::", "127.0.0.1", "127.0.0.1"}}) {
        INFO(way.listen << ' ' << way.connect);
        const auto listener = listen_tcp(way.listen, 0);
        if (!listener) {
            continue; // no IPv6 here
        }
        const auto client = connect_tcp(way.connect, local_port(listener->get()), kLong, -1);
        REQUIRE(client);
        REQUIRE(wait_for(listener->get(), POLLIN));
        const auto server = accept_tcp(listener->get());
        REQUIRE(server);
        CHECK(peer_network(server->get()) == way.network);
        CHECK(peer_network(listener->get()).empty());
    }
}

TEST_CASE("a connection reaches the listener, and both ends know each other's address") {
    const UniqueFd listener = listen_somewhere();
    const std::uint16_t port = local_port(listener.get());
    REQUIRE(port != 0);
    CHECK(local_address(listener.get()) == "127.0.0.1:" + std::to_string(port));
    const auto none = accept_tcp(listener.get());
    REQUIRE_FALSE(none);
    CHECK(none.error().error_number == EAGAIN);

    const auto client = connect_tcp("127.0.0.1", port, kLong, -1);
    REQUIRE(client);
    REQUIRE(wait_for(listener.get(), POLLIN));
    const auto server = accept_tcp(listener.get());
    REQUIRE(server);
    CHECK(local_address(client->get()) == peer_address(server->get()));
    CHECK(peer_address(client->get()) == local_address(server->get()));
    for (const int socket : {client->get(), server->get()}) {
        CHECK((::fcntl(socket, F_GETFL) & O_NONBLOCK) != 0);
        CHECK((::fcntl(socket, F_GETFD) & FD_CLOEXEC) != 0);
        CHECK(has_option(socket, IPPROTO_TCP, TCP_NODELAY));
        CHECK(has_option(socket, SOL_SOCKET, SO_KEEPALIVE));
    }
    CHECK((::fcntl(listener.get(), F_GETFD) & FD_CLOEXEC) != 0);
}

TEST_CASE("addresses of nothing are question marks") {
    CHECK(local_address(-1) == "?");
    CHECK(local_port(-1) == 0);
    const UniqueFd listener = listen_somewhere();
    CHECK(peer_address(listener.get()) == "?");
}

TEST_CASE("IPv6 addresses are written in brackets") {
    auto listener = listen_tcp("::1", 0);
    if (!listener) {
        std::cout << "skipped: no IPv6 here\n";
        return;
    }
    const std::string address = local_address(listener->get());
    CHECK(address == "[::1]:" + std::to_string(local_port(listener->get())));
    CHECK(connect_tcp("::1", local_port(listener->get()), kLong, -1));
}

TEST_CASE("a port that is taken, and an address of another machine, cannot be listened on") {
    const UniqueFd listener = listen_somewhere();
    const auto taken = listen_tcp("127.0.0.1", local_port(listener.get()));
    REQUIRE_FALSE(taken);
    CHECK(taken.error().kind == ErrorKind::network);
    CHECK(taken.error().error_number == EADDRINUSE);
    CHECK(taken.error().message.find(std::to_string(local_port(listener.get()))) !=
          std::string::npos);
    const auto foreign = listen_tcp("192.0.2.1", 0);
    REQUIRE_FALSE(foreign);
    CHECK(foreign.error().error_number == EADDRNOTAVAIL);
    CHECK_FALSE(listen_tcp("not an address", 0));
}

TEST_CASE("a port where nobody listens refuses at once and is named") {
    std::uint16_t port = 0;
    {
        const UniqueFd listener = listen_somewhere();
        port = local_port(listener.get());
    }
    const auto refused = connect_tcp("127.0.0.1", port, kLong, -1);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().kind == ErrorKind::network);
    CHECK(refused.error().error_number == ECONNREFUSED);
    CHECK(refused.error().message.find("127.0.0.1:" + std::to_string(port)) != std::string::npos);
    const auto unknown = connect_tcp("host.invalid", port, kLong, -1);
    REQUIRE_FALSE(unknown);
    CHECK(unknown.error().message.find("host.invalid") != std::string::npos);
}

TEST_CASE("a host that does not answer is given up after the timeout") {
    const FullListener full;
    const auto timed_out = connect_tcp("127.0.0.1", full.port(), milliseconds{50}, -1);
    REQUIRE_FALSE(timed_out);
    CHECK(timed_out.error().kind == ErrorKind::timed_out);
}

TEST_CASE("a connection attempt is cancelled, before it began and while it waits") {
    const FullListener full;
    const auto cancel = UniqueFd::adopt(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    const bool early = GENERATE(true, false);
    const std::uint64_t one = 1;
    std::thread later;
    if (early) {
        REQUIRE(::write(cancel.get(), &one, sizeof one) == sizeof one);
    } else {
        later = std::thread(
            [&] { static_cast<void>(::write(cancel.get(), &one, sizeof one) == sizeof one); });
    }
    const auto cancelled = connect_tcp("127.0.0.1", full.port(), kLong, cancel.get());
    if (later.joinable()) {
        later.join();
    }
    REQUIRE_FALSE(cancelled);
    CHECK(cancelled.error().kind == ErrorKind::interrupted);
}

TEST_CASE("waiting for a socket tells readiness, cancellation and timeout apart") {
    TcpPair pair;
    const auto cancel = UniqueFd::adopt(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    CHECK(wait_for_socket(pair.sender.get(), true, -1, kLong) == Wait::ready);
    CHECK(wait_for_socket(pair.receiver.get(), false, -1, milliseconds{1}) == Wait::timed_out);
    CHECK(wait_for_socket(pair.receiver.get(), false, -1, milliseconds{0}) == Wait::timed_out);
    send_all(pair.sender.get(), std::vector<std::byte>(1));
    CHECK(wait_for_socket(pair.receiver.get(), false, cancel.get(), kLong) == Wait::ready);
    const std::uint64_t one = 1;
    REQUIRE(::write(cancel.get(), &one, sizeof one) == sizeof one);
    CHECK(wait_for_socket(pair.receiver.get(), false, cancel.get(), kLong) == Wait::cancelled);
    const TcpPair gone;
    ::shutdown(gone.sender.get(), SHUT_WR);
    CHECK(wait_for_socket(gone.receiver.get(), false, -1, kLong) == Wait::ready);
}

TEST_CASE("a socket is readable at its low-water mark, and at its end whatever has come") {
    TcpPair pair;
    set_low_water_mark(pair.receiver.get(), 100);
    send_all(pair.sender.get(), std::vector<std::byte>(99));
    CHECK(wait_for_socket(pair.receiver.get(), false, -1, milliseconds{20}) == Wait::timed_out);
    SECTION("as soon as the rest has come") {
        send_all(pair.sender.get(), std::vector<std::byte>(1));
    }
    SECTION("as soon as the mark is lowered") {
        set_low_water_mark(pair.receiver.get(), 99);
    }
    SECTION("as soon as nothing more can come") {
        ::shutdown(pair.sender.get(), SHUT_WR);
    }
    SECTION("as soon as the connection is reset") {
        reset_connection(pair.sender);
    }
    CHECK(wait_for_socket(pair.receiver.get(), false, -1, kLong) == Wait::ready);
}

TEST_CASE("loopback addresses are told from all others") {
    for (const char* const address : {"127.0.0.1", "127.1.2.3", "::1", "localhost"}) {
        INFO(address);
        const auto loopback = is_loopback(address);
        REQUIRE(loopback);
        CHECK(*loopback);
    }
    for (const char* const address : {"0.0.0.0", "192.0.2.1", "128.0.0.1", "::", "fe80::1"}) {
        INFO(address);
        const auto loopback = is_loopback(address);
        REQUIRE(loopback);
        CHECK_FALSE(*loopback);
    }
    const auto mapped = is_loopback("::ffff:192.0.2.1");
    CHECK((!mapped || !*mapped));
    const auto unknown = is_loopback("host.invalid");
    REQUIRE_FALSE(unknown);
    CHECK(unknown.error().kind == ErrorKind::usage);
}

TEST_CASE("automatic congestion control replaces BBR on loopback and nothing else") {
    const TcpPair pair;
    REQUIRE(set_algorithm(pair.sender.get(), "reno"));
    const auto kept = choose_congestion(pair.sender.get(), "auto");
    REQUIRE(kept);
    CHECK(kept->algorithm == "reno");
    if (!set_algorithm(pair.sender.get(), "bbr")) {
        std::cout << "skipped: this kernel has no BBR\n";
        return;
    }
    const auto changed = choose_congestion(pair.sender.get(), "auto");
    REQUIRE(changed);
    CHECK(changed->algorithm.rfind("bbr", 0) == std::string::npos);
    CHECK(congestion_of(pair.sender.get()) == "bbr"); // it is for the connections that follow
}

TEST_CASE("automatic congestion control wants BBR on long paths only, and none on local ones") {
    using std::chrono::microseconds;
    using Names = std::vector<std::string_view>;
    for (const std::string_view paced : {"bbr", "bbr2"}) {
        CHECK(better_congestion(paced, microseconds{0}) == Names{"cubic", "reno"});
        CHECK(better_congestion(paced, microseconds{999}) == Names{"cubic", "reno"});
        CHECK(better_congestion(paced, microseconds{1'000}).empty());
        CHECK(better_congestion(paced, microseconds{80'000}).empty());
    }
    for (const std::string_view other : {"cubic", "reno", "dctcp"}) {
        CHECK(better_congestion(other, microseconds{50}).empty());
        CHECK(better_congestion(other, microseconds{9'999}).empty());
        CHECK(better_congestion(other, microseconds{10'000}) == Names{"bbr"});
        CHECK(better_congestion(other, microseconds{300'000}) == Names{"bbr"});
    }
}

TEST_CASE("congestion control that is asked for by name can be had, or is a usage error") {
    const TcpPair pair;
    const auto chosen = choose_congestion(pair.sender.get(), "reno");
    REQUIRE(chosen);
    CHECK(chosen->algorithm == "reno");
    for (const std::string& name : {std::string("nonsense"), std::string(), std::string(50, 'x')}) {
        const auto refused = choose_congestion(pair.sender.get(), name);
        REQUIRE_FALSE(refused);
        CHECK(refused.error().kind == ErrorKind::usage);
        CHECK(refused.error().message.find("'" + name + "'") != std::string::npos);
    }
}

TEST_CASE("a connection has the congestion control that it was made with") {
    const UniqueFd listener = listen_somewhere();
    const std::uint16_t port = local_port(listener.get());
    const auto usual = connect_tcp("127.0.0.1", port, kLong, -1);
    REQUIRE(usual);
    const auto same = connect_tcp("127.0.0.1", port, kLong, -1, congestion_of(usual->get()));
    REQUIRE(same);
    CHECK(congestion_of(same->get()) == congestion_of(usual->get()));
    const auto reno = connect_tcp("127.0.0.1", port, kLong, -1, "reno");
    REQUIRE(reno);
    CHECK(congestion_of(reno->get()) == "reno");
}
