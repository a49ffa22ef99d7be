// Who finds a session, who counts, and who waits for another's place.
#include "receiver/session_table.hpp"

#include <catch2/catch.hpp>
#include <utility>

using namespace sluice;

namespace {

proto::Token token_of(unsigned value) {
    proto::Token token{};
    token.front() = token.back() = std::byte(value);
    return token;
}

struct Table {
    JobPool hashing{1};
    SessionTable sessions;

    std::shared_ptr<Session> add(std::uint64_t serial, unsigned run = 0,
                                 const std::string& network = "192.0.2.1",
                                 const SharedKey& key = nullptr) {
        auto session = std::make_shared<Session>(serial, token_of(static_cast<unsigned>(serial)),
                                                 token_of(run), "peer", hashing, key);
        sessions.add(session, network);
        return session;
    }
};

SharedKey key_of(unsigned value) {
    auto key = std::make_shared<AccessKey>();
    key->identity.front() = std::byte(value);
    return key;
}

PendingSession pending(unsigned run) {
    return {token_of(run), "192.0.2.1", {}, proto::Bytes(run)};
}

} // namespace

TEST_CASE("a session is found by its token and by its run as long as it is in the table") {
    Table table;
    const auto first = table.add(1, 7);
    const auto second = table.add(2);
    CHECK(table.sessions.with_token(token_of(1)) == first);
    CHECK(table.sessions.with_token(token_of(2)) == second);
    CHECK_FALSE(table.sessions.with_token(token_of(3)));
    CHECK(table.sessions.of_run(token_of(7)) == first);
    CHECK_FALSE(table.sessions.of_run(token_of(8)));
    CHECK_FALSE(table.sessions.of_run({})); // zeros name no run
    table.sessions.remove(1);
    CHECK_FALSE(table.sessions.with_token(token_of(1)));
    CHECK_FALSE(table.sessions.of_run(token_of(7)));
}

TEST_CASE("sessions are counted, all of them and those of a network") {
    Table table;
    CHECK(table.sessions.empty());
    table.add(1, 0, "192.0.2.1");
    table.add(2, 0, "192.0.2.1");
    table.add(3, 0, "2001:db8::/64");
    CHECK(table.sessions.load().counted == 3);
    CHECK(table.sessions.load_of("192.0.2.1").counted == 2);
    CHECK(table.sessions.load_of("2001:db8::/64").counted == 1);
    CHECK(table.sessions.load_of("192.0.2.2").counted == 0);
    table.sessions.remove(1);
    table.sessions.remove(1); // once is enough
    table.sessions.remove(2);
    CHECK(table.sessions.load().counted == 1);
    CHECK(table.sessions.load_of("192.0.2.1").counted == 0);
}

TEST_CASE("a session whose last word is said is held, but counts towards no limit") {
    Table table;
    const auto first = table.add(1, 0, "192.0.2.1", key_of(1));
    table.add(2, 0, "192.0.2.1", key_of(1));
    first->note_last_word(true);
    CHECK(table.sessions.load().held == 2);
    CHECK(table.sessions.load().counted == 1);
    CHECK(table.sessions.load_of("192.0.2.1").counted == 1);
    CHECK(table.sessions.load_of(key_of(1)->identity).counted == 1);
    CHECK(table.sessions.with_token(token_of(1)) == first);
    table.sessions.remove(1);
    CHECK(table.sessions.load().held == 1);
}

TEST_CASE("whoever waits for a session whose last word is said counts in its place") {
    Table table;
    const auto first = table.add(1, 7);
    table.sessions.wait_for(1, pending(3));
    CHECK(table.sessions.load().counted == 1);
    first->note_last_word(true);
    CHECK(table.sessions.load().counted == 1);
    CHECK(table.sessions.load().held == 2);
    first->note_last_word(false); // it could not be sent at once
    CHECK(table.sessions.load().counted == 1);
}

TEST_CASE("a limit is reached by those that count, or by twice as many in all") {
    CHECK(SessionLoad{1, 1}.reaches(1));
    CHECK_FALSE(SessionLoad{0, 1}.reaches(1));
    CHECK(SessionLoad{0, 2}.reaches(1));
    CHECK_FALSE(SessionLoad{2, 5}.reaches(3));
    CHECK(SessionLoad{2, 6}.reaches(3));
}

