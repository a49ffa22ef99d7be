#include "sender/work_queue.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

namespace sluice {

namespace {

// How far from the front work may be taken.
constexpr std::size_t kChoice = 64;

// A large file takes so long that the directory's lock does not matter.
std::uint32_t directory_of(const SourceEntry& entry) {
    return entry.size > proto::kMaxInlineFileBytes ? 0 : entry.directory;
}

std::uint32_t first_directory(const Work& work) {
    return work.is_piece() || work.entries.empty() ? 0 : directory_of(work.entries.front());
}

std::uint32_t last_directory(const Work& work) {
    return work.is_piece() || work.entries.empty() ? 0 : directory_of(work.entries.back());
}

} // namespace

bool WorkQueue::reserve(std::size_t entries) {
    std::unique_lock lock(mutex_);
    has_room_.wait(lock, [&] { return cancelled_ || free_ >= entries; });
    if (cancelled_) {
        return false;
    }
    free_ -= entries;
    return true;
}

void WorkQueue::release(std::size_t entries) {
    {
        const std::scoped_lock lock(mutex_);
        free_ += entries;
    }
    has_room_.notify_one();
}

std::size_t WorkQueue::places_taken() const {
    const std::scoped_lock lock(mutex_);
    return places_ - free_;
}

void WorkQueue::push(Chunk chunk) {
    {
        const std::scoped_lock lock(mutex_);
        if (cancelled_) {
            return;
        }
        work_.emplace_back(std::move(chunk));
    }
    has_work_.notify_one();
}

void WorkQueue::requeue(std::vector<Work> work) {
    if (work.empty()) {
        return;
    }
    {
        const std::scoped_lock lock(mutex_);
        if (cancelled_) {
            return;
        }
        work_.insert(work_.begin(), std::make_move_iterator(work.begin()),
                     std::make_move_iterator(work.end()));
    }
    has_work_.notify_all();
}

void WorkQueue::close() {
    {
        const std::scoped_lock lock(mutex_);
        closed_ = true;
    }
    has_work_.notify_all();
}

void WorkQueue::cancel() {
    std::deque<Work> forgotten; // destroyed without the lock: that may close files
    {
        const std::scoped_lock lock(mutex_);
        cancelled_ = true;
        forgotten.swap(work_);
    }
    has_room_.notify_all();
    has_work_.notify_all();
}

std::optional<Work> WorkQueue::pop(std::size_t stream) {
    std::unique_lock lock(mutex_);
    ++waiting_;
    has_work_.wait(lock, [&] { return cancelled_ || closed_ || !work_.empty(); });
    --waiting_;
    return take(stream);
}

std::optional<Work> WorkQueue::try_pop(std::size_t stream) {
    const std::scoped_lock lock(mutex_);
    return take(stream);
}

std::size_t WorkQueue::idle_streams() const {
    const std::scoped_lock lock(mutex_);
    return waiting_ > work_.size() ? waiting_ - work_.size() : 0;
}

std::optional<Work> WorkQueue::take(std::size_t stream) {
    if (stream >= at_work_.size()) {
        at_work_.resize(stream + 1);
    }
    if (work_.empty()) {
        at_work_[stream] = 0;
        return std::nullopt;
    }
    const auto last = work_.begin() + static_cast<std::ptrdiff_t>(std::min(work_.size(), kChoice));
    auto chosen = std::find_if(work_.begin(), last, [&](const Work& work) {
        return !taken_by_other(first_directory(work), stream);
    });
    if (chosen == last) {
        chosen = work_.begin(); // waiting for each other is better than doing nothing
    }
    Work work = std::move(*chosen);
    work_.erase(chosen);
    at_work_[stream] = last_directory(work);
    return work;
}

bool WorkQueue::taken_by_other(Directory directory, std::size_t stream) const {
    for (std::size_t other = 0; other < at_work_.size(); ++other) {
        if (directory != 0 && other != stream && at_work_[other] == directory) {
            return true;
        }
    }
    return false;
}

} // namespace sluice
