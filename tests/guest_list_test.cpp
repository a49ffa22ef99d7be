// Who has to leave the lobby so that others can come in.
#include "receiver/guest_list.hpp"

#include <catch2/catch.hpp>
#include <random>
#include <set>

using namespace sluice;

namespace {

using Id = GuestList::Id;

// Always the same place of the older half.
GuestList::Draw always(std::size_t place) {
    return [place](std::size_t bound) { return std::min(place, bound - 1); };
}

Id enter(GuestList& list, const std::string& network) {
    const auto entered = list.enter(network);
    REQUIRE(entered);
    CHECK_FALSE(entered->leaves);
    return entered->id;
}

// One more comes in, and that one leaves for it.
Id push_out(GuestList& list, const std::string& network, Id expected) {
    const auto entered = list.enter(network);
    REQUIRE(entered);
    REQUIRE(entered->leaves);
    CHECK(*entered->leaves == expected);
    list.leave(*entered->leaves);
    return entered->id;
}

} // namespace

TEST_CASE("nobody leaves as long as there is room") {
    GuestList list({3, 3, 1}, always(0));
    const Id first = enter(list, "a");
    enter(list, "a");
    enter(list, "b");
    CHECK(list.size() == 3);
    list.leave(first);
    list.leave(first);
    CHECK(list.size() == 2);
    enter(list, "a");
}

TEST_CASE("when the lobby is full one of the older half of its largest network leaves") {
    GuestList list({6, 100, 1}, always(1));
    enter(list, "honest");
    std::vector<Id> crowd;
    for (int count = 0; count < 5; ++count) {
        crowd.push_back(enter(list, "crowd"));
    }
    // Of five the older three.
    push_out(list, "honest", crowd[1]);
    crowd.erase(crowd.begin() + 1);
    const Id last = push_out(list, "crowd", crowd[1]);
    CHECK(last > crowd.back());
    CHECK(list.size() == 6);
}

TEST_CASE("the younger half is never drawn, the older half is, all of it") {
    std::minstd_rand random(7);
    std::set<Id> drawn;
    for (int round = 0; round < 500; ++round) {
        GuestList list({9, 9, 1}, [&](std::size_t bound) {
            return std::uniform_int_distribution<std::size_t>{0, bound - 1}(random);
        });
        for (int count = 0; count < 9; ++count) {
            enter(list, "a");
        }
        const auto entered = list.enter("a");
        REQUIRE(entered);
        REQUIRE(entered->leaves);
        drawn.insert(*entered->leaves);
    }
    CHECK(drawn == std::set<Id>{1, 2, 3, 4, 5});
}

TEST_CASE("a network that has as many connections as it may makes room for itself") {
    GuestList list({100, 2, 1}, always(0));
    const Id first = enter(list, "a");
    enter(list, "a");
    enter(list, "b");
    push_out(list, "a", first);
    CHECK(list.size() == 3);
}

TEST_CASE("who has been recognised makes no room for strangers") {
    GuestList list({4, 2, 1}, always(0));
    const Id known = enter(list, "a");
    const Id second = enter(list, "a");
    CHECK_FALSE(list.recognise(known));
    const Id third = push_out(list, "a", second);
    CHECK_FALSE(list.recognise(third));
    CHECK_FALSE(list.one_stranger());
    CHECK_FALSE(list.enter("a")); // all that it may have, and no stranger
    const Id fourth = enter(list, "b");
    enter(list, "c");
    push_out(list, "d", *list.one_stranger());
    CHECK(fourth > third);
    CHECK(list.size() == 4);
}

TEST_CASE("who has been recognised has half of the room, and the oldest of them makes more") {
    const std::size_t room = GENERATE(5U, 4U);
    GuestList list({room, 100, 1}, always(0));
    std::vector<Id> known;
    for (int count = 0; count < 4; ++count) {
        known.push_back(enter(list, "a"));
    }
    CHECK_FALSE(list.recognise(known[1]));
    CHECK_FALSE(list.recognise(known[1])); // it is already
    CHECK_FALSE(list.recognise(known[0]));
    CHECK(list.recognise(known[2]) == known[1]); // the first that was recognised
    list.leave(known[1]);
    list.leave(known[0]);
    CHECK_FALSE(list.recognise(known[3])); // whoever has gone does not count
    CHECK_FALSE(list.recognise(12'345));   // not there
}

TEST_CASE("in the smallest lobby the one who is recognised last stays") {
    GuestList list({1, 100, 1}, always(0));
    const Id only = enter(list, "a");
    CHECK_FALSE(list.recognise(only));
}

TEST_CASE("only so many guests may take much memory, and strangers give theirs up first") {
    GuestList list({10, 10, 2}, always(0));
    const Id known = enter(list, "a");
    const Id second = enter(list, "a");
    const Id third = enter(list, "a");
    const Id fourth = enter(list, "a");
    CHECK_FALSE(list.recognise(known));
    CHECK_FALSE(list.grow(known));
    CHECK_FALSE(list.grow(second));
    CHECK_FALSE(list.grow(second)); // it has it already
    const auto leaves = list.grow(third);
    REQUIRE(leaves);
    CHECK(*leaves == second);
    list.leave(second);
    CHECK_FALSE(list.recognise(third));
    const auto known_one = list.grow(fourth); // no stranger has any
    REQUIRE(known_one);
    CHECK(*known_one == known);
    CHECK_FALSE(list.grow(12'345)); // not there
}

TEST_CASE("connections that come and say at once what they want get through any crowd") {
    std::minstd_rand random(1);
    GuestList list({64, 64, 1}, [&](std::size_t bound) {
        return std::uniform_int_distribution<std::size_t>{0, bound - 1}(random);
    });
    const auto crowd = [&](int count) {
        std::set<Id> left;
        for (int one = 0; one < count; ++one) {
            const auto entered = list.enter("same");
            REQUIRE(entered);
            if (entered->leaves) {
                left.insert(*entered->leaves);
                list.leave(*entered->leaves);
            }
        }
        return left;
    };
    crowd(1'000);
    for (int honest = 0; honest < 1'000; ++honest) {
        const auto entered = list.enter("same");
        REQUIRE(entered);
        if (entered->leaves) {
            list.leave(*entered->leaves);
        }
        CHECK_FALSE(crowd(16).contains(entered->id)); // until its first frame is there
        list.leave(entered->id);
    }
}
