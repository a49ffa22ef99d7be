// The policy on synthetic paths, machines and data: what gets through is close to what the best
// fixed choice would bring, whatever changes.
#include "sender/compression_policy.hpp"

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <cmath>
#include <initializer_list>
#include <map>
#include <optional>
#include <vector>

using namespace sluice;

namespace {

using Clock = CompressionPolicy::Clock;
constexpr double kMega = 1e6;
constexpr std::size_t kBlock = std::size_t{128} << 10;
constexpr std::array<int, 8> kLevels{-3, 1, 3, 5, 7, 9, 11, 15};

// A path, the machine at each end of it, and what is being sent. Rates in bytes per second.
struct World {
    double link = 0;
    unsigned threads = 2;
    double speed = 1;         // of the machine, times the table below
    double ratio = 5;         // of level 3; of the others in proportion
    bool compressible = true; // else the streams leave the data alone
    double unpacking = 100e9; // file bytes that the receiver takes, if they were compressed
    double reading = 100e9;   // file bytes that the source brings
    double round_trip_seconds = 0;
};

double level_speed(const World& world, int level) {
    static const std::map<int, double> kSpeeds{{-3, 650e6}, {1, 560e6}, {3, 420e6}, {5, 250e6},
                                               {7, 150e6},  {9, 90e6},  {11, 30e6}, {15, 12e6}};
    return kSpeeds.at(level) * world.speed;
}

double level_ratio(const World& world, int level) {
    static const std::map<int, double> kGains{{-3, 0.72}, {1, 0.93}, {3, 1.0},  {5, 1.1},
                                              {7, 1.14},  {9, 1.16}, {11, 1.2}, {15, 1.26}};
    return 1 + (world.ratio - 1) * kGains.at(level);
}

// Payload per second of a fixed choice.
double throughput(const World& world, std::optional<int> level) {
    if (!level || !world.compressible) {
        return std::min(world.link, world.reading);
    }
    return std::min({world.link * level_ratio(world, *level),
                     world.threads * level_speed(world, *level), world.unpacking, world.reading});
}

double best_throughput(const World& world) {
    double best = throughput(world, std::nullopt);
    for (const int level : kLevels) {
        best = std::max(best, throughput(world, level));
    }
    return best;
}

class Run {
public:
    explicit Run(unsigned threads) : policy(threads) {}

    // Lives in `world` for some seconds. What got through, of what the best choice would have.
    double live(const World& world, double seconds) {
        double sent = 0;
        double spent = 0;
        while (spent < seconds) {
            const std::optional<int> level = policy.level();
            const bool packs = level && world.compressible;
            const double rate = throughput(world, level);
            const auto length = policy.window_length();
            const double window_seconds = std::chrono::duration<double>(length).count();
            CompressionPolicy::Window window;
            window.active = length;
            window.round_trip = std::chrono::duration_cast<Clock::duration>(
                std::chrono::duration<double>(world.round_trip_seconds));
            window.payload = static_cast<std::uint64_t>(rate * window_seconds);
            window.wire_rate = packs ? rate / level_ratio(world, *level) : rate;
            window.on_wire = static_cast<std::uint64_t>(window.wire_rate * window_seconds);
            if (packs) {
                window.payload_packed = window.payload;
                make_blocks(world, window.payload / kBlock + 1);
            }
            const bool compressor_is_slow =
                packs && rate >= world.threads * level_speed(world, *level);
            (compressor_is_slow ? window.starved : window.waited) =
                rate < world.reading ? length : length / 10;
            now += length;
            sent += rate * window_seconds;
            spent += window_seconds;
            packed_seconds += packs ? window_seconds : 0;
            policy.window_over(window, now);
            changes += policy.level() != level ? 1U : 0U;
        }
        return sent / spent / best_throughput(world);
    }

    // What it has settled for: not a probe.
    std::optional<int> choice(const World& world) {
        while (policy.probing()) {
            static_cast<void>(live(world, 0.01));
        }
        return policy.level();
    }

