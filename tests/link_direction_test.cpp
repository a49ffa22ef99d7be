// The link emulator's model of a direction: every time and every drop is exact.
#include "tests/link/direction.hpp"

#include <algorithm>
#include <catch2/catch.hpp>

using namespace sluice::link;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using std::chrono::seconds;

namespace {

constexpr Time kStart = seconds{1000};
constexpr std::uint64_t kMegabit = 1'000'000;

// A packet that is known by its first byte.
Packet packet_of(std::size_t bytes, int mark = 0) {
    Packet packet(bytes);
    packet.front() = static_cast<std::byte>(mark);
    return packet;
}

// When each packet that is under way arrives.
std::vector<Time> arrivals(Direction& direction) {
    std::vector<Time> times;
    while (const auto next = direction.next_arrival()) {
        CHECK_FALSE(direction.take(*next - nanoseconds{1}));
        REQUIRE(direction.take(*next));
        times.push_back(*next);
    }
    return times;
}

// When the last one arrives, without a check for each: there may be a million.
Time last_arrival(Direction& direction) {
    Time last{0};
    while (const auto next = direction.next_arrival()) {
        last = *next;
        static_cast<void>(direction.take(last));
    }
    return last;
}

} // namespace

TEST_CASE("a link without settings hands packets on at once, in order, byte for byte") {
    Direction direction({});
    CHECK_FALSE(direction.next_arrival());
    CHECK_FALSE(direction.take(kStart));
    Packet first = packet_of(1500, 1);
    std::fill(first.begin() + 1, first.end(), std::byte{0xab});
    CHECK(direction.offer(first, kStart) == Fate::accepted);
    CHECK(direction.offer(packet_of(40, 2), kStart) == Fate::accepted);
    CHECK(direction.next_arrival() == kStart);
    CHECK(direction.take(kStart) == first);
    CHECK(direction.take(kStart) == packet_of(40, 2));
    CHECK_FALSE(direction.take(kStart));
    CHECK(direction.counters().packets == 2);
    CHECK(direction.counters().bytes == 1540);
    CHECK(direction.counters().most_queued_bytes == 0);
}

TEST_CASE("delay alone moves every packet by the same time") {
    Direction direction({.delay = milliseconds{40}});
    direction.offer(packet_of(1500), kStart);
    direction.offer(packet_of(40), kStart + microseconds{3});
    CHECK(arrivals(direction) == std::vector<Time>{kStart + milliseconds{40},
                                                   kStart + milliseconds{40} + microseconds{3}});
}

