// One data connection and the thread that feeds it: takes chunks from the work queue, sends small
// entries many to a frame and large files as extents.
//
// Straight-line code on a thread of its own, because reading a source blocks whatever O_NONBLOCK
// says; waiting for the socket is a poll(2) that also watches for cancellation.
#pragma once

#include "sender/large_files.hpp"
#include "sender/small_entries.hpp"
#include "sender/stream_context.hpp"
#include "sender/work_queue.hpp"

#include <thread>

namespace sluice {

class DataStream {
public:
    // Starts the thread. `queue` and `totals` are borrowed and outlive the stream.
    DataStream(StreamSettings settings, StreamCallbacks callbacks, WorkQueue& queue,
               StreamTotals& totals);
    // Joins the thread: the queue must have been closed or cancelled, and the target's cancel_fd be
    // readable unless the stream is to finish its work.
    ~DataStream();
    DataStream(const DataStream&) = delete;
    DataStream& operator=(const DataStream&) = delete;

private:
    void run();
    [[nodiscard]] Status send_everything();
    [[nodiscard]] Status send_entry(const SourceEntry& entry);

    StreamContext context_;
    WorkQueue& queue_;
    SmallEntries small_;
    LargeFiles large_;
    std::thread thread_; // last: it uses everything above
};

} // namespace sluice
