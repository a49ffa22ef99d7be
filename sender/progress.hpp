// What the progress line says. Pure: time comes in as an argument, text goes out.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>

namespace sluice {

struct ProgressSample {
    std::uint64_t files_done = 0;
    std::uint64_t bytes_done = 0;
    std::uint64_t files_total = 0; // found so far
    std::uint64_t bytes_total = 0;
    bool total_known = false; // the walk is over
};

// The rate over the last few seconds.
class RateMeter {
public:
    using Clock = std::chrono::steady_clock;

    void add(Clock::time_point now, std::uint64_t bytes_done);
    // Bytes per second over the window; nullopt before two samples a tenth of a second apart.
    [[nodiscard]] std::optional<double> rate() const;

private:
    struct Point {
        Clock::time_point time;
        std::uint64_t bytes;
    };
    std::deque<Point> points_;
};

// One line without a newline, never wider than `columns`: files, bytes, percent (or "counting"
// while the walk goes on), rate, time left.
[[nodiscard]] std::string progress_line(const ProgressSample& sample, std::optional<double> rate,
                                        std::size_t columns);

} // namespace sluice