TEST_CASE("one that waits for the end of another counts from then on, and once") {
    Table table;
    table.add(1, 7);
    CHECK_FALSE(table.sessions.has_successor(1));
    table.sessions.wait_for(1, pending(3));
    table.sessions.wait_for(1, pending(5)); // the last that came
    CHECK(table.sessions.has_successor(1));
    CHECK(table.sessions.load().counted == 1);
    table.sessions.remove(1);
    CHECK(table.sessions.empty());
    CHECK(table.sessions.load().counted == 1);
    CHECK(table.sessions.load_of("192.0.2.1").counted == 1);
    CHECK(table.sessions.load_of("192.0.2.2").counted == 0);
    const auto next = table.sessions.take_successor(1);
    REQUIRE(next);
    CHECK(next->body.size() == 5);
    CHECK(table.sessions.load().counted == 0);
    CHECK_FALSE(table.sessions.take_successor(1));
}

TEST_CASE("all sessions can be failed at once") {
    Table table;
    const auto first = table.add(1);
    const auto second = table.add(2);
    table.sessions.fail_all({ErrorKind::interrupted, "enough"});
    for (const auto& session : {first, second}) {
        REQUIRE(session->failure());
        CHECK(session->failure()->message == "enough");
    }
    table.sessions.clear();
    CHECK(table.sessions.load().counted == 0);
    CHECK(table.sessions.load_of("192.0.2.1").counted == 0);
}

TEST_CASE("only the key that opened a session finds it by its run") {
    Table table;
    const auto of_alice = table.add(1, 7, "192.0.2.1", key_of(1));
    CHECK(table.sessions.of_run(token_of(7), key_of(1)) == of_alice); // as read anew
    CHECK_FALSE(table.sessions.of_run(token_of(7), key_of(2)));
    CHECK_FALSE(table.sessions.of_run(token_of(7)));
    const auto of_bob = table.add(2, 7, "192.0.2.1", key_of(2));
    const auto of_nobody = table.add(3, 7);
    CHECK(table.sessions.of_run(token_of(7), key_of(2)) == of_bob);
    CHECK(table.sessions.of_run(token_of(7)) == of_nobody);
    CHECK(table.sessions.load_of(key_of(1)->identity).counted == 1);
    CHECK(table.sessions.load_of(key_of(3)->identity).counted == 0);
}

TEST_CASE("a key has as many sessions while one of them is taken over as before and after") {
    Table table;
    const auto identity = key_of(1)->identity;
    table.add(1, 7, "192.0.2.1", key_of(1));
    PendingSession next = pending(7);
    next.key = key_of(1);
    table.sessions.wait_for(1, std::move(next));
    CHECK(table.sessions.load_of(identity).counted == 1);
    table.sessions.remove(1); // its files are not free yet
    CHECK(table.sessions.load_of(identity).counted == 1);
    CHECK(table.sessions.load_of(key_of(2)->identity).counted == 0);
    CHECK(table.sessions.take_successor(1));
    CHECK(table.sessions.load_of(identity).counted == 0);
}

TEST_CASE("sessions of a key fail with it, and whoever waits to follow them") {
    Table table;
    const auto of_alice = table.add(1, 7, "192.0.2.1", key_of(1));
    const auto of_bob = table.add(2, 8, "192.0.2.1", key_of(2));
    for (const unsigned key : {1U, 2U}) {
        PendingSession next = pending(key);
        next.key = key_of(key);
        table.sessions.wait_for(key, std::move(next));
    }
    table.sessions.remove(1); // whose successor waits for its files
    CHECK(table.sessions.load().counted == 2);
    table.sessions.fail_keys(
        [](const SharedKey& key) { return key && key->identity == key_of(1)->identity; },
        {ErrorKind::refused, "revoked"});
    CHECK(table.sessions.load().counted == 1);
    CHECK_FALSE(table.sessions.has_successor(1));
    CHECK(table.sessions.has_successor(2));
    CHECK_FALSE(of_bob->failure());
    table.sessions.fail_keys([](const SharedKey&) { return true; },
                             {ErrorKind::refused, "revoked"});
    REQUIRE(of_bob->failure());
    CHECK(of_bob->failure()->message == "revoked");
}