    CompressionPolicy policy;
    Clock::time_point now{std::chrono::seconds{1000}};
    double packed_seconds = 0;
    unsigned changes = 0;

private:
    void make_blocks(const World& world, std::uint64_t count) {
        const auto made = [&](int level) {
            CompressionPolicy::Block block;
            // Blocks differ; every third is half as long as the average.
            const double ratio = level_ratio(world, level) * (count % 3 == 0 ? 2 : 0.8);
            block.raw_bytes = kBlock;
            block.packed_bytes = static_cast<std::size_t>(static_cast<double>(kBlock) / ratio);
            block.time = std::chrono::duration_cast<Clock::duration>(
                std::chrono::duration<double>(kBlock / level_speed(world, level)));
            return block;
        };
        for (count = std::min<std::uint64_t>(count, 300); count > 0; --count) {
            const auto next = policy.next_block();
            if (next.compare_with) {
                policy.pair_made(next.level, made(next.level), *next.compare_with,
                                 made(*next.compare_with));
            } else {
                policy.block_made(next.level, made(next.level));
            }
        }
    }
};

constexpr double kClose = 0.95;

} // namespace

TEST_CASE("a policy comes close to the best fixed choice, on slow and on fast paths") {
    World world;
    world.link = GENERATE(0.2, 1.25, 12.5, 31.0, 125.0, 312.0, 1250.0, 3000.0) * kMega;
    world.threads = GENERATE(1U, 2U, 8U);
    world.ratio = GENERATE(1.3, 2.5, 5.0, 12.0);
    world.speed = GENERATE(0.4, 1.0);
    CAPTURE(world.link, world.threads, world.ratio, world.speed);
    Run run(world.threads);
    CHECK(run.live(world, 20) > 0.93); // from the first byte on
    CHECK(run.live(world, 20) > kClose);
}

