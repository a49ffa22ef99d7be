// How many data connections a push takes, on simulated paths.
#include "sender/stream_tuner.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <functional>

using namespace sluice;
using namespace std::chrono_literals;

namespace {

// Runs a tuner for `seconds` on a path where so many streams do so much work per second together.
unsigned chosen(
    std::chrono::microseconds round_trip, double seconds,
    const std::function<double(unsigned)>& rate,
    const std::function<bool(unsigned)>& busy = [](unsigned) { return true; }) {
    StreamTuner tuner(round_trip);
    StreamTuner::Clock::time_point now{};
    double work = 0;
    const double tick = std::chrono::duration<double>(StreamTuner::kTick).count();
    for (double passed = 0; passed < seconds; passed += tick) {
        tuner.look(now, static_cast<std::uint64_t>(work), busy(tuner.streams()));
        work += rate(tuner.streams()) * tick;
        now += StreamTuner::kTick;
    }
    return tuner.streams();
}

} // namespace

TEST_CASE("a local path begins with two streams, a longer one with four, a long one with eight") {
    CHECK(StreamTuner(30us).streams() == 2);
    CHECK(StreamTuner(999us).streams() == 2);
    CHECK(StreamTuner(1ms).streams() == 4);
    CHECK(StreamTuner(19ms).streams() == 4);
    CHECK(StreamTuner(20ms).streams() == 8);
    CHECK(StreamTuner(300ms).streams() == 8);
}

