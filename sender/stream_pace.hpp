// How fast one stream gets its large files away: how large its extents shall be, and whether
// another stream should take part of what it has in hand. No clock and no socket of its own.
#pragma once

#include <chrono>
#include <cstdint>

namespace sluice {

class StreamPace {
public:
    using Clock = std::chrono::steady_clock;

    // `far`: the round trip is long enough for the network to be what limits it.
    explicit StreamPace(bool far) noexcept : far_(far) {}

    // The stream begins with a piece; it had something else to do before.
    void begin(Clock::time_point now) noexcept;
    // `bytes` more of it have been handed to the socket.
    void sent(std::uint64_t bytes, Clock::time_point now) noexcept;

    // No extent should be longer: a power of two, kMostExtentBytes on a fast path. On a slow one
    // about what goes over in an eighth of a second (far) or in a second (near), so that the end
    // of a file can be shared, and little is lost with a connection.
    [[nodiscard]] std::uint64_t extent_limit() const noexcept;
    // Slow enough for a second stream to be of use. Two writers into one file of a fast path only
    // wait for each other (ext4's inode lock).
    [[nodiscard]] bool slow() const noexcept;

    // Large, so that headers do not matter; small against what has to be sent again when a
    // connection breaks.
    static constexpr std::uint64_t kMostExtentBytes = std::uint64_t{8} << 20;
    static constexpr std::uint64_t kLeastExtentBytes = std::uint64_t{64} << 10;
    // Of many streams on one far path some are ten times as slow as others: with two a second the
    // last one was waited for during two to four seconds.
    static constexpr std::uint64_t kFarExtentsPerSecond = 8;
    // On a near one they are equal, and a stream is slow where many senders share the machines:
    // each extent is some work, which at eight a second was a fifth of all with 256 of them.
    static constexpr std::uint64_t kNearExtentsPerSecond = 1;
    // On a far path, as long as nothing is known.
    static constexpr std::uint64_t kFirstExtentBytes = std::uint64_t{1} << 20;
    // Bytes per second. One stream brings 2-4 GB/s into the page cache, and two into one file no
    // more; networks of 1 Gbit/s bring 0.12.
    static constexpr std::uint64_t kSlow = 500'000'000;
    // Shorter measurements say more about buffers than about the path.
    static constexpr std::chrono::milliseconds kWindow{250};

private:
    const bool far_;
    Clock::time_point since_{};
    Clock::duration active_{0}; // in this window, without what lies between two pieces
    std::uint64_t bytes_ = 0;   // in this window
    std::uint64_t rate_ = 0;    // bytes per second; 0: not known yet
};

} // namespace sluice
