// A bound on how many bytes per second all streams of a program send together.
//
// RateSchedule is the arithmetic, with the time as an argument; RateLimiter shares one among
// threads; RateShare is one stream's part in it, and waits.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>

namespace sluice {

// Hands out turns: so many bytes, from such a moment on. They follow each other as fast as the rate
// allows, in the order in which they are asked for, and are all of one length. So streams that ask
// again whenever a turn is used up get equal shares, whatever the size of what they send.
//
// Whatever the streams do, what they send in any one second exceeds the rate by less than 3 %: by
// what kCredit and twice kUnused are worth (turns from before that second, and the last turn in
// it). A turn has at least one byte, so below 125 bytes per second and stream it is less exact.
class RateSchedule {
public:
    using Clock = std::chrono::steady_clock;

    // Time that went by unused and may be caught up with: a thread that wakes up a little late
    // shall not make the rate lower.
    static constexpr std::chrono::milliseconds kCredit{12};
    // What all who share the rate may have been given and not used.
    static constexpr std::chrono::milliseconds kUnused{8};
    // Longer turns would save nothing: this is several times what one system call moves.
    static constexpr std::uint64_t kMaxTurnBytes = std::uint64_t{1} << 20;

    struct Turn {
        std::uint64_t bytes = 0; // at least 1
        Clock::time_point when;  // not to be sent before
    };

    // `bytes_per_second` from 1 to kMaxRate, up to which the arithmetic is good to 0.1 %.
    static constexpr std::uint64_t kMaxRate = std::uint64_t{1} << 40;
    explicit RateSchedule(std::uint64_t bytes_per_second) noexcept : rate_(bytes_per_second) {}

    // The next turn, for one of `sharers` (at least 1), of whom each has at most one at a time.
    [[nodiscard]] Turn next(Clock::time_point now, std::size_t sharers) noexcept;

    [[nodiscard]] std::uint64_t rate() const noexcept { return rate_; }

private:
    std::uint64_t rate_;
    Clock::time_point free_at_ = Clock::time_point::min(); // when the last turn is over
};

// Thread-safe.
class RateLimiter {
public:
    explicit RateLimiter(std::uint64_t bytes_per_second) noexcept : schedule_(bytes_per_second) {}

    [[nodiscard]] std::uint64_t rate() const noexcept { return schedule_.rate(); }

private:
    friend class RateShare;
    void join();
    void leave();
    [[nodiscard]] RateSchedule::Turn next();

    std::mutex mutex_; // guards what follows
    RateSchedule schedule_;
    std::size_t sharers_ = 0;
};

// What one stream may send. Belongs to the stream's thread.
class RateShare {
public:
    // `limiter` is borrowed; nullptr: there is no limit, and nothing here costs anything.
    explicit RateShare(RateLimiter* limiter);
    ~RateShare();
    RateShare(const RateShare&) = delete;
    RateShare& operator=(const RateShare&) = delete;

    // How many of `wanted` bytes (at least 1) may be sent now. Waits for the stream's turn; 0 once
    // `cancel_fd` is readable.
    [[nodiscard]] std::uint64_t wait(std::uint64_t wanted, int cancel_fd);
    // That many have been sent, of what was allowed last.
    void spend(std::uint64_t bytes) noexcept;

private:
    RateLimiter* const limiter_;
    std::uint64_t allowed_ = 0;
};

} // namespace sluice
