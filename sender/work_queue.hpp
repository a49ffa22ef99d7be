// What is to be sent, on its way from the walk to the streams.
//
// Two streams that create files in one directory at the same time wait for each other at the
// receiver: a directory has one lock (inode_lock() in the kernel's lookup). So a stream is given,
// where there is a choice, entries of a directory in which no other stream is at work.
//
// The walk is ahead of the receiver by a bounded number of entries, whether they wait for the
// receiver's verdict, for a free stream, or for being acknowledged: it takes their place with
// reserve(), and the places are given back with release() as entries are done with. Thread-safe.
#pragma once

#include "sender/large_source.hpp"
#include "sender/walk.hpp"

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

namespace sluice {

// What a stream takes at a time: one large file, or some small entries; or a piece of a file that
// another stream could not bring over.
using Chunk = std::vector<SourceEntry>;
// No variant: GCC 12 sees uninitialized memory when one is moved (-Wmaybe-uninitialized).
struct Work {
    explicit Work(Chunk chunk) : entries(std::move(chunk)) {}
    explicit Work(Piece one) : piece(std::move(one)) {}
    [[nodiscard]] bool is_piece() const noexcept { return piece.source != nullptr; }

    Chunk entries; // of no use where it is a piece
    Piece piece;   // without a source where it is none
};
// Enough to keep the queue's lock quiet, few enough to share the work.
inline constexpr std::size_t kMaxChunkEntries = 64;

class WorkQueue {
public:
    explicit WorkQueue(std::size_t max_entries) : places_(max_entries), free_(max_entries) {}

    // Waits until `entries` more may be under way. False: the queue was cancelled.
    [[nodiscard]] bool reserve(std::size_t entries);
    // Gives the places of entries back that are done with, however that went.
    void release(std::size_t entries);
    // How many places are taken. None: nothing is under way.
    [[nodiscard]] std::size_t places_taken() const;

    // Hands over entries whose places are reserved. Does not wait.
    void push(Chunk chunk);
    // Puts work that has to be done again before everything else, in this order.
    void requeue(std::vector<Work> work);
    // Nothing will come any more: pop() does not wait.
    void close();
    // No more anything: reserve() and pop() return at once, what was waiting is forgotten.
    void cancel();

    // The next work for a stream, by its index; waits for it, also while there is none but some may
    // have to be done again. Nothing: there will be none.
    [[nodiscard]] std::optional<Work> pop(std::size_t stream);
    // The same without waiting; nothing: there is none now.
    [[nodiscard]] std::optional<Work> try_pop(std::size_t stream);
    // How many streams wait in pop() and will not find anything.
    [[nodiscard]] std::size_t idle_streams() const;

private:
    // The number of a directory within its walk (several sources may share numbers, which costs no
    // more than a needless detour); 0: none in particular.
    using Directory = std::uint32_t;

    [[nodiscard]] std::optional<Work> take(std::size_t stream);
    [[nodiscard]] bool taken_by_other(Directory directory, std::size_t stream) const;

    mutable std::mutex mutex_; // guards what follows
    std::condition_variable has_room_;
    std::condition_variable has_work_;
    std::deque<Work> work_;
    std::vector<Directory> at_work_; // by stream: where its latest work ends
    std::size_t waiting_ = 0;        // streams in pop()
    const std::size_t places_;
    std::size_t free_;
    bool closed_ = false;
    bool cancelled_ = false;
};

} // namespace sluice