TEST_CASE("on a path that is faster than zstd a policy never compresses anything") {
    World world;
    world.link = GENERATE(1500.0, 3000.0, 10'000.0) * kMega;
    world.threads = GENERATE(1U, 2U);
    Run run(world.threads);
    CHECK(run.live(world, 100) == Approx(1));
    CHECK(run.packed_seconds == 0);
    CHECK(run.changes == 0);
}

TEST_CASE("where something else than the socket is the bottleneck a policy does not compress") {
    World world;
    world.link = 3000 * kMega;
    world.reading = 50 * kMega;
    Run run(2);
    CHECK(run.live(world, 100) == Approx(1));
    CHECK(run.packed_seconds == 0);
}

TEST_CASE("data that does not shrink costs nothing, and text behind it is compressed") {
    World world;
    world.link = 12.5 * kMega;
    world.compressible = false;
    Run run(2);
    CHECK(run.live(world, 10) == Approx(1));
    world.compressible = true;
    CHECK(run.live(world, 10) > kClose);
    CHECK(run.packed_seconds > 9);
    world.compressible = false;
    CHECK(run.live(world, 10) > kClose);
}

TEST_CASE("a policy changes its mind when the path becomes slower or faster") {
    World world;
    world.link = 3000 * kMega;
    Run run(2);
    CHECK(run.live(world, 10) > kClose);
    CHECK_FALSE(run.choice(world).has_value());
    for (const double mega : {12.5, 125.0, 1.25, 12.5, 125.0}) {
        world.link = mega * kMega;
        CAPTURE(mega);
        CHECK(run.live(world, 10) > 0.9); // with the time that it takes to notice
        CHECK(run.live(world, 20) > kClose);
        CHECK(run.choice(world).has_value());
    }
    world.link = 3000 * kMega;
    CHECK(run.live(world, 60) > 0.6); // it is looked at every now and then only
    CHECK_FALSE(run.choice(world).has_value());
    CHECK(run.live(world, 60) > kClose);
}

TEST_CASE("slower paths get higher levels") {
    World world;
    int before = -100;
    for (const double mega : {250.0, 60.0, 12.5, 3.0}) {
        world.link = mega * kMega;
        Run run(2);
        static_cast<void>(run.live(world, 30));
        REQUIRE(run.choice(world).has_value());
        CHECK(*run.choice(world) > before);
        before = *run.choice(world);
    }
}

TEST_CASE("a policy settles: nothing changes any more while nothing does") {
    World world;
    world.link = GENERATE(12.5, 125.0, 3000.0) * kMega;
    Run run(2);
    static_cast<void>(run.live(world, 30));
    run.changes = 0;
    static_cast<void>(run.live(world, 300));
    CAPTURE(world.link);
    CHECK(run.changes <= 24); // a probe makes two
}

TEST_CASE("a receiver that unpacks slowly is found out, and left alone for longer and longer") {
    World world;
    world.link = 250 * kMega;
    world.unpacking = 150 * kMega;
    Run run(8);
    CHECK(run.live(world, 60) > kClose);
    CHECK(run.live(world, 600) > kClose);
    CHECK_FALSE(run.choice(world).has_value());
    run.packed_seconds = 0;
    CHECK(run.live(world, 600) > 0.99);
    CHECK(run.packed_seconds < 1);
    world.link = 12.5 * kMega;        // then it is not the receiver any more
    CHECK(run.live(world, 60) > 0.9); // with the time that it takes to notice
    CHECK(run.live(world, 60) > kClose);
    CHECK(run.choice(world).has_value());
}

TEST_CASE("a policy goes by the speed of the machine it is on") {
    World world;
    world.link = 12.5 * kMega;
    Run run(2);
    static_cast<void>(run.live(world, 10));
    const int idle = run.choice(world).value();
    world.speed = 0.1; // others use the cores now
    CHECK(run.live(world, 10) > 0.9);
    const int busy = run.choice(world).value();
    CHECK(busy < idle);
    world.speed = 1;
    static_cast<void>(run.live(world, 10));
    CHECK(run.choice(world).value() > busy);
}

TEST_CASE("a policy notices that fewer threads work at once than there are") {
    World world;
    world.link = 12.5 * kMega;
    world.threads = 1;
    Run run(8);
    static_cast<void>(run.live(world, 10));
    CHECK(run.live(world, 60) > kClose);
}

TEST_CASE("on a long path a window is longer than what is on its way") {
    World world;
    world.link = 12.5 * kMega;
    world.round_trip_seconds = 0.08;
    Run run(2);
    static_cast<void>(run.live(world, 5));
    CHECK(run.policy.window_length() >= std::chrono::milliseconds{160});
}

TEST_CASE("windows in which nothing arrived are no measurement") {
    CompressionPolicy policy(2);
    CompressionPolicy::Window window;
    window.active = window.waited = std::chrono::seconds{1};
    for (int second = 0; second < 100; ++second) {
        policy.window_over(window, Clock::time_point{std::chrono::seconds{second}});
    }
    CHECK_FALSE(policy.level().has_value());
    CHECK(policy.link() == 0);
}

TEST_CASE("extents are short until the path is known, and as long as allowed on a fast one") {
    constexpr std::uint64_t kLongest = std::uint64_t{8} << 20;
    World world;
    Run run(2);
    CHECK(run.policy.extent_bytes(kLongest) == std::uint64_t{64} << 10);
    std::uint64_t bytes = 0;
    unsigned extents = 0;
    for (; extents < 1000 && bytes < kLongest; ++extents) {
        bytes = run.policy.extent_bytes(kLongest);
        CHECK(bytes <= kLongest);
    }
    CHECK(extents < 300); // it must not stay slow where nothing is measured
    world.link = 3000 * kMega;
    static_cast<void>(run.live(world, 1));
    CHECK(run.policy.extent_bytes(kLongest) == kLongest);
    CHECK(run.policy.extent_bytes(1000) == 1000);
    world.link = 1 * kMega;
    world.compressible = false;
    static_cast<void>(run.live(world, 5));
    CHECK(run.policy.extent_bytes(kLongest) <= std::uint64_t{1} << 20);
}
