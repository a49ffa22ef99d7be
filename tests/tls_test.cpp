// TLS between two ends of a connection: who is let in, and that what arrives is what was sent.
#include "common/tls.hpp"
#include "tests/support/tls_support.hpp"

#include <array>
#include <catch2/catch.hpp>
#include <cstring>
#include <span>
#include <string>

using namespace sluice;
using namespace sluice::test;

namespace {

std::vector<std::byte> numbered_bytes(std::size_t count) {
    std::vector<std::byte> bytes(count);
    for (std::size_t index = 0; index < count; ++index) {
        bytes[index] = static_cast<std::byte>((index * 2'654'435'761U) >> 13U);
    }
    return bytes;
}

} // namespace

TEST_CASE("TLS: two ends with the same key come together") {
    const auto key = make_key(1);
    const auto client = sender_context(key);
    const auto server = receiver_context({make_key(2), key});
    TlsPair pair(*client, *server);
    pair.shake_hands();
    REQUIRE(pair.sender_done);
    REQUIRE(pair.receiver_done);
    CHECK(pair.sender->key()->identity == key->identity);
    CHECK(pair.receiver->key() == key);
    CHECK(pair.sender->cipher() == pair.receiver->cipher());

    Secret left;
    Secret right;
    Secret other;
    REQUIRE(pair.sender->export_secret("sluice test", left));
    REQUIRE(pair.receiver->export_secret("sluice test", right));
    REQUIRE(pair.receiver->export_secret("sluice test 2", other));
    CHECK(std::ranges::equal(left.bytes(), right.bytes()));
    CHECK_FALSE(std::ranges::equal(left.bytes(), other.bytes()));
}

TEST_CASE("TLS: what is sent arrives, with sockets that take little at a time") {
    const auto key = make_key(1);
    const auto client = sender_context(key);
    const auto server = receiver_context({key});
    TlsPair pair(*client, *server);
    const int small = 4096; // doubled, and no less than 4608 (socket(7))
    require(::setsockopt(pair.sockets.sender.get(), SOL_SOCKET, SO_SNDBUF, &small, sizeof small) ==
                0,
            "sndbuf");
    pair.shake_hands();
    REQUIRE(pair.sender_done);
    REQUIRE(pair.receiver_done);
    auto [from, to] = pair.channels();
    const auto bytes = numbered_bytes(3'000'001);
    std::vector<std::byte> got(bytes.size());
    std::size_t sent = 0;
    std::size_t received = 0;
    while (received < bytes.size()) {
        if (sent < bytes.size()) {
            const std::size_t offered = std::min<std::size_t>(bytes.size() - sent, 700'000);
            const ssize_t count = from.send(std::span(bytes).subspan(sent, offered));
            REQUIRE((count > 0 || (count < 0 && errno == EAGAIN)));
            sent += static_cast<std::size_t>(std::max<ssize_t>(count, 0));
        }
        const std::size_t wanted = std::min<std::size_t>(got.size() - received, 50'000);
        const ssize_t count = to.recv(std::span(got).subspan(received, wanted));
        REQUIRE((count > 0 || (count < 0 && errno == EAGAIN)));
        received += static_cast<std::size_t>(std::max<ssize_t>(count, 0));
    }
    while (sent < bytes.size()) { // the last of it has arrived before it was reported as sent
        const ssize_t count = from.send(std::span(bytes).subspan(sent));
        REQUIRE(count > 0);
        sent += static_cast<std::size_t>(count);
    }
    CHECK(got == bytes);
    CHECK_FALSE(to.holds_bytes());
    from = Channel();
    REQUIRE(wait_for(to.fd(), POLLIN));
    CHECK(to.recv(got) == 0);
}

TEST_CASE("TLS: what is held back takes little memory, and is not lost") {
    const auto key = make_key(1);
    const auto client = sender_context(key);
    const auto server = receiver_context({key});
    TlsPair pair(*client, *server);
    pair.shake_hands();
    REQUIRE(pair.receiver_done);
    auto [from, to] = pair.channels();
    const auto bytes = numbered_bytes(100'000);
    REQUIRE(from.send(bytes) == static_cast<ssize_t>(bytes.size()));
    CHECK_FALSE(to.holds_bytes());
    std::vector<std::byte> got(bytes.size());
    std::size_t received = 0;
    while (received < bytes.size()) {
        REQUIRE((to.holds_bytes() || wait_for(to.fd(), POLLIN)));
        const std::size_t wanted = std::min<std::size_t>(bytes.size() - received, 700);
        const ssize_t count = to.recv(std::span(got).subspan(received, wanted));
        REQUIRE((count > 0 || (count < 0 && errno == EAGAIN)));
        received += static_cast<std::size_t>(std::max<ssize_t>(count, 0));
        to.shrink();
    }
    CHECK(got == bytes);
    CHECK_FALSE(to.holds_bytes());
}

TEST_CASE("TLS: a handshake that ends in the middle is a matter of the network") {
    const auto key = make_key(1);
    const auto client = sender_context(key);
    const auto server = receiver_context({key});
    TlsPair pair(*client, *server);
    REQUIRE(pair.sender->handshake() == TlsConnection::Progress::wants_to_read);
    REQUIRE(wait_for(pair.sockets.receiver.get(), POLLIN));
    SECTION("the receiver goes") {
        std::array<std::byte, 4096> hello{};
        REQUIRE(::recv(pair.sockets.receiver.get(), hello.data(), hello.size(), 0) > 0);
        pair.sockets.receiver.reset();
        REQUIRE(wait_for(pair.sockets.sender.get(), POLLIN));
        CHECK(pair.sender->handshake() == TlsConnection::Progress::failed);
        CHECK(pair.sender->failure().kind == ErrorKind::network);
        CHECK(pair.sender->handshake() == TlsConnection::Progress::failed);
    }
    SECTION("the receiver resets") {
        reset_connection(pair.sockets.receiver);
        REQUIRE(wait_for(pair.sockets.sender.get(), POLLIN));
        CHECK(pair.sender->handshake() == TlsConnection::Progress::failed);
        CHECK(pair.sender->failure().kind == ErrorKind::network);
    }
    SECTION("the sender goes") {
        REQUIRE(pair.receiver->handshake() == TlsConnection::Progress::wants_to_read);
        reset_connection(pair.sockets.sender);
        REQUIRE(wait_for(pair.sockets.receiver.get(), POLLIN));
        CHECK(pair.receiver->handshake() == TlsConnection::Progress::failed);
        CHECK(pair.receiver->failure().kind == ErrorKind::network);
    }
}

TEST_CASE("TLS: who answers in clear, or refuses, is not spoken to") {
    const auto client = sender_context(make_key(1));
    const auto server = receiver_context({make_key(1)});
    TlsPair pair(*client, *server);
    REQUIRE(pair.sender->handshake() == TlsConnection::Progress::wants_to_read);
    std::string expected;
    SECTION("a sluice in clear") {
        send_all(pair.sockets.receiver.get(), std::as_bytes(std::span("sluice\x02\x01 and more")));
        expected = "speaks no TLS";
    }
    SECTION("a receiver without keys") {
        send_all(pair.sockets.receiver.get(), kTlsRefusal);
        expected = "has no keys";
    }
    REQUIRE(wait_for(pair.sockets.sender.get(), POLLIN));
    CHECK(pair.sender->handshake() == TlsConnection::Progress::failed);
    CHECK(pair.sender->failure().kind == ErrorKind::refused);
    CHECK_THAT(pair.sender->failure().message, Catch::Contains(expected));
}

TEST_CASE("TLS: a receiver does not listen for long to what is no handshake") {
    const auto server = receiver_context({make_key(1)});
    const auto client = sender_context(make_key(1));
    TlsPair pair(*client, *server);
    // A ClientHello that claims to be as long as one may be, and never ends.
    std::vector<std::byte> hello(5 + 16'384, std::byte{0});
    hello[0] = kTlsFirstByte;
    hello[1] = std::byte{3};
    hello[2] = std::byte{1};
    hello[3] = std::byte{0x40};
    hello[5] = std::byte{1}; // ClientHello
    hello[6] = std::byte{1}; // of 65,536 bytes and more
    send_all(pair.sockets.sender.get(), hello);
    TlsConnection::Progress progress = pair.receiver->handshake();
    while (progress == TlsConnection::Progress::wants_to_read) {
        REQUIRE(wait_for(pair.sockets.receiver.get(), POLLIN));
        progress = pair.receiver->handshake();
    }
    CHECK(progress == TlsConnection::Progress::failed);
}

TEST_CASE("TLS: random bytes end a handshake, and harm nothing") {
    const auto server = receiver_context({make_key(1)});
    const auto client = sender_context(make_key(1));
    for (unsigned seed = 1; seed <= 50; ++seed) {
        TlsPair pair(*client, *server);
        auto noise = numbered_bytes(1'000 + seed);
        std::rotate(noise.begin(), noise.begin() + seed, noise.end());
        noise[0] = kTlsFirstByte;
        if (seed % 2 == 0) { // a header that is right
            noise[1] = std::byte{3};
            noise[2] = std::byte{1};
            noise[3] = std::byte{1};
        }
        send_all(pair.sockets.sender.get(), noise);
        ::shutdown(pair.sockets.sender.get(), SHUT_WR);
        TlsConnection::Progress progress = pair.receiver->handshake();
        while (progress == TlsConnection::Progress::wants_to_read) {
            REQUIRE(wait_for(pair.sockets.receiver.get(), POLLIN));
            progress = pair.receiver->handshake();
        }
        CHECK(progress == TlsConnection::Progress::failed);
    }
}

TEST_CASE("TLS: a wrong key and an unknown one get the same answer") {
    const auto good = make_key(1);
    auto wrong = std::make_shared<AccessKey>(*make_key(2));
    wrong->identity = good->identity;
    const auto server = receiver_context({good});
    std::vector<std::string> answers;
    for (const SharedKey& key : {SharedKey(wrong), make_key(3)}) {
        const auto client = sender_context(key);
        TlsPair pair(*client, *server);
        pair.shake_hands();
        CHECK_FALSE(pair.sender_done);
        CHECK_FALSE(pair.receiver_done);
        CHECK(pair.sender->failure().kind == ErrorKind::refused);
        CHECK(pair.receiver->failure().kind == ErrorKind::refused);
        answers.push_back(pair.sender->failure().message + pair.receiver->failure().message);
    }
    CHECK(answers[0] == answers[1]);
}

TEST_CASE("TLS: bytes that were changed on their way are an error of their own") {
    const auto key = make_key(1);
    const auto client = sender_context(key);
    const auto server = receiver_context({key});
    TlsPair pair(*client, *server);
    pair.shake_hands();
    REQUIRE(pair.receiver_done);
    auto [from, to] = pair.channels();
    // A record of application data as anybody could make one.
    std::vector<std::byte> forged(5 + 100, std::byte{7});
    forged[0] = std::byte{23};
    forged[1] = forged[2] = std::byte{3};
    forged[3] = std::byte{0};
    forged[4] = std::byte{100};
    send_all(from.fd(), forged);
    REQUIRE(wait_for(to.fd(), POLLIN));
    std::array<std::byte, 64> space{};
    CHECK(to.recv(space) == -1);
    CHECK(errno == EPROTO);
    CHECK(to.recv(space) == -1);
    CHECK(errno == EPROTO);
}
