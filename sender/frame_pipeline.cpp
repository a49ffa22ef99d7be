#include "sender/frame_pipeline.hpp"

#include <utility>

namespace sluice {

FramePipeline::~FramePipeline() {
    reset();
}

FramePipeline::Frame& FramePipeline::next() {
    Frame& frame = at(count_).frame;
    if (frame.raw.empty()) { // many pipelines never use all their slots
        frame.raw.resize(kFrameBytes);
        frame.packed.resize(kFrameBytes);
    }
    frame.id = frame.file_bytes = 0;
    frame.raw_bytes = frame.packed_bytes = 0;
    frame.got = 0;
    frame.whole = {};
    return frame;
}

void FramePipeline::post(Work work) {
    Slot& slot = at(count_);
    slot.done = false;
    ++count_;
    pool_.post([this, &slot, work = std::move(work)] {
        bool wanted = false;
        {
            const std::scoped_lock lock(mutex_);
            wanted = !abandoned_;
        }
        if (wanted) {
            work(slot.frame);
        }
        const std::scoped_lock lock(mutex_);
        slot.done = true;
        // With the lock: once it is free the pipeline may be gone.
        changed_.notify_one();
    });
}

FramePipeline::Frame& FramePipeline::oldest() {
    Slot& slot = at(0);
    std::unique_lock lock(mutex_);
    if (!slot.done) {
        const auto began = Clock::now();
        changed_.wait(lock, [&] { return slot.done; });
        starved_ += Clock::now() - began;
    }
    return slot.frame;
}

bool FramePipeline::oldest_is_ready() {
    const std::scoped_lock lock(mutex_);
    return at(0).done;
}

void FramePipeline::pop() {
    first_ = (first_ + 1) % slots_.size();
    --count_;
}

void FramePipeline::reset() {
    std::unique_lock lock(mutex_);
    abandoned_ = true;
    changed_.wait(lock, [&] {
        for (std::size_t index = 0; index < count_; ++index) {
            if (!at(index).done) {
                return false;
            }
        }
        return true;
    });
    abandoned_ = false;
    first_ = count_ = 0;
}

} // namespace sluice
