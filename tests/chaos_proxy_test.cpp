// The proxy that breaks connections for other tests: each fault does what it says, where it says.
#include "common/net.hpp"
#include "tests/support/chaos_proxy.hpp"
#include "tests/support/process.hpp"
#include "tests/support/tree.hpp"

#include <catch2/catch.hpp>
#include <poll.h>
#include <sys/socket.h>

using namespace sluice;
using namespace sluice::test;

namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20;

ChaosPlan always(ConnectionPlan plan) {
    return [plan](unsigned) { return plan; };
}

void make_blocking(int socket) {
    const int flags = ::fcntl(socket, F_GETFL);
    REQUIRE(::fcntl(socket, F_SETFL, flags & ~O_NONBLOCK) == 0);
    const timeval limit{20, 0}; // a test that hangs shall fail
    REQUIRE(::setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0);
    REQUIRE(::setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) == 0);
}

// What can be received, and the errno at which it ended; 0 for an orderly end.
struct Received {
    std::string bytes;
    int error = 0;
};
Received receive(int socket, std::size_t most = ~std::size_t{0}) {
    Received received;
    std::vector<char> piece(64 << 10);
    while (received.bytes.size() < most) {
        const ssize_t got =
            ::recv(socket, piece.data(), std::min(piece.size(), most - received.bytes.size()), 0);
        if (got <= 0) {
            received.error = got == 0 ? 0 : errno;
            break;
        }
        received.bytes.append(piece.data(), static_cast<std::size_t>(got));
    }
    return received;
}

