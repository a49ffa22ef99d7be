// What is to be sent, on its way from the walk to the streams.
//
// The walk is ahead of the streams by a bounded number of entries, whether they wait for the
// receiver's verdict or for a free stream: it takes their place with reserve() and the places
// are given back as entries are popped or found to be unchanged. Thread-safe.
#pragma once

#include "sender/walk.hpp"

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>
#include <vector>

namespace sluice {

// What a stream takes at a time: one large file, or some small entries.
using Chunk = std::vector<SourceEntry>;
// Enough to keep the queue's lock quiet, few enough to share the work.
inline constexpr std::size_t kMaxChunkEntries = 64;

class WorkQueue {
public:
    explicit WorkQueue(std::size_t max_entries) : free_(max_entries) {}

    // Waits until `entries` more may be under way. False: the queue was cancelled.
    [[nodiscard]] bool reserve(std::size_t entries);
    // Gives places back of entries that will not be pushed.
    void release(std::size_t entries);

    // Hands over entries whose places are reserved. Does not wait.
    void push(Chunk chunk);
    // No more pushes.
    void close();
    // No more anything: reserve() and pop() return at once.
    void cancel();

    // The next chunk; an empty one when there will be none.
    [[nodiscard]] Chunk pop();

private:
    std::mutex mutex_;
    std::condition_variable has_room_;
    std::condition_variable has_work_;
    std::deque<Chunk> chunks_;
    std::size_t free_;
    bool closed_ = false;
    bool cancelled_ = false;
};

} // namespace sluice