TEST_CASE("packets leave one after the other at the rate, then take the delay") {
    // 1500 bytes take 60 us at 200 Mbit/s.
    Direction direction(
        {.bits_per_second = 200 * kMegabit, .queue_bytes = 10'000, .delay = milliseconds{40}});
    for (int count = 0; count < 3; ++count) {
        CHECK(direction.offer(packet_of(1500), kStart) == Fate::accepted);
    }
    const Time delayed = kStart + milliseconds{40};
    CHECK(arrivals(direction) == std::vector<Time>{delayed + microseconds{60},
                                                   delayed + microseconds{120},
                                                   delayed + microseconds{180}});
}

TEST_CASE("time in which nothing was there to send is not made up for") {
    Direction direction({.bits_per_second = 12 * kMegabit, .queue_bytes = 10'000});
    direction.offer(packet_of(1500), kStart); // 1 ms
    direction.offer(packet_of(1500), kStart + seconds{1});
    direction.offer(packet_of(1500), kStart + seconds{1});
    CHECK(arrivals(direction) == std::vector<Time>{kStart + milliseconds{1},
                                                   kStart + milliseconds{1001},
                                                   kStart + milliseconds{1002}});
}

TEST_CASE("the rate holds over a million packets, though none takes whole nanoseconds") {
    // 52 bytes at 999,999,937 bit/s (a prime) take 416.000026 ns.
    constexpr std::uint64_t kRate = 999'999'937;
    constexpr std::uint64_t kPackets = 1'000'000;
    Direction direction({.bits_per_second = kRate, .queue_bytes = UINT32_MAX});
    for (std::uint64_t count = 0; count < kPackets; ++count) {
        direction.offer(packet_of(52), kStart);
    }
    CHECK(last_arrival(direction) - kStart ==
          nanoseconds{kPackets * 52 * 8 * 1'000'000'000 / kRate});
    CHECK(direction.counters().packets == kPackets);
}

TEST_CASE("what does not fit into the queue is dropped, and a packet counts until it has left") {
    Direction direction({.bits_per_second = 12 * kMegabit, .queue_bytes = 3000});
    CHECK(direction.offer(packet_of(1500, 1), kStart) == Fate::accepted);
    CHECK(direction.offer(packet_of(1500, 2), kStart) == Fate::accepted);
    CHECK(direction.offer(packet_of(1, 3), kStart) == Fate::overflowed);
    const Time sent = kStart + milliseconds{1};
    CHECK(direction.offer(packet_of(1500, 4), sent - nanoseconds{1}) == Fate::overflowed);
    CHECK(direction.offer(packet_of(1500, 5), sent) == Fate::accepted);
    std::vector<int> arrived;
    while (const auto packet = direction.take(kStart + seconds{1})) {
        arrived.push_back(std::to_integer<int>(packet->front()));
    }
    CHECK(arrived == std::vector<int>{1, 2, 5});
    CHECK(direction.counters().overflowed == 2);
    CHECK(direction.counters().lost == 0);
    CHECK(direction.counters().packets == 3);
    CHECK(direction.counters().bytes == 4500);
    CHECK(direction.counters().most_queued_bytes == 3000);
}

TEST_CASE("packets that are only on their way take no room in the queue") {
    Direction direction(
        {.bits_per_second = 12 * kMegabit, .queue_bytes = 1500, .delay = seconds{10}});
    for (int count = 0; count < 100; ++count) {
        CHECK(direction.offer(packet_of(1500), kStart + count * milliseconds{1}) == Fate::accepted);
    }
    CHECK(direction.counters().most_queued_bytes == 1500);
    CHECK(arrivals(direction).size() == 100);
}

TEST_CASE("losses have the probability that was asked for, and take no time on the link") {
    constexpr int kPackets = 1'000'000;
    Direction direction({.bits_per_second = 12 * kMegabit,
                         .queue_bytes = UINT32_MAX,
                         .loss_ppm = 1000,
                         .seed = 42});
    int lost = 0;
    for (int count = 0; count < kPackets; ++count) {
        lost += direction.offer(packet_of(15), kStart) == Fate::lost ? 1 : 0;
    }
    // Five standard deviations around 1000.
    CHECK(lost > 840);
    CHECK(lost < 1160);
    CHECK(direction.counters().lost == static_cast<std::uint64_t>(lost));
    CHECK(last_arrival(direction) - kStart == (kPackets - lost) * microseconds{10});
}

TEST_CASE("the same seed loses the same packets, another one others") {
    const auto fates = [](std::uint64_t seed) {
        Direction direction({.loss_ppm = 100'000, .seed = seed});
        std::vector<Fate> result;
        for (int count = 0; count < 1000; ++count) {
            result.push_back(direction.offer(packet_of(40), kStart));
        }
        return result;
    };
    CHECK(fates(7) == fates(7));
    CHECK(fates(7) != fates(8));
}

TEST_CASE("a loss of none loses nothing, one of all everything") {
    Direction none({});
    Direction all({.loss_ppm = 1'000'000});
    for (int count = 0; count < 1000; ++count) {
        CHECK(none.offer(packet_of(40), kStart) == Fate::accepted);
        CHECK(all.offer(packet_of(40), kStart) == Fate::lost);
    }
    CHECK_FALSE(all.next_arrival());
}
