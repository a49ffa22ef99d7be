// Who is let in, and what keys may do.
#include "tests/e2e/events.hpp"
#include "tests/e2e/key_place.hpp"
#include "tests/support/raw_peer.hpp"
#include "tests/support/recording_relay.hpp"
#include "tests/support/tree.hpp"

#include <catch2/catch.hpp>
#include <string>
#include <vector>

namespace sluice::test {
namespace {

// One line, exit code 5, and nothing stored.
void check_refused(const KeyPlace& place, const Finished& sent, const std::string& part) {
    check_exit(sent, 5, part);
    // What a session had begun to store is removed behind its back.
    eventually("nothing is stored", [&] { return place.stored.list().empty(); });
}

// A push of alice still works.
void check_serves(const KeyPlace& place, const ReceiverProcess& receiver) {
    const Finished sent = push(place, receiver, "alice", "good/");
    INFO(sent.err);
    REQUIRE(sent.code == 0);
    CHECK(differences(describe_tree(place.source, "tree"),
                      describe_tree(place.stored, "good/tree")) == "");
}

std::uint16_t port_of(const ReceiverProcess& receiver) {
    return static_cast<std::uint16_t>(std::stoul(receiver.port()));
}

UniqueFd connect_raw(const ReceiverProcess& receiver) {
    auto socket = connect_tcp("127.0.0.1", port_of(receiver), std::chrono::seconds{10}, -1);
    REQUIRE(socket);
    return std::move(*socket);
}

// The first message of a sender, whom nobody answers.
std::vector<std::byte> first_flight(const KeyPlace& place, const std::string& name) {
    auto listener = listen_tcp("127.0.0.1", 0);
    REQUIRE(listener);
    Process sender(send_command(std::to_string(local_port(listener->get())),
                                {"--key-file", place.key(name), place.source.path("tree")}));
    pollfd waiting{listener->get(), POLLIN, 0};
    REQUIRE(::poll(&waiting, 1, 30'000) == 1);
    auto socket = accept_tcp(listener->get());
    REQUIRE(socket);
    waiting.fd = socket->get();
    REQUIRE(::poll(&waiting, 1, 30'000) == 1);
    std::vector<std::byte> bytes(65'536);
    const ssize_t got = ::recv(socket->get(), bytes.data(), bytes.size(), 0);
    REQUIRE(got > 0);
    bytes.resize(static_cast<std::size_t>(got));
    return bytes;
}

void send_raw(const UniqueFd& socket, std::span<const std::byte> bytes) {
    const ssize_t sent = ::send(socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    REQUIRE(sent == static_cast<ssize_t>(bytes.size()));
}

// Waits until the receiver has closed, and returns how much it has said.
std::size_t said_until_closed(const UniqueFd& socket) {
    std::vector<char> waste(65'536);
    std::size_t said = 0;
    for (;;) {
        pollfd waiting{socket.get(), POLLIN, 0};
        REQUIRE(::poll(&waiting, 1, 30'000) == 1);
        const ssize_t got = ::recv(socket.get(), waste.data(), waste.size(), 0);
        if (got <= 0) {
            return said;
        }
        said += static_cast<std::size_t>(got);
    }
}

} // namespace

TEST_CASE("a key opens the receiver, which calls its holder by name") {
    const KeyPlace place;
    ReceiverProcess receiver(place.stored.path(),
                             place.receiver_options(place.line("bob") + place.line("alice")));
    check_serves(place, receiver);
    CHECK(receiver.stop() == 0);
    CHECK(contains(receiver.process().err(), "2 key(s) from"));
    CHECK(contains(receiver.process().err(), "(key 'alice') began"));
    const auto ended = events_of(receiver.process().out(), "session_ended");
    REQUIRE(ended.size() == 1);
    CHECK(ended[0]["key"] == "alice");
    CHECK(events_of(receiver.process().out(), "session_started")[0]["key"] == "alice");
    CHECK_FALSE(contains(receiver.process().out() + receiver.process().err(), "sluice-key-"));
}

TEST_CASE("whoever has no key, or another, is told so in one line, and nothing else") {
    const KeyPlace place;
    ReceiverProcess receiver(place.stored.path(), place.receiver_options(place.line("alice")));
    check_refused(place, push(place, receiver, "", ""), "not authorised");
    const Finished unknown = push(place, receiver, "mallory", "");
    check_refused(place, unknown, "not authorised");
    // A wrong key under alice's name is no different.
    place.keys.write_file("wrong", "alice sluice-key-" + std::string(64, 'e') + "\n", 0600);
    CHECK(push(place, receiver, "wrong", "").err == unknown.err);
    check_serves(place, receiver);
    CHECK(receiver.stop() == 0);
    CHECK(events_of(receiver.process().out(), "session_started").size() == 1);
}

TEST_CASE("a sender with a key sends nothing to a receiver that has none") {
    const KeyPlace place;
    const ReceiverProcess open(place.stored.path());
    check_refused(place, push(place, open, "alice", ""), "key");
    CHECK(push(place, open, "", "").code == 0);
}

TEST_CASE("the sender alone decides on its level, and the receiver on the least") {
    const KeyPlace place;
    ReceiverProcess strict(place.stored.path(), place.receiver_options(place.line("alice")));
    check_refused(place, push(place, strict, "", "", {"--security", "none"}), "not authorised");
    check_refused(place, push(place, strict, "alice", "", {"--security", "signed"}),
                  "--security tls");
    std::vector<std::string> options = place.receiver_options(place.line("alice", "dir=good"));
    options.insert(options.end(), {"--security", "none"});
    ReceiverProcess lax(place.stored.path(), options);
    check_refused(place, push(place, lax, "alice", "elsewhere"), "key 'alice'");
    check_refused(place, push(place, lax, "mallory", ""), "not authorised");
    check_serves(place, lax);
    CHECK(push(place, lax, "", "elsewhere").code == 0);
    CHECK(lax.stop() == 0);
    const auto ended = events_of(lax.process().out(), "session_ended");
    REQUIRE(ended.size() == 3);
    CHECK(ended[2]["key"].is_null());
}

TEST_CASE("a receiver that is content with signed data takes tls, too, and nothing less") {
    const KeyPlace place;
    std::vector<std::string> options = place.receiver_options(place.line("alice"));
    options.insert(options.end(), {"--security", "signed"});
    ReceiverProcess receiver(place.stored.path(), options);
    check_refused(place, push(place, receiver, "", ""), "not authorised");
    CHECK(push(place, receiver, "alice", "s/", {"--security", "signed"}).code == 0);
    CHECK(push(place, receiver, "alice", "t/").code == 0);
    CHECK(receiver.stop() == 0);
    const auto ended = events_of(receiver.process().out(), "session_ended");
    REQUIRE(ended.size() == 2);
    CHECK(ended[0]["security"] == "signed");
    CHECK(ended[1]["security"] == "tls");
    CHECK(ended[0]["key"] == "alice");
}

TEST_CASE("a key opens its own directory only") {
    const KeyPlace place;
    ReceiverProcess receiver(
        place.stored.path(),
        place.receiver_options(place.line("alice") + place.line("bob", "dir=backups/bob")));
    for (const char* const path : {"", "backups", "backups/alice", "backups/bobby"}) {
        check_refused(place, push(place, receiver, "bob", path),
                      "key 'bob' may only store below backups/bob/");
        check_refused(place, push(place, receiver, "bob", path, {"--dry-run"}), "key 'bob'");
    }
    CHECK(push(place, receiver, "bob", "backups/bob").code == 0);
    CHECK(push(place, receiver, "bob", "backups/bob/deep/er").code == 0);
    CHECK(place.stored.read_file("backups/bob/tree/file") == "content");
    CHECK(place.stored.read_file("backups/bob/deep/er/tree/file") == "content");
    // Not through a link, whoever has made it.
    place.stored.symlink("../..", "backups/bob/out");
    check_exit(push(place, receiver, "bob", "backups/bob/out"), 5, "symbolic link");
    CHECK(place.stored.list().size() == 1);
    check_serves(place, receiver);
}

TEST_CASE("a single file does not take the place of a key's directory") {
    const KeyPlace place;
    ReceiverProcess receiver(place.stored.path(),
                             place.receiver_options(place.line("bob", "dir=bob")));
    CHECK(run(send_command(receiver,
                           {"--key-file", place.key("bob"), place.source.path("tree/file")}, "bob"))
              .code == 0);
    CHECK(place.stored.read_file("bob/file") == "content");
}

TEST_CASE("a key that may only look learns what a push would do, and cannot push") {
    const KeyPlace place;
    ReceiverProcess receiver(
        place.stored.path(),
        place.receiver_options(place.line("alice") + place.line("bob", "access=read")));
    check_refused(place, push(place, receiver, "bob", ""), "--dry-run");
    check_serves(place, receiver);
    const Finished looked = push(place, receiver, "bob", "good/", {"--dry-run"});
    CHECK(looked.code == 0);
    CHECK_FALSE(contains(looked.out, "tree/file"));
    CHECK(contains(push(place, receiver, "bob", "new/", {"--dry-run"}).out, "tree/file"));
}

TEST_CASE("a key that may not look sends everything again, and never learns why") {
    const KeyPlace place;
    ReceiverProcess receiver(
        place.stored.path(),
        place.receiver_options(place.line("alice") + place.line("bob", "access=write")));
    check_refused(place, push(place, receiver, "bob", "", {"--dry-run"}), "--dry-run");
    check_serves(place, receiver);
    for (const char* const path : {"good/", "new/", "new/"}) {
        const Finished sent = push(place, receiver, "bob", path, {"--json"});
        INFO(sent.err);
        REQUIRE(sent.code == 0);
        const auto summary = events_of(sent.out, "summary")[0];
        CHECK(summary["files_sent"] == 2);
        CHECK(summary["receiver"]["files"] == 2);
        CHECK(summary["receiver"]["unchanged"] == 0);
        CHECK(summary["receiver"]["symlinks"] == 1);
        CHECK(summary["receiver"]["system_calls"] == 0);
        CHECK(summary["reused_files"] == 0);
    }
}

TEST_CASE("a key has as many sessions at a time as it may") {
    const KeyPlace place;
    ReceiverProcess receiver(
        place.stored.path(),
        place.receiver_options(place.line("alice") + place.line("bob", "max-sessions=1")));
    Process slow(send_command(receiver,
                              {"--key-file", place.key("bob"), "--generate", "1G", "--bwlimit",
                               "64K", "--retry-for", "0"},
                              "slow"));
    eventually("the first session has begun",
               [&] { return contains(receiver.process().out(), "session_started"); });
    check_exit(push(place, receiver, "bob", "second"), 5, "key 'bob' may have 1 session(s)");
    check_serves(place, receiver);
    slow.signal(SIGTERM);
    CHECK(slow.wait() == 20);
    eventually("the first session has ended",
               [&] { return contains(receiver.process().out(), "session_ended"); });
    CHECK(push(place, receiver, "bob", "second").code == 0);
}

TEST_CASE("a key brings as much in one session as it may, and else nothing") {
    const KeyPlace place;
    ReceiverProcess receiver(
        place.stored.path(),
        place.receiver_options(place.line("alice") + place.line("few", "max-files=3") +
                               place.line("small", "max-bytes=100K") +
                               place.line("enough", "max-files=4 max-bytes=1M")));
    check_refused(place, push(place, receiver, "few", ""), "the limit of this key");
    check_refused(place, push(place, receiver, "small", ""), "the limit of this key");
    CHECK(push(place, receiver, "enough", "enough/").code == 0);
    check_serves(place, receiver);
}

TEST_CASE("half a handshake leads nowhere, and others are served meanwhile") {
    const KeyPlace place;
    std::vector<std::string> options = place.receiver_options(place.line("alice"));
    options.insert(options.end(), {"--handshake-timeout", "1"});
    ReceiverProcess receiver(place.stored.path(), options);
    const std::vector<std::byte> flight = first_flight(place, "alice");
    REQUIRE(flight.front() == std::byte{0x16});
    std::vector<UniqueFd> waiting;
    for (const std::size_t length : {std::size_t{1}, std::size_t{5}, flight.size() / 2}) {
        waiting.push_back(connect_raw(receiver));
        send_raw(waiting.back(), std::span(flight).first(length));
    }
    const UniqueFd closed = connect_raw(receiver);
    send_raw(closed, std::span(flight).first(flight.size() - 1));
    REQUIRE(::shutdown(closed.get(), SHUT_WR) == 0);
    static_cast<void>(said_until_closed(closed));
    check_serves(place, receiver);
    for (const UniqueFd& one : waiting) {
        static_cast<void>(said_until_closed(one)); // at the deadline
    }
    CHECK(receiver.stop() == 0);
    CHECK(events_of(receiver.process().out(), "session_started").size() == 1);
}

TEST_CASE("what was recorded opens nothing when it is said again") {
    const KeyPlace place;
    ReceiverProcess receiver(place.stored.path(), place.receiver_options(place.line("alice")));
    RecordingRelay relay(port_of(receiver));
    const Finished sent = push(place, relay.port(), "alice", "first/");
    INFO(sent.err);
    REQUIRE(sent.code == 0);
    const auto recorded = relay.recorded();
    REQUIRE(recorded.size() >= 2); // the control connection, and data
    place.stored.remove("first");
    for (const auto& said : recorded) {
        CHECK(said.front() == std::byte{0x16});
        const UniqueFd socket = connect_raw(receiver);
        // As much of it as is taken before the receiver has had enough.
        static_cast<void>(::send(socket.get(), said.data(), said.size(), MSG_NOSIGNAL));
        // Its own half of a handshake: the rest of the recording is no answer to that.
        CHECK(said_until_closed(socket) > 0);
    }
    CHECK(place.stored.list().empty());
    check_serves(place, receiver);
    CHECK(receiver.stop() == 0);
    CHECK(events_of(receiver.process().out(), "session_started").size() == 2);
}

TEST_CASE("a data connection in clear cannot join a session of a key") {
    // The token is known to nobody but the holder; even so nobody without the key gets that far.
    const KeyPlace place;
    ReceiverProcess receiver(place.stored.path(), place.receiver_options(place.line("alice")));
    RawPeer peer = RawPeer::connect(receiver.port(), proto::Role::data);
    peer.send_message(proto::Join{});
    Frame frame;
    const auto error = peer.receive_message<proto::ErrorMessage>(proto::FrameType::error, frame);
    CHECK(error.code == 5);
    CHECK(contains(std::string(error.text), "not authorised"));
}

} // namespace sluice::test
