// How fast blocks are unpacked that expand far more than data of people does.
//
// A frame of 20 bytes can unpack to 128 KiB, so over a slow line a sender could keep a core of the
// receiver busy. What it costs to store is bounded instead: all sessions of a receiver together
// unpack such blocks at no more than kRate. Files of zeros, the only honest ones that shrink so
// much, are still stored faster than most disks are. Everything else is not limited.
//
// Thread-safe.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>

namespace sluice {

class UnpackPace {
public:
    using Clock = std::chrono::steady_clock;

    // Text shrinks to a twentieth, a log perhaps to a fortieth.
    static constexpr std::size_t kOrdinaryRatio = 64;
    static constexpr std::uint64_t kRate = std::uint64_t{512} << 20; // bytes per second
    // Time that went by unused and may be caught up with.
    static constexpr std::chrono::milliseconds kCredit{20};

    // A block of that length has been unpacked from so many bytes: when its connection may go on.
    [[nodiscard]] Clock::time_point book(std::size_t packed_bytes, std::size_t unpacked_bytes,
                                         Clock::time_point now);

private:
    std::mutex mutex_;
    Clock::time_point free_at_ = Clock::time_point::min(); // guarded by mutex_
};

} // namespace sluice
