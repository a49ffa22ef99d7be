#include "common/rate_limit.hpp"

#include "common/net.hpp"

#include <algorithm>

namespace sluice {

namespace {

using std::chrono::duration_cast;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;

constexpr std::uint64_t kNanosecondsPerSecond = 1'000'000'000;

// How long `bytes` take, rounded up to a whole nanosecond. A turn has at most 1 MiB, so that the
// product stays below 2^50.
nanoseconds time_of(std::uint64_t bytes, std::uint64_t rate) noexcept {
    static_assert(RateSchedule::kMaxTurnBytes <= UINT64_MAX / kNanosecondsPerSecond / 2);
    return nanoseconds{(bytes * kNanosecondsPerSecond + rate - 1) / rate};
}

} // namespace

RateSchedule::Turn RateSchedule::next(Clock::time_point now, std::size_t sharers) noexcept {
    constexpr auto kUnusedParts = static_cast<std::uint64_t>(std::chrono::seconds{1} / kUnused);
    Turn turn;
    turn.bytes = std::clamp<std::uint64_t>(rate_ / kUnusedParts / sharers, 1, kMaxTurnBytes);
    turn.when = std::max(free_at_, now - kCredit);
    free_at_ = turn.when + duration_cast<Clock::duration>(time_of(turn.bytes, rate_));
    return turn;
}

void RateLimiter::join() {
    const std::scoped_lock lock(mutex_);
    ++sharers_;
}

void RateLimiter::leave() {
    const std::scoped_lock lock(mutex_);
    --sharers_;
}

RateSchedule::Turn RateLimiter::next() {
    const std::scoped_lock lock(mutex_);
    // Within the lock: a moment taken before would let a thread that was held up fall behind.
    return schedule_.next(RateSchedule::Clock::now(), sharers_);
}

RateShare::RateShare(RateLimiter* limiter) : limiter_(limiter) {
    if (limiter_ != nullptr) {
        limiter_->join();
    }
}

RateShare::~RateShare() {
    if (limiter_ != nullptr) {
        limiter_->leave();
    }
}

std::uint64_t RateShare::wait(std::uint64_t wanted, int cancel_fd) {
    if (limiter_ == nullptr) {
        return wanted;
    }
    if (allowed_ == 0) {
        const RateSchedule::Turn turn = limiter_->next();
        const auto left = std::chrono::ceil<milliseconds>(turn.when - RateSchedule::Clock::now());
        // Without a socket (poll(2) ignores negative descriptors): only time or cancelling ends it.
        if (left.count() > 0 && wait_for_socket(-1, false, cancel_fd, left) == Wait::cancelled) {
            return 0;
        }
        allowed_ = turn.bytes;
    }
    return std::min(wanted, allowed_);
}

void RateShare::spend(std::uint64_t bytes) noexcept {
    if (limiter_ != nullptr) {
        allowed_ -= bytes;
    }
}

} // namespace sluice
