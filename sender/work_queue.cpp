#include "sender/work_queue.hpp"

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

void WorkQueue::push(Chunk chunk) {
    {
        const std::scoped_lock lock(mutex_);
        chunks_.push_back(std::move(chunk));
    }
    has_work_.notify_one();
}

void WorkQueue::close() {
    {
        const std::scoped_lock lock(mutex_);
        closed_ = true;
    }
    has_work_.notify_all();
}

void WorkQueue::cancel() {
    {
        const std::scoped_lock lock(mutex_);
        cancelled_ = true;
        chunks_.clear();
    }
    has_room_.notify_all();
    has_work_.notify_all();
}

Chunk WorkQueue::pop() {
    std::unique_lock lock(mutex_);
    has_work_.wait(lock, [&] { return cancelled_ || closed_ || !chunks_.empty(); });
    if (chunks_.empty()) {
        return {};
    }
    Chunk chunk = std::move(chunks_.front());
    chunks_.pop_front();
    free_ += chunk.size();
    lock.unlock();
    has_room_.notify_one();
    return chunk;
}

} // namespace sluice
