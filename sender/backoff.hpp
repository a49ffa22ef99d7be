// How long to wait before the next of several attempts: longer each time, and never quite as long
// as everybody else who lost the same peer. One object per thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <random>

namespace sluice {

class Backoff {
public:
    static constexpr std::chrono::milliseconds kFirst{100};
    static constexpr std::chrono::milliseconds kLongest{5'000};

    explicit Backoff(std::uint_fast32_t seed = std::random_device{}()) : random_(seed) {}

    // 100 ms, doubled at each call up to 5 s; each times something between 0.5 and 1.5.
    [[nodiscard]] std::chrono::milliseconds next();
    // It works again: the next wait is a short one.
    void reset() noexcept { delay_ = kFirst; }

private:
    std::minstd_rand random_;
    std::chrono::milliseconds delay_ = kFirst;
};

} // namespace sluice
