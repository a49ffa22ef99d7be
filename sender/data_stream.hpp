// One data connection after the other, and the thread that feeds them: takes work from the queue,
// sends small entries many to a frame and large files as extents.
//
//     Connecting --joined--> Sending --the queue has ended--> Ended
//     Connecting, Sending --the connection broke--> Waiting: all that is in hand goes back to the
//         queue; what is in flight follows when the receiver has said what it has
//     Sending --a source shrank within an extent--> Connecting
//     Waiting --back-off over--> Connecting
//     Waiting --nothing worked for as long as may be retried--> Ended, with an Error
//     any state --cancelled--> Ended
//
// Straight-line code on a thread of its own, because reading a source blocks whatever O_NONBLOCK
// says; waiting for the socket is a poll(2) that also watches for cancellation.
#pragma once

#include "sender/backoff.hpp"
#include "sender/large_files.hpp"
#include "sender/small_entries.hpp"
#include "sender/source_opener.hpp"
#include "sender/stream_context.hpp"
#include "sender/work_queue.hpp"

#include <chrono>
#include <cstddef>
#include <optional>
#include <thread>

namespace sluice {

class DataStream {
public:
    // Starts the thread. What is referred to is borrowed and outlives the stream.
    DataStream(StreamSettings settings, StreamHost& host, WorkQueue& queue, InFlight& in_flight,
               StreamTotals& totals);
    // Joins the thread: the queue has been closed or cancelled, the parcels in flight cancelled,
    // and the target's cancel_fd is readable unless the stream is to finish its work.
    ~DataStream();
    DataStream(const DataStream&) = delete;
    DataStream& operator=(const DataStream&) = delete;

private:
    using Clock = std::chrono::steady_clock;
    enum class Next : unsigned char { connect, give_up, cancelled };

    void run();
    [[nodiscard]] std::optional<Error> work();
    [[nodiscard]] Status send_everything();
    [[nodiscard]] Status send_in_hand();
    [[nodiscard]] Status send_entry(SourceEntry& entry);
    [[nodiscard]] Status send_file(SourceEntry& entry);
    // Sends what is held back, and then says that the connection shall be replaced.
    [[nodiscard]] Status flush_for_good();
    [[nodiscard]] bool directory_goes_on() const;
    void share(Piece& piece);
    void hand_back();
    [[nodiscard]] Next wait_before_retry(const Error& reason, InFlight::Ended ended);

    StreamContext context_;
    WorkQueue& queue_;
    SourceOpener opener_;
    SmallEntries small_;
    LargeFiles large_;
    Chunk chunk_; // in hand: entries from next_entry_ on, and before these the piece
    std::size_t next_entry_ = 0;
    bool chunk_read_ahead_ = false; // all of the chunk's files are being read into the page cache
    std::optional<Piece> piece_;
    Backoff backoff_;
    Clock::time_point connected_at_{};
    std::optional<Clock::time_point> failing_since_;
    std::thread thread_; // last: it uses everything above
};

} // namespace sluice