TEST_CASE(
    "many small files on a long path get twelve streams, few or large ones and others do not") {
    const auto expecting = [](std::chrono::microseconds round_trip, std::uint64_t files,
                              std::uint64_t bytes_each) {
        StreamTuner tuner(round_trip);
        tuner.expect(files, files * bytes_each);
        return tuner.streams();
    };
    CHECK(expecting(20ms, 1000, 16 << 10) == 12);
    CHECK(expecting(80ms, 500'000, 0) == 12);
    CHECK(expecting(20ms, 0, 0) == 8);
    CHECK(expecting(20ms, 999, 16 << 10) == 8);
    CHECK(expecting(20ms, 1000, (16 << 10) + 1) == 8);
    CHECK(expecting(19ms, 1000, 16 << 10) == 4);
    CHECK(expecting(30us, 1000, 16 << 10) == 2);
}

TEST_CASE("what is found after the first seconds no longer changes the number") {
    // A window is 800 ms there; the first two are the beginning.
    const auto found_after = [](std::chrono::milliseconds beginning) {
        StreamTuner tuner(80ms);
        StreamTuner::Clock::time_point now{};
        for (std::uint64_t work = 1; now.time_since_epoch() <= beginning; ++work) {
            tuner.look(now, work, true);
            now += tuner.next_look();
        }
        const unsigned before = tuner.streams();
        tuner.expect(1'000'000, 0);
        return std::pair(before, tuner.streams());
    };
    CHECK(found_after(1500ms) == std::pair(8U, 12U));
    CHECK(found_after(2000ms) == std::pair(8U, 8U)); // in the midst of the first measurement
    // One attempt with half as many again has been made, or is, and the rate stays the same.
    CHECK(found_after(3000ms) == std::pair(12U, 12U));
    CHECK(found_after(10s).second == 12);
}

TEST_CASE("the first look comes soon, for what has been found by then") {
    StreamTuner tuner(80ms);
    CHECK(tuner.next_look() == StreamTuner::kFirstTick);
    tuner.look({}, 0, true);
    CHECK(tuner.next_look() == StreamTuner::kTick);
}

TEST_CASE("where every stream adds its share there are as many as there may be") {
    const auto each = [](unsigned streams) { return 1e6 * streams; };
    CHECK(chosen(80ms, 30, each) == StreamTuner::kMost);
    CHECK(chosen(10us, 30, each) == StreamTuner::kMost);
}

TEST_CASE("where one stream fills the path only the first attempt is made") {
    const auto full = [](unsigned) { return 3e9; };
    CHECK(chosen(10us, 30, full) == 3);
    CHECK(chosen(5ms, 60, full) == 6);
}

TEST_CASE("growing ends where it stops to pay") {
    // Six streams fill it.
    const auto six = [](unsigned streams) { return 1e6 * std::min(streams, 6U); };
    CHECK(chosen(5ms, 60, six) == 9); // six were worth it, nine are not
    // A tenth more for half as many streams again is no gain.
    const auto little = [](unsigned streams) { return 1e6 + 5e4 * streams; };
    CHECK(chosen(5ms, 60, little) == 6);
}

TEST_CASE("the first seconds of a path, when it becomes ever faster, are not taken for a gain") {
    StreamTuner tuner(5ms);
    StreamTuner::Clock::time_point now{};
    double work = 0;
    for (int tick = 0; tick < 100; ++tick) {
        tuner.look(now, static_cast<std::uint64_t>(work), true);
        work += std::min(1e6, 1e5 * (1 << std::min(tick, 4))); // full after 0.4 s
        now += StreamTuner::kTick;
    }
    CHECK(tuner.streams() == 6);
    CHECK(tuner.settled());
}

TEST_CASE("nothing is added as long as some stream has nothing to do") {
    const auto each = [](unsigned streams) { return 1e6 * streams; };
    CHECK(chosen(5ms, 60, each, [](unsigned) { return false; }) == 4);
    // What the fifth and sixth would do cannot be told when there is work for four.
    CHECK(chosen(5ms, 60, each, [](unsigned streams) { return streams <= 4; }) == 6);
}

TEST_CASE("looks become rare where no more streams can help, until they might") {
    StreamTuner tuner(10us);
    StreamTuner::Clock::time_point now{};
    for (int look = 0; look < 100; ++look) {
        now += tuner.next_look();
        tuner.look(now, 0, false);
        CHECK(tuner.next_look() == (look < 9 ? StreamTuner::kTick : StreamTuner::kRareTick));
    }
    tuner.look(now, 0, true);
    CHECK(tuner.next_look() == StreamTuner::kTick);
}

TEST_CASE("a pause counts for nothing, however long it was not looked at") {
    StreamTuner tuner(10us);
    StreamTuner::Clock::time_point now{};
    double work = 0;
    const auto run = [&](int looks, bool busy) {
        for (int look = 0; look < looks; ++look) {
            const double seconds = std::chrono::duration<double>(tuner.next_look()).count();
            now += tuner.next_look();
            // Work comes again shortly before the first look that sees it.
            work += busy ? 1e6 * tuner.streams() * (look == 0 ? 0.05 : seconds) : 0;
            tuner.look(now, static_cast<std::uint64_t>(work), busy);
        }
    };
    run(17, true);
    CHECK(tuner.streams() == 3);
    run(30, false);
    run(1, true);
    CHECK_FALSE(tuner.settled());
    CHECK(tuner.streams() == 3);
    run(60, true);
    CHECK(tuner.streams() == StreamTuner::kMost); // each has brought what the first ones did
}

TEST_CASE("a short push keeps what it began with") {
    const auto each = [](unsigned streams) { return 1e6 * streams; };
    CHECK(chosen(10us, 0.9, each) == 2);
    CHECK(chosen(80ms, 1.5, each) == 8);
}

TEST_CASE("where nothing moves nothing is added") {
    const auto nothing = [](unsigned) { return 0.0; };
    CHECK(chosen(10us, 60, nothing) == 2);
    StreamTuner tuner(10us);
    StreamTuner::Clock::time_point now{};
    for (const std::uint64_t work : {100U, 100U, 50U, 20U, 0U}) { // nor where it goes backwards
        now += 10s;
        tuner.look(now, work, true);
    }
    CHECK(tuner.streams() == 2);
}
