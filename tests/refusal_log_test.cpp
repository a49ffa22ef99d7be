// However many connections are refused, the log gets a line now and then.
#include "receiver/refusal_log.hpp"

#include <catch2/catch.hpp>
#include <memory>
#include <vector>

using namespace sluice;
using std::chrono::milliseconds;

TEST_CASE("the first refusal is told at once, those that follow together") {
    Loop loop;
    std::vector<Refusals> told;
    RefusalLog log(loop, milliseconds{20}, [&](const Refusals& refusals) {
        told.push_back(refusals);
        if (told.size() == 2) {
            loop.stop();
        }
    });
    log.note("192.0.2.1:1", "first");
    REQUIRE(told.size() == 1);
    CHECK(told[0].count == 1);
    CHECK(told[0].last_address == "192.0.2.1:1");
    CHECK(told[0].last_reason == "first");
    for (int count = 0; count < 1'000; ++count) {
        log.note("192.0.2.1:" + std::to_string(count), "more");
    }
    CHECK(told.size() == 1);
    loop.run();
    REQUIRE(told.size() == 2);
    CHECK(told[1].count == 1'000);
    CHECK(told[1].seconds > 0);
    CHECK(told[1].last_address == "192.0.2.1:999");
    CHECK(told[1].last_reason == "more");
}

TEST_CASE("what has not been told is told in the end, and nothing where there is nothing") {
    Loop loop;
    std::vector<std::uint64_t> counts;
    {
        RefusalLog log(loop, milliseconds{60'000},
                       [&](const Refusals& refusals) { counts.push_back(refusals.count); });
        log.note("a", "x");
        log.note("b", "y");
        log.note("c", "z");
    }
    CHECK(counts == std::vector<std::uint64_t>{1, 2});
    {
        const RefusalLog log(loop, milliseconds{60'000},
                             [&](const Refusals& refusals) { counts.push_back(refusals.count); });
    }
    CHECK(counts.size() == 2);
}
