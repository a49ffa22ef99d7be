// The bound on what is sent per second: the arithmetic on simulated time, and the waiting.
#include "common/rate_limit.hpp"
#include "tests/support/tcp_pair.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <functional>
#include <random>
#include <sys/eventfd.h>
#include <thread>
#include <utility>
#include <vector>

using namespace sluice;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using std::chrono::seconds;

namespace {

using Clock = RateSchedule::Clock;

const Clock::time_point kStart = Clock::time_point{} + seconds{1'000};

struct Sending {
    Clock::time_point when;
    std::uint64_t bytes;
    std::size_t stream;
};

// What streams do that always want to send. `delay`: how late one that had to wait wakes up.
std::vector<Sending> simulate(std::uint64_t rate, std::size_t streams, nanoseconds length,
                              const std::function<nanoseconds()>& delay) {
    RateSchedule schedule(rate);
    struct Stream {
        Clock::time_point wakes;
        std::size_t asked; // those that wake up together run in the order in which they asked
        std::uint64_t bytes;
    };
    std::size_t questions = 0;
    const auto wake = [&](Clock::time_point now) {
        const RateSchedule::Turn turn = schedule.next(now, streams);
        const auto wakes = turn.when > now ? turn.when + delay() : now;
        return Stream{wakes, questions++, turn.bytes};
    };
    std::vector<Stream> all;
    for (std::size_t index = 0; index < streams; ++index) {
        all.push_back(wake(kStart));
    }
    std::vector<Sending> sent;
    for (;;) {
        const auto next = std::ranges::min_element(
            all, {}, [](const Stream& stream) { return std::pair(stream.wakes, stream.asked); });
        if (next->wakes >= kStart + length) {
            return sent;
        }
        sent.push_back({next->wakes, next->bytes, static_cast<std::size_t>(next - all.begin())});
        *next = wake(next->wakes);
    }
}

// Bytes in the fullest, and in the emptiest, second that begins with one of these.
struct Extremes {
    std::uint64_t most = 0;
    std::uint64_t least = UINT64_MAX;
};
Extremes extremes(const std::vector<Sending>& sent) {
    Extremes found;
    std::uint64_t bytes = 0;
    auto end = sent.begin();
    for (const Sending& first : sent) {
        while (end != sent.end() && end->when < first.when + seconds{1}) {
            bytes += (end++)->bytes;
        }
        found.most = std::max(found.most, bytes);
        if (end != sent.end()) {
            found.least = std::min(found.least, bytes);
        }
        bytes -= first.bytes;
    }
    return found;
}

struct Load {
    std::uint64_t rate;
    std::size_t streams;
};

Load any_load() {
    return GENERATE(Load{1'024, 1}, Load{1'024, 2}, Load{1'024, 8}, Load{100'000, 3},
                    Load{1'234'567, 64}, Load{100'000'000, 2}, Load{std::uint64_t{10} << 30, 1},
                    Load{std::uint64_t{10} << 30, 64});
}

nanoseconds punctual() {
    return {};
}

} // namespace

TEST_CASE("every second has the bytes of the rate, within 3 %") {
    const Load load = any_load();
    CAPTURE(load.rate, load.streams);
    const Extremes found = extremes(simulate(load.rate, load.streams, seconds{5}, punctual));
    CHECK(found.most * 100 <= load.rate * 103);
    CHECK(found.least * 100 >= load.rate * 97);
}

TEST_CASE("streams that wake up a little late lose nothing") {
    const Load load = any_load();
    CAPTURE(load.rate, load.streams);
    std::mt19937 random(Catch::rngSeed());
    std::uniform_int_distribution<int> late_us(0, 10'000);
    const Extremes found = extremes(simulate(load.rate, load.streams, seconds{5},
                                             [&] { return microseconds{late_us(random)}; }));
    CHECK(found.most * 100 <= load.rate * 103);
    CHECK(found.least * 100 >= load.rate * 97);
}

TEST_CASE("no second has more than the rate, however long the streams sleep") {
    const Load load = any_load();
    CAPTURE(load.rate, load.streams);
    std::mt19937 random(Catch::rngSeed());
    std::uniform_int_distribution<int> one_of(0, 99);
    std::uniform_int_distribution<int> sleep_ms(0, 1'500);
    const Extremes found = extremes(simulate(load.rate, load.streams, seconds{20}, [&] {
        return milliseconds{one_of(random) == 0 ? sleep_ms(random) : 0};
    }));
    CHECK(found.most * 100 <= load.rate * 103);
}

TEST_CASE("streams that always want more get equal shares") {
    const Load load = any_load();
    CAPTURE(load.rate, load.streams);
    std::vector<std::uint64_t> bytes(load.streams, 0);
    std::uint64_t longest = 0;
    for (const Sending& sending : simulate(load.rate, load.streams, seconds{3}, punctual)) {
        bytes[sending.stream] += sending.bytes;
        longest = std::max(longest, sending.bytes);
        const auto [least, most] = std::ranges::minmax(bytes);
        REQUIRE(most - least <= longest);
    }
    CHECK(bytes.front() > 0);
}

TEST_CASE("a rate that nobody used for a while is not saved up") {
    constexpr std::uint64_t kRate = 1'000'000;
    RateSchedule schedule(kRate);
    static_cast<void>(schedule.next(kStart, 1));
    const auto later = kStart + seconds{60};
    std::uint64_t at_once = 0;
    for (RateSchedule::Turn turn = schedule.next(later, 1); turn.when <= later;
         turn = schedule.next(later, 1)) {
        at_once += turn.bytes;
    }
    const auto worth = [](milliseconds time) {
        return kRate * static_cast<std::uint64_t>(time.count()) / 1'000;
    };
    CHECK(at_once >= worth(RateSchedule::kCredit));
    CHECK(at_once <= worth(RateSchedule::kCredit + RateSchedule::kUnused));
}

TEST_CASE("without a limit everything may be sent") {
    RateShare share(nullptr);
    CHECK(share.wait(UINT64_MAX, -1) == UINT64_MAX);
    share.spend(1'000'000);
    CHECK(share.wait(1, -1) == 1);
}

TEST_CASE("what is left of a turn is still there when little of it was sent") {
    RateLimiter limiter(1'000'000);
    RateShare share(&limiter);
    const std::uint64_t whole = share.wait(UINT64_MAX, -1);
    CHECK(whole == 8'000); // 8 ms of it
    share.spend(3);
    CHECK(share.wait(10, -1) == 10);
    share.spend(10);
    CHECK(share.wait(UINT64_MAX, -1) == whole - 13);
    const RateShare other(&limiter); // from now on there are two
    share.spend(whole - 13);
    CHECK(share.wait(UINT64_MAX, -1) == whole / 2);
}

TEST_CASE("waiting for a turn takes as long as the rate says, and is cancelled at once") {
    RateLimiter limiter(1'000);
    RateShare share(&limiter);
    const auto began = Clock::now();
    for (std::uint64_t sent = 0; sent < 100;) {
        const std::uint64_t bytes = share.wait(100 - sent, -1);
        REQUIRE(bytes > 0);
        share.spend(bytes);
        sent += bytes;
    }
    CHECK(Clock::now() - began >= milliseconds{100 - 8} - RateSchedule::kCredit);

    RateLimiter slow(1); // the second turn is a second away
    RateShare waiting(&slow);
    waiting.spend(waiting.wait(1, -1));
    const auto cancel = UniqueFd::adopt(::eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK));
    CHECK(waiting.wait(1, cancel.get()) == 0);
}

TEST_CASE("threads that share a limiter keep to it together") {
    constexpr std::uint64_t kRate = 2'000'000;
    constexpr std::uint64_t kEach = 100'000;
    RateLimiter limiter(kRate);
    const auto began = Clock::now();
    std::vector<std::thread> threads;
    for (int count = 0; count < 4; ++count) {
        threads.emplace_back([&] {
            RateShare share(&limiter);
            for (std::uint64_t sent = 0; sent < kEach;) {
                const std::uint64_t bytes = share.wait(kEach - sent, -1);
                share.spend(bytes);
                sent += bytes;
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    // 200 ms, without what may be sent at once at the beginning and what was not used at the end.
    CHECK(Clock::now() - began >=
          milliseconds{200} - RateSchedule::kCredit - 2 * RateSchedule::kUnused);
}