// As much as the other side takes.
void send_all(int socket, std::string_view bytes) {
    while (!bytes.empty()) {
        const ssize_t sent = ::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (sent <= 0) {
            return;
        }
        bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
}

bool readable(int socket, int timeout_ms) {
    pollfd watched{socket, POLLIN, 0};
    return ::poll(&watched, 1, timeout_ms) == 1;
}

// Two ends with the proxy between them.
struct Line {
    UniqueFd listener;
    ChaosProxy proxy;
    UniqueFd client;
    UniqueFd server;

    explicit Line(ChaosPlan plan)
        : listener(std::move(*listen_tcp("127.0.0.1", 0))),
          proxy(local_port(listener.get()), std::move(plan)) {
        make_blocking(listener.get());
        connect();
    }
    void connect() {
        auto connected =
            connect_tcp("127.0.0.1", static_cast<std::uint16_t>(std::stoul(proxy.port())),
                        std::chrono::seconds{10}, -1);
        REQUIRE(connected);
        client = std::move(*connected);
        server = UniqueFd::adopt(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
        REQUIRE(server);
        make_blocking(client.get());
        make_blocking(server.get());
    }
};

} // namespace

TEST_CASE("a proxy without faults forwards everything both ways, and the ends") {
    Line line(always({}));
    const std::string there = random_bytes(8 * kMiB, 1);
    const std::string back = random_bytes(100'000, 2);
    std::thread sender([&] {
        send_all(line.client.get(), there);
        ::shutdown(line.client.get(), SHUT_WR);
    });
    const Received arrived = receive(line.server.get());
    sender.join();
    CHECK(arrived.bytes == there);
    CHECK(arrived.error == 0);
    send_all(line.server.get(), back);
    line.server.reset();
    CHECK(receive(line.client.get()).bytes == back);
    CHECK(line.proxy.counts().harm() == 0);
    CHECK(line.proxy.counts().connections == 1);
    CHECK(line.proxy.counts().to_server == there.size());
}

TEST_CASE("a flip inverts one bit of one byte") {
    const std::string sent = random_bytes(kMiB, 3);
    const std::uint64_t offset = GENERATE(0U, 1U, 777'777U, (1U << 20U) - 1);
    const auto way = GENERATE(Way::to_server, Way::to_client);
    Line line(always({{{FaultKind::flip, way, offset, {}, 5}}, 0}));
    const int from = way == Way::to_server ? line.client.get() : line.server.get();
    const int to = way == Way::to_server ? line.server.get() : line.client.get();
    std::thread sender([&] { send_all(from, sent); });
    const Received arrived = receive(to, sent.size());
    sender.join();
    std::string expected = sent;
    expected[offset] = static_cast<char>(expected[offset] ^ 0x20);
    CHECK(arrived.bytes == expected);
    eventually("the flip is counted", [&] { return line.proxy.counts().flips == 1; });
}

TEST_CASE("a truncation ends both ways in an orderly way after so many bytes") {
    const std::uint64_t offset = GENERATE(0U, 100'000U);
    Line line(always({{{FaultKind::truncate, Way::to_server, offset, {}, 0}}, 0}));
    send_all(line.client.get(), random_bytes(200'000, 4));
    const Received arrived = receive(line.server.get());
    CHECK(arrived.bytes == random_bytes(200'000, 4).substr(0, offset));
    CHECK(arrived.error == 0);
    const Received answered = receive(line.client.get());
    CHECK(answered.bytes.empty());
    CHECK(answered.error == 0);
    CHECK(line.proxy.counts().truncations == 1);
}

TEST_CASE("a reset reaches both sides, and only that connection") {
    Line line([](unsigned index) {
        ConnectionPlan plan;
        if (index == 1) {
            plan.faults = {{FaultKind::reset, Way::to_server, 100'000, {}, 0}};
        }
        return plan;
    });
    send_all(line.client.get(), random_bytes(200'000, 5));
    CHECK(receive(line.server.get(), 200'000).bytes.size() == 200'000);
    line.connect();
    send_all(line.client.get(), random_bytes(200'000, 5));
    const Received arrived = receive(line.server.get());
    CHECK(arrived.bytes.size() <= 100'000); // a reset overtakes what was not read
    CHECK(arrived.error == ECONNRESET);
    CHECK(receive(line.client.get()).error == ECONNRESET);
    CHECK(line.proxy.counts().resets == 1);
}

TEST_CASE("a stalled connection stays open and says nothing") {
    Line line(always({{{FaultKind::stall, Way::to_server, 10, {}, 0}}, 0}));
    send_all(line.client.get(), "0123456789abc");
    CHECK(receive(line.server.get(), 10).bytes == "0123456789");
    send_all(line.server.get(), "answer");
    CHECK_FALSE(readable(line.server.get(), 50));
    CHECK_FALSE(readable(line.client.get(), 50));
    CHECK(line.proxy.counts().stalls == 1);
}

TEST_CASE("a half-open connection is gone for the client and not for the server") {
    Line line(always({{{FaultKind::half_open, Way::to_server, 10, {}, 0}}, 0}));
    send_all(line.client.get(), "0123456789");
    CHECK(receive(line.server.get(), 10).bytes == "0123456789");
    CHECK(receive(line.client.get()).bytes.empty());
    CHECK_FALSE(readable(line.server.get(), 50));
    CHECK(line.proxy.counts().half_opens == 1);
}

TEST_CASE("a delay holds bytes back and loses none") {
    constexpr std::chrono::milliseconds kDelay{150};
    Line line(always({{{FaultKind::delay, Way::to_server, 10, kDelay, 0}}, 0}));
    const auto began = std::chrono::steady_clock::now();
    send_all(line.client.get(), "0123456789abc");
    CHECK(receive(line.server.get(), 13).bytes == "0123456789abc");
    CHECK(std::chrono::steady_clock::now() - began >= kDelay);
    CHECK(line.proxy.counts().delays == 1);
    CHECK(line.proxy.counts().harm() == 0);
}

TEST_CASE("a split connection loses nothing") {
    Line line(always({{{FaultKind::flip, Way::to_server, 9'999, {}, 0}}, 100}));
    std::string sent = random_bytes(50'000, 6);
    send_all(line.client.get(), sent);
    const Received arrived = receive(line.server.get(), sent.size());
    sent[9'999] = static_cast<char>(sent[9'999] ^ 1);
    CHECK(arrived.bytes == sent);
    CHECK(line.proxy.counts().splits == 1);
}

TEST_CASE("a frozen proxy forwards nothing until it thaws") {
    Line line(always({}));
    send_all(line.client.get(), "1");
    CHECK(receive(line.server.get(), 1).bytes == "1");
    line.proxy.freeze(true);
    send_all(line.client.get(), "2");
    CHECK_FALSE(readable(line.server.get(), 50));
    line.proxy.freeze(false);
    CHECK(receive(line.server.get(), 1).bytes == "2");
}

TEST_CASE("all connections of a proxy can be reset, and new ones go to another server") {
    Line line(always({}));
    send_all(line.client.get(), "1");
    CHECK(receive(line.server.get(), 1).bytes == "1");
    line.proxy.reset_all();
    CHECK(receive(line.server.get()).error == ECONNRESET);
    CHECK(receive(line.client.get()).error == ECONNRESET);
    line.listener = std::move(*listen_tcp("127.0.0.1", 0));
    make_blocking(line.listener.get());
    line.proxy.set_target(local_port(line.listener.get()));
    line.connect();
    send_all(line.client.get(), "2");
    CHECK(receive(line.server.get(), 1).bytes == "2");
}

TEST_CASE("a server that refuses is a reset for the client") {
    Line line(always({}));
    line.listener.reset();
    auto client =
        connect_tcp("127.0.0.1", static_cast<std::uint16_t>(std::stoul(line.proxy.port())),
                    std::chrono::seconds{10}, -1);
    if (client) { // the reset may be as fast as the connection
        make_blocking(client->get());
        CHECK(receive(client->get()).error == ECONNRESET);
    }
    CHECK(line.proxy.counts().refused == 1);
}

TEST_CASE("a random plan is the same for the same seed, and another for another") {
    Probabilities half;
    half.flip = half.reset = half.delay = half.split = 0.5;
    half.clean_after = 100;
    const auto describe = [&](std::uint64_t seed) {
        std::string text;
        const ChaosPlan plan = random_plan(seed, half);
        for (unsigned index = 0; index < 110; ++index) {
            const ConnectionPlan drawn = plan(index);
            CHECK((index < 100 || (drawn.faults.empty() && drawn.piece == 0)));
            text += std::to_string(drawn.piece);
            for (const ProxyFault& fault : drawn.faults) {
                text +=
                    fmt::format(" {}:{}:{}", static_cast<int>(fault.kind), fault.offset, fault.bit);
                CHECK(fault.offset <= half.span);
            }
        }
        return text;
    };
    CHECK(describe(1) == describe(1));
    CHECK(describe(1) != describe(2));
}
