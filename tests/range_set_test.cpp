// Which bytes of a file have arrived.
#include "receiver/range_set.hpp"
#include "tests/support/scratch_file.hpp"

#include <catch2/catch.hpp>
#include <iostream>

using namespace sluice;

namespace {

struct Range {
    std::uint64_t begin;
    std::uint64_t end;
};

RangeSet set_of(std::initializer_list<Range> ranges) {
    RangeSet set;
    for (const Range& range : ranges) {
        set.add(range.begin, range.end);
    }
    return set;
}

} // namespace

TEST_CASE("an empty set covers the empty file and no other") {
    const RangeSet set;
    CHECK(set.covers(0));
    CHECK_FALSE(set.covers(1));
    CHECK(set.pieces() == 0);
}

TEST_CASE("ranges that touch become one, in any order") {
    CHECK(set_of({{0, 5}, {5, 10}}).pieces() == 1);
    CHECK(set_of({{5, 10}, {0, 5}}).covers(10));
    CHECK(set_of({{0, 2}, {8, 10}, {4, 6}, {2, 4}, {6, 8}}).covers(10));
}

TEST_CASE("ranges with a gap of one byte stay apart and cover nothing") {
    const RangeSet set = set_of({{0, 5}, {6, 10}});
    CHECK(set.pieces() == 2);
    CHECK_FALSE(set.covers(5));
    CHECK_FALSE(set.covers(10));
}

TEST_CASE("ranges that overlap or repeat become one") {
    CHECK(set_of({{0, 6}, {4, 10}}).covers(10));
    CHECK(set_of({{4, 10}, {0, 6}}).covers(10));
    CHECK(set_of({{0, 10}, {0, 10}, {3, 4}}).covers(10));
    CHECK(set_of({{3, 4}, {6, 7}, {1, 2}, {0, 10}}).pieces() == 1);
    CHECK(set_of({{3, 4}, {6, 7}, {2, 8}}).pieces() == 1);
}

TEST_CASE("a file is covered by exactly its bytes") {
    CHECK_FALSE(set_of({{1, 10}}).covers(10));
    CHECK_FALSE(set_of({{0, 9}}).covers(10));
    CHECK_FALSE(set_of({{0, 11}}).covers(10));
    CHECK(set_of({{0, UINT64_MAX}}).covers(UINT64_MAX));
    CHECK(set_of({{INT64_MAX, UINT64_MAX}, {0, INT64_MAX}}).covers(UINT64_MAX));
}

TEST_CASE("a range that touches a set does not overlap it") {
    const RangeSet set = set_of({{5, 10}, {20, 30}});
    CHECK_FALSE(set.overlaps(0, 5));
    CHECK_FALSE(set.overlaps(10, 20));
    CHECK_FALSE(set.overlaps(30, UINT64_MAX));
    CHECK_FALSE(set.overlaps(7, 7));
    CHECK(set.overlaps(0, 6));
    CHECK(set.overlaps(9, 20));
    CHECK(set.overlaps(0, UINT64_MAX));
    CHECK(set.overlaps(22, 23));
}

TEST_CASE("a set agrees with a list of bytes, whatever is added") {
    const std::uint64_t seed = test::test_seed();
    std::cout << "SLUICE_TEST_SEED=" << seed << '\n';
    std::mt19937_64 random(seed);
    constexpr std::uint64_t kSize = 64;
    for (int round = 0; round < 500; ++round) {
        RangeSet set;
        std::vector<bool> bytes(kSize, false);
        for (int step = 0; step < 40; ++step) {
            const std::uint64_t begin = random() % kSize;
            const std::uint64_t end =
                begin + 1 + random() % std::min<std::uint64_t>(8, kSize - begin);
            set.add(begin, std::min(end, kSize));
            std::size_t pieces = 0;
            bool before = false;
            for (std::uint64_t at = 0; at < kSize; ++at) {
                if (at >= begin && at < end) {
                    bytes[at] = true;
                }
                pieces += bytes[at] && !before ? 1U : 0U;
                before = bytes[at];
            }
            REQUIRE(set.pieces() == pieces);
            const bool all = std::find(bytes.begin(), bytes.end(), false) == bytes.end();
            REQUIRE(set.covers(kSize) == all);
            REQUIRE(set.ranges().size() == pieces);
            const auto count = std::count(bytes.begin(), bytes.end(), true);
            REQUIRE(set.bytes() == static_cast<std::uint64_t>(count));

            const std::uint64_t from = random() % kSize;
            const std::uint64_t to = from + random() % (kSize - from + 1);
            const auto first = bytes.begin() + static_cast<std::ptrdiff_t>(from);
            const auto last = bytes.begin() + static_cast<std::ptrdiff_t>(to);
            REQUIRE(set.contains(from, to) == (std::find(first, last, false) == last));
            REQUIRE(set.overlaps(from, to) == (std::find(first, last, true) != last));
        }
    }
}
