#include "sender/stream_pace.hpp"

#include <algorithm>
#include <bit>

namespace sluice {

void StreamPace::begin(Clock::time_point now) noexcept {
    since_ = now;
}

void StreamPace::sent(std::uint64_t bytes, Clock::time_point now) noexcept {
    bytes_ += bytes;
    active_ += now - since_;
    since_ = now;
    const auto active = std::chrono::duration_cast<std::chrono::milliseconds>(active_);
    if (active >= kWindow) {
        rate_ =
            std::max<std::uint64_t>(1, bytes_ * 1000 / static_cast<std::uint64_t>(active.count()));
        active_ = {};
        bytes_ = 0;
    }
}

std::uint64_t StreamPace::extent_limit() const noexcept {
    if (rate_ == 0) {
        return far_ ? kFirstExtentBytes : kMostExtentBytes;
    }
    const std::uint64_t per_second = far_ ? kFarExtentsPerSecond : kNearExtentsPerSecond;
    return std::clamp(std::bit_floor(rate_ / per_second), kLeastExtentBytes, kMostExtentBytes);
}

bool StreamPace::slow() const noexcept {
    return rate_ != 0 ? rate_ < kSlow : far_;
}

} // namespace sluice
