// One direction of an emulated link: packets are lost at random, wait in a drop-tail queue before a
// bottleneck of constant rate, and take a constant delay behind it.
//
// Pure: packets and times go in, packets and times come out; no descriptor, no clock. Not
// thread-safe. Times are nanoseconds since any fixed moment and must never decrease.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <random>
#include <vector>

namespace sluice::link {

using Time = std::chrono::nanoseconds;
using Packet = std::vector<std::byte>; // an IP packet; its size is what it takes on the link

struct DirectionSettings {
    std::uint64_t bits_per_second = 0; // 0: no bottleneck, hence no queue
    std::uint64_t queue_bytes = 0;     // a packet counts until its last bit has left
    Time delay{0};                     // from its last bit's leaving to its arrival
    std::uint32_t loss_ppm = 0;        // packets of a million that vanish, before the queue
    std::uint64_t seed = 0;            // the same seed loses the same packets
};

struct DirectionCounters {
    std::uint64_t packets = 0; // that arrived
    std::uint64_t bytes = 0;
    std::uint64_t lost = 0;       // by chance
    std::uint64_t overflowed = 0; // found the queue full
    std::uint64_t most_queued_bytes = 0;
};

enum class Fate : unsigned char { accepted, lost, overflowed };

class Direction {
public:
    explicit Direction(const DirectionSettings& settings);

    // A packet comes to the link.
    Fate offer(Packet packet, Time now);
    // When the next packet arrives at the other side; nothing where none is under way.
    [[nodiscard]] std::optional<Time> next_arrival() const;
    // A packet that has arrived by now, in the order of the offers.
    [[nodiscard]] std::optional<Packet> take(Time now);

    [[nodiscard]] const DirectionCounters& counters() const noexcept { return counters_; }

private:
    struct UnderWay {
        Packet packet;
        Time leaves; // the bottleneck
    };

    void leave_queue(Time now);
    Time leaving_time(std::size_t bytes, Time now);
    bool draw_loss();

    DirectionSettings settings_;
    std::mt19937_64 random_;
    std::deque<UnderWay> under_way_; // those that have left the queue, then those in it
    std::size_t left_queue_ = 0;     // how many are of the former kind
    std::uint64_t queued_bytes_ = 0;
    Time idle_from_{0};           // when the bottleneck has nothing more to send
    std::uint64_t remainder_ = 0; // of the division that gave idle_from_: no error adds up
    DirectionCounters counters_;
};

} // namespace sluice::link
