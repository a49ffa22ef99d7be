// Compression for one session: the threads that compress for all its streams, and the choice of
// the level, fixed or by CompressionPolicy. Thread-safe. Outlives the streams.
//
// Memory: a thread's zstd context takes 0.5 to 3 MiB, because blocks of 128 KiB bound its window;
// a frame under way takes 2 * 128 KiB (FramePipeline). kMaxThreads and kMaxFrames keep both within
// 32 MiB for up to 32 streams, and 40 MiB for 64.
#pragma once

#include "common/job_pool.hpp"
#include "proto/limits.hpp"
#include "sender/compression_policy.hpp"

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <span>
#include <string>

namespace sluice {

class Compression {
public:
    using Clock = CompressionPolicy::Clock;
    // A line for people. Called on any thread.
    using Tell = std::function<void(std::string)>;

    // Without a `fixed_level` it decides from what it measures. `streams`: how many there will be
    // at first.
    Compression(std::optional<int> fixed_level, std::size_t streams, Tell tell);

    // Whether report() makes a difference.
    [[nodiscard]] bool adapts() const noexcept { return !fixed_level_; }
    // What the next extent or batch shall be, if its data look worth it; and how long an extent may
    // be, up to `longest`.
    [[nodiscard]] bool wanted();
    [[nodiscard]] std::uint64_t extent_bytes(std::uint64_t longest);

    [[nodiscard]] JobPool& pool() noexcept { return pool_; }
    // Frames that a new stream may have under way: for the number of streams that was told an equal
    // share, for more of them what is left, one at least.
    [[nodiscard]] std::size_t take_frames() noexcept;
    // Compresses a block, on a thread of the pool. The length, or 0 where it does not get shorter.
    [[nodiscard]] std::size_t compress(std::span<const std::byte> raw, std::span<std::byte> out);

    // What a stream did since it last said so.
    struct Report {
        std::uint64_t acknowledged = 0; // bytes that the peer's kernel has taken
        CompressionPolicy::Window sent; // its wire_rate is not looked at
    };
    void report(std::size_t stream, const Report& report, Clock::time_point now);

private:
    static constexpr unsigned kMaxThreads = 8;
    static constexpr std::size_t kMaxFrames = 32;

    struct Stream {
        std::uint64_t acknowledged = 0; // within this window
        Clock::duration active{0};
        double rate = 0; // in the last window with a report
        Clock::time_point heard_at{};
        Clock::duration interval{0}; // of its reports
    };

    [[nodiscard]] double wire_rate(Clock::time_point now);
    [[nodiscard]] std::optional<std::string> news(Clock::time_point now);

    const std::optional<int> fixed_level_;
    const std::size_t streams_;
    std::atomic<std::size_t> frames_left_{kMaxFrames};
    const Tell tell_;
    std::mutex mutex_; // guards what follows, but for the pool
    CompressionPolicy policy_;
    CompressionPolicy::Window window_;
    std::optional<Clock::time_point> began_; // the first window
    Clock::time_point window_began_{};
    bool window_empty_ = true;
    std::array<Stream, proto::kMaxStreams> by_stream_{};
    bool told_ = false;
    std::optional<int> told_level_;
    Clock::time_point told_at_{};
    JobPool pool_;
};

} // namespace sluice
