// How many data connections a push has with -P auto: starts with what the path suggests, and adds
// some as long as that pays. Pure: the time and what has been done are passed in.
//
//     Settling --the streams are up to speed--> Measuring
//     Measuring --a window with work for most is over--> Settling (some were added), or Settled
//     Settled: it stays as it is
//
// One stream fills a short path, and the receiver writes with as many threads as it has streams. On
// a long one each stream begins with ten segments per round trip (RFC 6928), and a loss halves the
// window of one of them only (loss-based congestion control): many get more, and many small files,
// which are over soon after the beginnings, gain from more yet.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

namespace sluice {

class StreamTuner {
public:
    using Clock = std::chrono::steady_clock;

    explicit StreamTuner(std::chrono::microseconds round_trip) noexcept;

    // How many there should be now; at first, and after expect() and look().
    [[nodiscard]] unsigned streams() const noexcept { return streams_; }

    // No more will be added: the last ones brought nothing.
    [[nodiscard]] bool settled() const noexcept { return phase_ == Phase::settled; }

    // What there is to send, as far as it has been found: the sum of `bytes` in so many files. It
    // counts until the first measurement begins.
    void expect(std::uint64_t files, std::uint64_t bytes) noexcept;

    // To be called after next_look(). `work` done since the beginning, of any unit; `busy`: most
    // streams have work, so another one might help.
    void look(Clock::time_point now, std::uint64_t work, bool busy);

    // After what time to look again: kFirstTick, then kTick, but kRareTick where there has been
    // nothing to decide for long. One large file occupies one of two streams to its end, and each
    // look wakes a process: with 256 senders on two cores that took a fifteenth of the rate.
    [[nodiscard]] std::chrono::milliseconds next_look() const noexcept;

    static constexpr std::chrono::milliseconds kFirstTick{20};
    static constexpr std::chrono::milliseconds kTick{100};
    static constexpr std::chrono::milliseconds kRareTick{1000};
    static constexpr unsigned kMost = 16;

private:
    enum class Phase : unsigned char { measuring, settling, settled };

    void judge(double rate);

    const Clock::duration window_;
    const bool long_path_;
    unsigned streams_;
    bool looked_ = false;
    Phase phase_ = Phase::settling;
    int windows_to_settle_ = 2;              // at the beginning everything is slow
    std::optional<Clock::time_point> since_; // of the phase; unset: begins with the next look
    std::uint64_t work_ = 0;                 // at that time
    int idle_looks_ = 0;                     // in a row
    double best_ = 0;                        // rate with fewer streams
};

} // namespace sluice
