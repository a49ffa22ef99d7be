// How long to wait before trying again.
#include "sender/backoff.hpp"

#include <catch2/catch.hpp>

using sluice::Backoff;
using std::chrono::milliseconds;

TEST_CASE("back-off doubles from 100 ms to 5 s, each time between half and one and a half of it") {
    Backoff backoff(12345);
    for (const int expected_ms : {100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000}) {
        const milliseconds delay = backoff.next();
        CHECK(delay >= milliseconds{expected_ms} / 2);
        CHECK(delay <= milliseconds{expected_ms} * 3 / 2);
    }
    backoff.reset();
    CHECK(backoff.next() <= milliseconds{150});
}

TEST_CASE("two that lost the same peer do not come back at the same time") {
    Backoff one(1);
    Backoff other(2);
    int different = 0;
    for (int count = 0; count < 10; ++count) {
        different += one.next() != other.next() ? 1 : 0;
    }
    CHECK(different >= 8);
}
