#include "tests/link/direction.hpp"

#include <algorithm>
#include <utility>

namespace sluice::link {

namespace {

constexpr std::uint64_t kMillion = 1'000'000;
constexpr std::uint64_t kNanosecondsPerSecond = 1'000'000'000;
constexpr std::uint64_t kBitsPerByte = 8;

} // namespace

Direction::Direction(const DirectionSettings& settings)
    : settings_(settings), random_(settings.seed) {}

Fate Direction::offer(Packet packet, Time now) {
    if (draw_loss()) {
        ++counters_.lost;
        return Fate::lost;
    }
    leave_queue(now);
    const std::size_t bytes = packet.size();
    if (settings_.bits_per_second == 0) {
        under_way_.push_back({std::move(packet), now});
        return Fate::accepted;
    }
    if (queued_bytes_ + bytes > settings_.queue_bytes) {
        ++counters_.overflowed;
        return Fate::overflowed;
    }
    queued_bytes_ += bytes;
    counters_.most_queued_bytes = std::max(counters_.most_queued_bytes, queued_bytes_);
    under_way_.push_back({std::move(packet), leaving_time(bytes, now)});
    return Fate::accepted;
}

std::optional<Time> Direction::next_arrival() const {
    if (under_way_.empty()) {
        return std::nullopt;
    }
    return under_way_.front().leaves + settings_.delay;
}

std::optional<Packet> Direction::take(Time now) {
    const std::optional<Time> arrival = next_arrival();
    if (!arrival || *arrival > now) {
        return std::nullopt;
    }
    leave_queue(now);
    Packet packet = std::move(under_way_.front().packet);
    under_way_.pop_front();
    left_queue_ -= settings_.bits_per_second == 0 ? 0 : 1;
    ++counters_.packets;
    counters_.bytes += packet.size();
    return packet;
}

void Direction::leave_queue(Time now) {
    if (settings_.bits_per_second == 0) {
        return;
    }
    while (left_queue_ < under_way_.size() && under_way_[left_queue_].leaves <= now) {
        queued_bytes_ -= under_way_[left_queue_].packet.size();
        ++left_queue_;
    }
}

Time Direction::leaving_time(std::size_t bytes, Time now) {
    if (idle_from_ < now) {
        idle_from_ = now;
        remainder_ = 0;
    }
    // An IP packet has at most 65,535 bytes: no overflow.
    const std::uint64_t scaled = bytes * kBitsPerByte * kNanosecondsPerSecond + remainder_;
    idle_from_ += Time{scaled / settings_.bits_per_second};
    remainder_ = scaled % settings_.bits_per_second;
    return idle_from_;
}

bool Direction::draw_loss() {
    // The bias of the remainder is 2^-44: nothing that could be counted.
    return settings_.loss_ppm != 0 && random_() % kMillion < settings_.loss_ppm;
}

} // namespace sluice::link
