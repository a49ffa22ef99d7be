#include "sender/compression.hpp"

#include "common/compress.hpp"
#include "common/text.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <thread>
#include <utility>

namespace sluice {

namespace {

using std::chrono::milliseconds;

// Before a first line: time to find out. And between lines.
constexpr milliseconds kFirstNews{100};
constexpr milliseconds kNewsInterval{1000};
// A stream that has not reported for so many of its intervals has nothing to send.
constexpr int kSilentIntervals = 2;
constexpr milliseconds kSilent{100};

unsigned compressing_threads(unsigned most) {
    return std::clamp(std::thread::hardware_concurrency(), 1U, most);
}

} // namespace

Compression::Compression(std::optional<int> fixed_level, std::size_t streams, Tell tell)
    : fixed_level_(fixed_level), streams_(std::max<std::size_t>(streams, 1)),
      tell_(std::move(tell)), policy_(compressing_threads(kMaxThreads)),
      pool_(compressing_threads(kMaxThreads)) {}

bool Compression::wanted() {
    if (fixed_level_) {
        return true;
    }
    const std::scoped_lock lock(mutex_);
    return policy_.level().has_value();
}

std::uint64_t Compression::extent_bytes(std::uint64_t longest) {
    if (fixed_level_) {
        return longest;
    }
    const std::scoped_lock lock(mutex_);
    return policy_.extent_bytes(longest);
}

// Enough to keep every thread busy while one frame is being sent.
std::size_t Compression::take_frames() noexcept {
    const std::size_t wanted = 2 * std::size_t{compressing_threads(kMaxThreads)} + 2;
    std::size_t left = frames_left_;
    std::size_t taken = 0;
    do {
        taken = std::min({kMaxFrames / streams_, left, wanted});
    } while (!frames_left_.compare_exchange_weak(left, left - taken));
    return std::max<std::size_t>(taken, 1);
}

std::size_t Compression::compress(std::span<const std::byte> raw, std::span<std::byte> out) {
    // One a thread: the thread belongs to one pool, and ends with it.
    thread_local Compressor compressor;
    if (fixed_level_) {
        compressor.set_level(*fixed_level_);
        return compressor.compress(raw, out);
    }
    CompressionPolicy::NextBlock next{};
    {
        const std::scoped_lock lock(mutex_);
        next = policy_.next_block();
    }
    CompressionPolicy::Block block;
    const auto compress_at = [&](int level) {
        compressor.set_level(level);
        const auto began = Clock::now();
        const std::size_t packed = compressor.compress(raw, out);
        block = {raw.size(), packed > 0 ? packed : raw.size(), Clock::now() - began};
        return packed;
    };
    CompressionPolicy::Block other;
    if (next.compare_with) {
        static_cast<void>(compress_at(*next.compare_with));
        other = block;
    }
    const std::size_t packed = compress_at(next.level);
    const std::scoped_lock lock(mutex_);
    if (next.compare_with) {
        policy_.pair_made(next.level, block, *next.compare_with, other);
    } else {
        policy_.block_made(next.level, block);
    }
    return packed;
}

void Compression::report(std::size_t stream, const Report& report, Clock::time_point now) {
    if (fixed_level_) {
        return;
    }
    std::optional<std::string> line;
    {
        const std::scoped_lock lock(mutex_);
        if (std::exchange(window_empty_, false)) {
            window_began_ = now - report.sent.active;
            began_ = began_.value_or(window_began_);
        }
        Stream& state = by_stream_.at(stream);
        state.acknowledged += report.acknowledged;
        state.active += report.sent.active;
        state.interval = report.sent.active;
        state.heard_at = now;
        window_.active += report.sent.active;
        window_.waited += report.sent.waited;
        window_.starved += report.sent.starved;
        window_.round_trip = report.sent.round_trip;
        window_.payload += report.sent.payload;
        window_.payload_packed += report.sent.payload_packed;
        window_.on_wire += report.sent.on_wire;
        if (now - window_began_ < policy_.window_length()) {
            return;
        }
        window_.wire_rate = wire_rate(now);
        policy_.window_over(std::exchange(window_, {}), now);
        window_empty_ = true;
        line = news(now);
    }
    if (line) {
        tell_(std::move(*line));
    }
}

// The rates of all streams that have something to send. They report at different times: one of
// which nothing was heard within this window counts as it did before.
double Compression::wire_rate(Clock::time_point now) {
    double sum = 0;
    for (Stream& stream : by_stream_) {
        if (stream.active.count() > 0) {
            stream.rate = static_cast<double>(std::exchange(stream.acknowledged, 0)) /
                          std::chrono::duration<double>(stream.active).count();
            stream.active = {};
        } else if (now - stream.heard_at >
                   std::max<Clock::duration>(kSilentIntervals * stream.interval, kSilent)) {
            stream.rate = 0;
        }
        sum += stream.rate;
    }
    return sum;
}

// What has been chosen, where that is new and has been so for long enough to be worth a line.
std::optional<std::string> Compression::news(Clock::time_point now) {
    const std::optional<int> level = policy_.level();
    const bool is_new = !told_ || level != told_level_;
    const bool in_time = told_ ? now - told_at_ >= kNewsInterval : now - *began_ >= kFirstNews;
    if (policy_.probing() || policy_.link() <= 0 || !is_new || !in_time) {
        return std::nullopt;
    }
    told_ = true;
    told_level_ = level;
    told_at_ = now;
    const std::string link = format_rate(policy_.link());
    return level ? fmt::format("compressing at level {}: the path takes {}", *level, link)
                 : fmt::format("not compressing: the path takes {}", link);
}

} // namespace sluice
