#include "sender/work_queue.hpp"

#include <iterator>
#include <utility>

namespace sluice {

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

bool WorkQueue::unused() const {
    const std::scoped_lock lock(mutex_);
    return free_ == places_;
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

std::optional<Work> WorkQueue::pop() {
    std::unique_lock lock(mutex_);
    has_work_.wait(lock, [&] { return cancelled_ || closed_ || !work_.empty(); });
    return take();
}

std::optional<Work> WorkQueue::try_pop() {
    const std::scoped_lock lock(mutex_);
    return take();
}

std::optional<Work> WorkQueue::take() {
    if (work_.empty()) {
        return std::nullopt;
    }
    Work work = std::move(work_.front());
    work_.pop_front();
    return work;
}

} // namespace sluice
