#include "sender/compression_policy.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

namespace sluice {

namespace {

using Clock = CompressionPolicy::Clock;
using std::chrono::milliseconds;

// A decision is wanted soon after something has changed, later only every now and then. On a long
// path a window has to be longer than what is on its way.
constexpr milliseconds kShortestWindow{10};
constexpr milliseconds kLongestWindow{200};

// What compression has to promise before it is tried: it costs CPU time at both ends.
constexpr double kWorthTrying = 1.1;
// Where it promises less than this, a trial that fails would cost much of a short transfer: raw has
// to have gone on for so long before.
constexpr double kWorthTryingAtOnce = 3;
constexpr milliseconds kPatience{1500};
// Differences that are not measured reliably.
constexpr double kClearlyLess = 0.95;
constexpr double kHardlyMore = 1.02;
// A trial as bad as this ends early.
constexpr double kHopeless = 0.6;
constexpr unsigned kTrialWindows = 3;
constexpr unsigned kLongestProbe = 3;

// Where the compressors are the bottleneck the path may be faster than it looked: how much it is
// thought to be from one window to the next.
constexpr double kRoom = 1.25;

// After a trial that failed, and between probes; doubled each time. A probe is the rarer the more
// is at stake, and rarer still where the socket is the bottleneck: a path that has become faster
// shows by itself there.
constexpr std::chrono::seconds kCeilingKept{15};
constexpr std::chrono::seconds kLongestCeiling{240};
constexpr milliseconds kProbeInterval{500};
constexpr std::chrono::seconds kLongestProbeInterval{60};
constexpr double kSocketFullPatience = 4;

constexpr std::uint64_t kNeighbourEvery = 40;
// A neighbour that is slower than this part of the current level is not worth a look.
constexpr double kNeighbourLeast = 0.5;
// Of the weight of everything before: what the next one has.
constexpr double kBlockWeight = 1.0 / 32;
constexpr double kPairWeight = 0.25;
constexpr double kWindowWeight = 0.5;
// Of the threads that were not seen to work at once: what each window takes back of that.
constexpr double kRecovery = 0.003;
constexpr double kLeastAtOnce = 0.25;
// Shorter blocks tell nothing about speed.
constexpr std::size_t kLeastTellingBlock = std::size_t{32} << 10;

constexpr std::uint64_t kLeastExtent = std::uint64_t{64} << 10;
constexpr double kLeastPackedExtent = 1 << 20; // several blocks at a time
constexpr double kRawExtentSeconds = 1.0 / 16;
constexpr double kPackedExtentSeconds = 1.0 / 8;
constexpr unsigned kFirstExtents = 32; // of the least length; from then on they grow
constexpr unsigned kMaxDoublings = 16;

double in_seconds(Clock::duration time) {
    return std::chrono::duration<double>(time).count();
}

double smooth(double before, double now, double weight) {
    return before == 0 ? now : before + weight * (now - before);
}

} // namespace

CompressionPolicy::CompressionPolicy(unsigned threads)
    : threads_(std::max(1U, threads)), at_once_(threads_), cost_(1 / kRungs[kFirstRung].speed),
      share_(1 / kRungs[kFirstRung].ratio), ceiling_kept_(kCeilingKept),
      probe_interval_(kProbeInterval), window_length_(kShortestWindow) {
    for (std::size_t step = 0; step < steps_.size(); ++step) {
        const Rung& lower = kRungs.at(step);
        const Rung& upper = kRungs.at(step + 1);
        steps_.at(step) = {lower.speed / upper.speed, lower.ratio / upper.ratio};
    }
}

void CompressionPolicy::block_made(int level, const Block& block) {
    const std::optional<std::size_t> rung = rung_of(level);
    if (!rung || block.raw_bytes < kLeastTellingBlock || block.time.count() <= 0) {
        return;
    }
    // Of another level than the current one where that has just changed.
    const Expected factor = steps_between(*rung, rung_);
    const double weight = std::max(kBlockWeight, 1.0 / static_cast<double>(++measured_blocks_));
    const double raw = static_cast<double>(block.raw_bytes);
    // The first block of each thread pays for its memory.
    if (static_cast<double>(measured_blocks_) > threads_) {
        cost_ += weight * (in_seconds(block.time) / raw * factor.cost - cost_);
    }
    share_ += weight * (static_cast<double>(block.packed_bytes) / raw * factor.share - share_);
}

void CompressionPolicy::pair_made(int level, const Block& block, int other_level,
                                  const Block& other) {
    block_made(level, block);
    const std::optional<std::size_t> rung = rung_of(level);
    const std::optional<std::size_t> next = rung_of(other_level);
    if (!rung || !next || block.raw_bytes < kLeastTellingBlock || block.time.count() <= 0 ||
        other.time.count() <= 0) {
        return;
    }
    const bool up = *next > *rung;
    const Block& upper = up ? other : block;
    const Block& lower = up ? block : other;
    Expected& step = steps_.at(std::min(*rung, *next));
    step.cost += kPairWeight * (in_seconds(upper.time) / in_seconds(lower.time) - step.cost);
    step.share += kPairWeight * (static_cast<double>(upper.packed_bytes) /
                                     static_cast<double>(lower.packed_bytes) -
                                 step.share);
}

std::optional<std::size_t> CompressionPolicy::rung_of(int level) {
    for (std::size_t rung = 0; rung < kRungs.size(); ++rung) {
        if (kRungs.at(rung).level == level) {
            return rung;
        }
    }
    return std::nullopt;
}

// What a block costs more, and is longer, at `to` than at `from`: factors.
CompressionPolicy::Expected CompressionPolicy::steps_between(std::size_t from,
                                                             std::size_t to) const {
    Expected factor{1, 1};
    for (std::size_t step = std::min(from, to); step < std::max(from, to); ++step) {
        factor.cost *= steps_.at(step).cost;
        factor.share *= steps_.at(step).share;
    }
    return from <= to ? factor : Expected{1 / factor.cost, 1 / factor.share};
}

void CompressionPolicy::set_rung(std::size_t rung) {
    const Expected factor = steps_between(rung_, rung);
    cost_ *= factor.cost;
    share_ *= factor.share;
    rung_ = rung;
}

double CompressionPolicy::predicted(std::size_t rung) const {
    const Expected factor = steps_between(rung_, rung);
    return std::min(link_ / (share_ * factor.share), at_once_ / (cost_ * factor.cost));
}

std::size_t CompressionPolicy::best_rung() const {
    std::size_t best = 0;
    for (std::size_t rung = 1; rung < kRungs.size(); ++rung) {
        if (predicted(rung) > predicted(best) * kHardlyMore) {
            best = rung;
        }
    }
    return best;
}

void CompressionPolicy::window_over(const Window& window, Clock::time_point now) {
    if (ceiling_ > 0 && now >= ceiling_until_) {
        ceiling_ = 0;
    }
    const double rate = window.wire_rate;
    if (rate <= 0) {
        return;
    }
    const Clock::duration least = std::min<Clock::duration>(2 * window.round_trip, kLongestWindow);
    window_length_ = std::clamp<Clock::duration>(2 * window_length_, least, kLongestWindow);
    ++windows_;
    raw_since_ = raw_since_.value_or(now);
    const bool packed = window.payload_packed * 2 > window.payload;
    if (phase_ == Phase::raw || phase_ == Phase::probing) {
        raw_window(rate, window.waited * 2 >= window.active, now);
    } else if (packed) {
        zstd_window(window, rate, now);
    } else if (window.waited * 2 >= window.active) { // data that does not shrink
        link_ = smooth(link_, rate, kWindowWeight);
        if (predicted(best_rung()) < link_) {
            raw_since_ = now;
            enter(Phase::raw);
        }
    }
}

void CompressionPolicy::raw_window(double rate, bool socket_full, Clock::time_point now) {
    // Without waiting for the socket it is reading, or the streams themselves, that take the time.
    link_ = socket_full ? smooth(windows_ == 1 ? 0 : link_, rate, kWindowWeight)
                        : std::max(link_, rate);
    if (phase_ == Phase::probing) {
        const bool settled = windows_ > 1 && (socket_full || windows_ >= kLongestProbe);
        if (settled) {
            end_probe(now);
        }
        return;
    }
    if (!socket_full) {
        return;
    }
    const std::size_t best = best_rung();
    const double promised = ceiling_ > 0 ? std::min(predicted(best), ceiling_) : predicted(best);
    const bool at_once = promised > link_ * kWorthTryingAtOnce;
    if (at_once || (promised > link_ * kWorthTrying && now - *raw_since_ >= kPatience)) {
        raw_rate_ = link_;
        set_rung(std::min(best, kFirstRung));
        enter(Phase::trying);
    }
}

void CompressionPolicy::end_probe(Clock::time_point now) {
    raw_rate_ = link_;
    if (raw_rate_ >= zstd_rate_) {
        back_to_raw(now);
        return;
    }
    probe_interval_ = std::min<Clock::duration>(2 * probe_interval_, kLongestProbeInterval);
    probed_at_ = now;
    enter(Phase::zstd);
}

void CompressionPolicy::zstd_window(const Window& window, double rate, Clock::time_point now) {
    const bool socket_full = window.waited > window.starved && window.waited * 4 >= window.active;
    const double payload = rate * static_cast<double>(window.payload) /
                           static_cast<double>(std::max<std::uint64_t>(window.on_wire, 1));
    zstd_rate_ = smooth(windows_ == 1 ? 0 : zstd_rate_, payload, kWindowWeight);
    if (socket_full) {
        link_ = smooth(link_, rate, kWindowWeight);
        socket_was_full_ = true;
        at_once_ += kRecovery * (threads_ - at_once_);
    } else {
        const bool starved = window.starved > window.waited;
        if (starved) { // what gets through is what the threads do
            const double busy = std::clamp(payload * cost_, kLeastAtOnce, threads_);
            at_once_ += kWindowWeight * (busy - at_once_);
        }
        // Enough for the fastest level to be slower than the path: more makes no difference.
        const Expected fastest = steps_between(rung_, 0);
        const double enough = kRoom * at_once_ * share_ * fastest.share / (cost_ * fastest.cost);
        link_ = std::max(link_, std::min(enough, rate * (starved ? kRoom : 1)));
    }
    if (phase_ == Phase::trying) {
        const bool settled = windows_ >= kTrialWindows;
        if (windows_ > 1 && zstd_rate_ < raw_rate_ * (settled ? kClearlyLess : kHopeless)) {
            back_to_raw(now);
            return;
        }
        if (settled) {
            phase_ = Phase::zstd;
            probe_interval_ = kProbeInterval;
            probed_at_ = now;
        }
    } else if (!socket_full && std::exchange(socket_was_full_, false)) {
        probe_interval_ = kProbeInterval; // the path has become faster, or the machine slower
        probed_at_ = now;
    } else if (in_seconds(now - probed_at_) >= probe_wait(socket_full)) {
        enter(Phase::probing);
        return;
    }
    climb();
}

double CompressionPolicy::probe_wait(bool socket_full) const {
    const double at_stake = std::clamp(zstd_rate_ / raw_rate_, 1.0, std::max(1.0, 1 / share_));
    return in_seconds(probe_interval_) * at_stake * (socket_full ? kSocketFullPatience : 1);
}

// Up one at a time, because what is further away is guessed; down as far as need be.
void CompressionPolicy::climb() {
    const std::size_t best = best_rung();
    if (predicted(best) <= predicted(rung_) * kHardlyMore) {
        return;
    }
    if (best < rung_) {
        set_rung(best);
    } else if (predicted(rung_ + 1) >= predicted(rung_)) {
        set_rung(rung_ + 1);
    }
}

void CompressionPolicy::enter(Phase phase) {
    phase_ = phase;
    windows_ = 0;
    window_length_ = kShortestWindow;
}

// Compression has been tried, and brought zstd_rate_.
void CompressionPolicy::back_to_raw(Clock::time_point now) {
    ceiling_kept_ = now < ceiling_until_ + 2 * ceiling_kept_
                        ? std::min<Clock::duration>(2 * ceiling_kept_, kLongestCeiling)
                        : kCeilingKept;
    ceiling_ = zstd_rate_;
    ceiling_until_ = now + ceiling_kept_;
    link_ = raw_rate_;
    raw_since_ = now;
    enter(Phase::raw);
}

std::optional<int> CompressionPolicy::level() const noexcept {
    if (phase_ == Phase::raw || phase_ == Phase::probing) {
        return std::nullopt;
    }
    return kRungs[rung_].level;
}

CompressionPolicy::NextBlock CompressionPolicy::next_block() {
    ++blocks_;
    NextBlock next{kRungs.at(rung_).level, std::nullopt};
    if (blocks_ % kNeighbourEvery == 0) {
        const bool up = blocks_ / kNeighbourEvery % 2 == 0;
        if (up && rung_ + 1 < kRungs.size() &&
            predicted(rung_ + 1) >= predicted(rung_) * kNeighbourLeast) {
            next.compare_with = kRungs.at(rung_ + 1).level;
        } else if (!up && rung_ > 0) {
            next.compare_with = kRungs.at(rung_ - 1).level;
        }
    }
    return next;
}

std::uint64_t CompressionPolicy::extent_bytes(std::uint64_t longest) {
    double bytes = 0;
    if (level()) {
        bytes = std::max(kLeastPackedExtent, std::max(zstd_rate_, link_) * kPackedExtentSeconds);
    } else if (link_ > 0) {
        bytes = link_ * kRawExtentSeconds;
    } else { // nothing is known yet: a slow path shall not be blocked for long
        bytes = static_cast<double>(kLeastExtent
                                    << std::min(first_extents_++ / kFirstExtents, kMaxDoublings));
    }
    const double blocks = std::floor(bytes / static_cast<double>(kLeastExtent));
    return std::clamp(static_cast<std::uint64_t>(blocks) * kLeastExtent, kLeastExtent, longest);
}

} // namespace sluice
