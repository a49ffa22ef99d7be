// Blocks that expand to thousands of times their length are unpacked at a limited rate, others are
// not.
#include "receiver/unpack_pace.hpp"

#include <catch2/catch.hpp>

using namespace sluice;
using Clock = UnpackPace::Clock;
using std::chrono::milliseconds;

namespace {

constexpr std::size_t kBlock = 131'072;
const Clock::time_point kStart = Clock::time_point(std::chrono::hours(1));

} // namespace

TEST_CASE("blocks of ordinary data never wait") {
    UnpackPace pace;
    for (int count = 0; count < 100'000; ++count) {
        REQUIRE(pace.book(kBlock / UnpackPace::kOrdinaryRatio, kBlock, kStart) == kStart);
        REQUIRE(pace.book(50, 1'000, kStart) == kStart);
    }
}

TEST_CASE("what expands far more is unpacked at the rate, whoever sends it") {
    UnpackPace pace;
    auto now = kStart;
    constexpr std::uint64_t kBlocks = 3 * UnpackPace::kRate / kBlock; // three seconds
    for (std::uint64_t block = 0; block < kBlocks; ++block) {
        const auto next = pace.book(20, kBlock, now);
        REQUIRE(next >= now);
        now = next;
    }
    const auto took = now - kStart;
    CHECK(took <= milliseconds{3'000});
    CHECK(took >= milliseconds{3'000} - UnpackPace::kCredit - milliseconds{1});
}

TEST_CASE("time that has passed unused is caught up with, but not much of it") {
    UnpackPace pace;
    static_cast<void>(pace.book(20, kBlock, kStart));
    auto now = kStart + std::chrono::seconds(10);
    std::uint64_t at_once = 0;
    while (pace.book(20, kBlock, now) == now) {
        at_once += kBlock;
    }
    CHECK(at_once <= UnpackPace::kRate / 50); // 20 ms
    CHECK(at_once > UnpackPace::kRate / 100);
}
