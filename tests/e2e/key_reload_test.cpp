// A key file that changes while the receiver runs.
#include "tests/e2e/events.hpp"
#include "tests/e2e/key_place.hpp"

#include <catch2/catch.hpp>
#include <csignal>
#include <string>

namespace sluice::test {
namespace {

// Replaces the receiver's key file and tells it so; returns when it has said what it made of that.
void change_keys(const KeyPlace& place, ReceiverProcess& receiver, const std::string& lines) {
    const auto said = [&] { return events_of(receiver.process().out(), "notice").size(); };
    const std::size_t before = said();
    static_cast<void>(place.ring(lines));
    receiver.process().signal(SIGHUP);
    eventually("the receiver has read its keys again", [&] { return said() > before; });
}

std::string last_notice(ReceiverProcess& receiver) {
    return events_of(receiver.process().out(), "notice").back()["text"];
}

// A push that takes its time and does not come back.
std::vector<std::string> slow_push(const KeyPlace& place, const ReceiverProcess& receiver,
                                   const std::string& name) {
    return send_command(receiver,
                        {"--key-file", place.key(name), "--generate", "1G", "--bwlimit", "64K",
                         "--retry-for", "10"},
                        name + ".slow");
}

} // namespace

TEST_CASE("keys are added and taken away while the receiver runs") {
    const KeyPlace place;
    ReceiverProcess receiver(place.stored.path(), place.receiver_options(place.line("alice")));
    CHECK(push(place, receiver, "bob", "").code == 5);
    change_keys(place, receiver, place.line("alice") + place.line("bob"));
    CHECK(contains(last_notice(receiver), "2 key(s)"));
    CHECK(push(place, receiver, "bob", "b/").code == 0);
    CHECK(push(place, receiver, "alice", "a/").code == 0);
    change_keys(place, receiver, place.line("bob", "dir=b"));
    CHECK(push(place, receiver, "alice", "a/").code == 5);
    check_exit(push(place, receiver, "bob", "a/"), 5, "key 'bob' may only store below b/");
    CHECK(push(place, receiver, "bob", "b/").code == 0);
    CHECK(receiver.stop() == 0);
}

TEST_CASE("the sessions of a key end with it, and no others") {
    const KeyPlace place;
    ReceiverProcess receiver(place.stored.path(),
                             place.receiver_options(place.line("alice") + place.line("bob")));
    Process bob(slow_push(place, receiver, "bob"));
    Process alice(slow_push(place, receiver, "alice"));
    eventually("both sessions have begun",
               [&] { return events_of(receiver.process().out(), "session_started").size() == 2; });
    change_keys(place, receiver, place.line("alice", "max-sessions=7"));
    CHECK(bob.wait() == 5);
    CHECK(is_one_line(bob.err()));
    CHECK(contains(bob.err(), "the key was revoked"));
    eventually("the session has ended",
               [&] { return events_of(receiver.process().out(), "session_ended").size() == 1; });
    const Json ended = events_of(receiver.process().out(), "session_ended")[0];
    CHECK(ended["key"] == "bob");
    CHECK(ended["exit_code"] == 5);
    CHECK_FALSE(alice.ends_within(std::chrono::milliseconds{0}));
    CHECK_FALSE(place.stored.exists("bob.slow"));
    alice.signal(SIGTERM);
    CHECK(alice.wait() == 20);
}

TEST_CASE("a bad key file changes nothing, and is complained of in one line") {
    const KeyPlace place;
    ReceiverProcess receiver(place.stored.path(), place.receiver_options(place.line("alice")));
    Process slow(slow_push(place, receiver, "alice"));
    eventually("the session has begun",
               [&] { return contains(receiver.process().out(), "session_started"); });
    change_keys(place, receiver, place.line("bob") + "rubbish\n");
    CHECK(contains(last_notice(receiver), "the keys stay as they were: "));
    CHECK(contains(last_notice(receiver), "ring:2: "));
    CHECK(push(place, receiver, "bob", "").code == 5);
    CHECK(push(place, receiver, "alice", "").code == 0);
    CHECK_FALSE(slow.ends_within(std::chrono::milliseconds{0}));
    slow.signal(SIGTERM);
    CHECK(slow.wait() == 20);
    CHECK(receiver.stop() == 0);
}

} // namespace sluice::test
