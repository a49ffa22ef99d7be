// What one stream makes of its own speed.
#include "sender/stream_pace.hpp"

#include <catch2/catch.hpp>

using namespace sluice;
using namespace std::chrono_literals;

namespace {

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;

// After a second at that rate, in steps of 10 ms.
StreamPace paced(std::uint64_t bytes_per_second, bool far = false) {
    StreamPace pace(far);
    StreamPace::Clock::time_point now{};
    pace.begin(now);
    for (int step = 0; step < 100; ++step) {
        now += 10ms;
        pace.sent(bytes_per_second / 100, now);
    }
    return pace;
}

} // namespace

TEST_CASE("as long as nothing is known extents are long on a near path, and shorter on a far one") {
    CHECK(StreamPace(false).extent_limit() == 8 * kMiB);
    CHECK(StreamPace(true).extent_limit() == kMiB);
    CHECK_FALSE(StreamPace(false).slow());
    CHECK(StreamPace(true).slow()); // likely
}

TEST_CASE("an extent takes about an eighth of a second on a slow and far path") {
    CHECK(paced(3'000'000'000, true).extent_limit() == 8 * kMiB);
    CHECK(paced(100'000'000, true).extent_limit() == 8 * kMiB);
    CHECK(paced(50'000'000, true).extent_limit() == 4 * kMiB);
    CHECK(paced(12'500'000, true).extent_limit() == kMiB);
    CHECK(paced(2'500'000, true).extent_limit() == 256 << 10);
    CHECK(paced(130'000, true).extent_limit() == 64 << 10);
    CHECK(paced(1, true).extent_limit() == 64 << 10);
}

TEST_CASE("an extent takes up to a second on a slow and near path") {
    CHECK(paced(3'000'000'000).extent_limit() == 8 * kMiB);
    CHECK(paced(12'500'000).extent_limit() == 8 * kMiB);
    CHECK(paced(2'500'000).extent_limit() == 2 * kMiB);
    CHECK(paced(130'000).extent_limit() == 64 << 10);
    CHECK(paced(1).extent_limit() == 64 << 10);
}

TEST_CASE("slow is what a network is, not what memory is") {
    CHECK(paced(1).slow());
    CHECK(paced(125'000'000).slow());
    CHECK(paced(499'000'000).slow());
    CHECK_FALSE(paced(510'000'000).slow());
    CHECK_FALSE(paced(3'000'000'000).slow());
}

TEST_CASE("the time between two pieces does not count") {
    StreamPace pace = paced(1'000'000'000);
    StreamPace::Clock::time_point now{1h};
    pace.begin(now);
    CHECK_FALSE(pace.slow()); // what was known remains
    pace.sent(250'000'000, now + 250ms);
    CHECK_FALSE(pace.slow());
    pace.begin(now + 10s);
    pace.sent(25'000'000, now + 10s + 250ms);
    CHECK(pace.slow());
}

TEST_CASE("the latest window decides, and too short ones say nothing") {
    StreamPace pace(false);
    StreamPace::Clock::time_point now{};
    pace.begin(now);
    pace.sent(1'000, now + 249ms);
    CHECK_FALSE(pace.slow());
    pace.sent(1'000, now + 250ms);
    CHECK(pace.slow());
    pace.sent(500'000'000, now + 500ms);
    CHECK_FALSE(pace.slow());
}
