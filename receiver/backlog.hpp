// Bounds what one thread has given to another that the other has not dealt with yet, where a peer
// decides how much there is. Thread-safe.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <mutex>

namespace sluice {

class Backlog {
public:
    explicit Backlog(std::size_t most) : most_(most) {}

    // One more is about to be given: waits until there is room for it, or until close().
    void enter() {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return closed_ || count_ < most_; });
        ++count_;
    }
    // One has been dealt with.
    void leave() {
        const std::scoped_lock lock(mutex_);
        --count_;
        changed_.notify_one();
    }
    // The other thread deals with nothing more: nobody waits from now on.
    void close() {
        const std::scoped_lock lock(mutex_);
        closed_ = true;
        changed_.notify_all();
    }

private:
    const std::size_t most_;
    std::mutex mutex_; // guards what follows
    std::condition_variable changed_;
    std::size_t count_ = 0;
    bool closed_ = false;
};

} // namespace sluice
