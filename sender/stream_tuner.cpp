#include "sender/stream_tuner.hpp"

#include <algorithm>

namespace sluice {

namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

// Below: one machine, or a local network. From kLong on: another city.
constexpr microseconds kLocal = milliseconds{1};
constexpr microseconds kLong = milliseconds{20};
// Over 200 Mbit/s with 80 ms, 0.1 % loss and BBR, 10,000 files of 4 KiB took 2.62 s with 2 streams,
// 2.5 with 4, 2.38 with 8, 2.33 with 12; 500 MiB in one file 22.9 s with 4, 23.2 with 8, 24.0 with
// 12, whose beginnings together overflow the queue.
constexpr unsigned kLocalStreams = 2;
constexpr unsigned kNearStreams = 4;
constexpr unsigned kLongStreams = 8;
constexpr unsigned kLongStreamsForSmallFiles = 12;
constexpr std::uint64_t kManyFiles = 1000;
constexpr std::uint64_t kSmallFileBytes = std::uint64_t{16} << 10; // on average

unsigned streams_for(microseconds round_trip) {
    if (round_trip < kLocal) {
        return kLocalStreams;
    }
    return round_trip < kLong ? kNearStreams : kLongStreams;
}

// Long enough to average over files of all sizes; and slow start takes about ten round trips to
// fill a path.
constexpr milliseconds kLeastWindow{500};
constexpr int kWindowRoundTrips = 10;
// Half as many streams again bring at most half as much again. Less than a third of that is noise.
constexpr double kPays = 1.15;
// Looks in a row without enough work, after which they become rare.
constexpr int kPatience = 10;

} // namespace

StreamTuner::StreamTuner(microseconds round_trip) noexcept
    : window_(std::max<Clock::duration>(kLeastWindow, kWindowRoundTrips * round_trip)),
      long_path_(round_trip >= kLong), streams_(streams_for(round_trip)) {}

void StreamTuner::expect(std::uint64_t files, std::uint64_t bytes) noexcept {
    const bool beginning = phase_ == Phase::settling && best_ == 0; // afterwards the rate decides
    if (long_path_ && beginning && files >= kManyFiles && bytes / files <= kSmallFileBytes) {
        streams_ = std::max(streams_, kLongStreamsForSmallFiles);
    }
}

void StreamTuner::look(Clock::time_point now, std::uint64_t work, bool busy) {
    looked_ = true;
    if (phase_ == Phase::settled) {
        return;
    }
    const bool was_idle = idle_looks_ > 0; // when work came again is not known
    idle_looks_ = busy ? 0 : std::min(idle_looks_ + 1, kPatience);
    if (!since_ || !busy || was_idle) {
        since_ = now;
        work_ = work;
        return;
    }
    if (now - *since_ < window_) {
        return;
    }
    if (phase_ == Phase::settling) {
        phase_ = --windows_to_settle_ == 0 ? Phase::measuring : Phase::settling;
    } else {
        const std::chrono::duration<double> passed = now - *since_;
        if (work > work_) { // nothing may move: a disk that is slow, say
            judge(static_cast<double>(work - work_) / passed.count());
        }
    }
    since_ = now;
    work_ = work;
}

milliseconds StreamTuner::next_look() const noexcept {
    if (!looked_) {
        return kFirstTick;
    }
    return idle_looks_ < kPatience ? kTick : kRareTick;
}

void StreamTuner::judge(double rate) {
    if (rate < best_ * kPays || streams_ >= kMost) {
        phase_ = Phase::settled;
        return;
    }
    best_ = rate;
    streams_ = std::min(streams_ + std::max(1U, streams_ / 2), kMost);
    phase_ = Phase::settling;
    windows_to_settle_ = 1;
}

} // namespace sluice
