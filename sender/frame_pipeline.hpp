// Frames of one stream on their way through the compressors: several at a time on the threads of a
// pool, taken out in the order in which they were posted. Belongs to the stream's thread; the work
// that is posted runs on the pool's.
#pragma once

#include "common/job_pool.hpp"
#include "proto/messages.hpp"

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <span>
#include <vector>

namespace sluice {

class FramePipeline {
public:
    using Clock = std::chrono::steady_clock;

    // Bytes in front of a payload: room for the header of a Batch or a Block.
    static constexpr std::size_t kHeaderRoom = proto::kBatchHeaderBytes;
    static_assert(proto::kBlockHeaderBytes <= kHeaderRoom);
    static constexpr std::size_t kFrameBytes = kHeaderRoom + proto::kMaxBatchBytes;
    static_assert(proto::kMaxBlockBytes <= proto::kMaxBatchBytes);

    struct Frame {
        std::vector<std::byte> raw;    // kFrameBytes: room for a header, then the bytes as they are
        std::vector<std::byte> packed; // kFrameBytes: the same, compressed
        // Up to whoever posts the work.
        std::uint64_t id = 0;         // of a batch; 0: a block
        std::size_t raw_bytes = 0;    // of the payload
        std::uint64_t file_bytes = 0; // of these, content of files
        // Filled in by the work.
        std::int64_t got = 0;         // what reading the source brought, as SourceFile::read()
        std::size_t packed_bytes = 0; // 0: it travels as it is
        std::span<std::byte> whole;   // the complete frame, in `raw` or `packed`
    };
    using Work = std::function<void(Frame&)>; // must not throw

    // At most `depth` (>= 1) frames are under way. `pool` is borrowed and outlives the pipeline.
    FramePipeline(JobPool& pool, std::size_t depth) : pool_(pool), slots_(depth) {}
    // As reset().
    ~FramePipeline();
    FramePipeline(const FramePipeline&) = delete;
    FramePipeline& operator=(const FramePipeline&) = delete;

    [[nodiscard]] bool empty() const noexcept { return count_ == 0; }
    [[nodiscard]] bool full() const noexcept { return count_ == slots_.size(); }

    // The frame that is posted next, for preparing it. Only while it is not full.
    [[nodiscard]] Frame& next();
    void post(Work work);
    // The one that was posted first; waits until its work is done. Only while it is not empty.
    [[nodiscard]] Frame& oldest();
    [[nodiscard]] bool oldest_is_ready();
    // It is not needed any more.
    void pop();
    // Forgets everything. Waits for work that has begun; what has not begun is not done.
    void reset();

    // How long all calls of oldest() have waited.
    [[nodiscard]] Clock::duration starved() const noexcept { return starved_; }

private:
    struct Slot {
        Frame frame;
        bool done = false;
    };

    [[nodiscard]] Slot& at(std::size_t index) noexcept {
        return slots_[(first_ + index) % slots_.size()];
    }

    JobPool& pool_;
    std::vector<Slot> slots_; // a ring
    std::size_t first_ = 0;
    std::size_t count_ = 0;
    Clock::duration starved_{0};
    std::mutex mutex_; // guards Slot::done and what follows
    std::condition_variable changed_;
    bool abandoned_ = false;
};

} // namespace sluice
