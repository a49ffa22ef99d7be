// What has been sent and is not acknowledged, and over which connection it went: so that what a
// lost connection took with it can be sent again.
//
// A parcel is added before the first of its bytes is sent, and stays until it is acknowledged,
// found to be damaged, or lost with its connection. Connections are known here from their first
// byte until they are lost; their sockets are borrowed until close_connection(). Thread-safe:
// streams add, the thread that handles answers takes.
#pragma once

#include "proto/messages.hpp"
#include "sender/work_queue.hpp"

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <vector>

namespace sluice {

// The content of one batch, or one extent.
struct Parcel {
    Work work;               // what has to be done should it be lost
    std::uint64_t bytes = 0; // of files, holes included
    std::uint64_t files = 0; // whole ones
    proto::Digest digest{};  // of a raw extent, once it is known
};

class InFlight {
public:
    using Clock = std::chrono::steady_clock;

    // No more than `max_extents` extents are under way at a time: each keeps a file open.
    explicit InFlight(std::size_t max_extents) : max_extents_(max_extents) {}

    // A number for a new connection, which no other has or has had; 0: there are none left.
    [[nodiscard]] std::uint32_t open_connection(int socket);
    // Its stream is about to close the socket. What is still under way on it stays so until the
    // receiver says that it is lost.
    struct Ended {
        bool acknowledged = false; // at least one parcel that it carried
        bool stalled = false;      // given up by stalled()
    };
    Ended close_connection(std::uint32_t connection);

    // The id of a parcel that will now be sent. Nothing: the connection is broken, or all is
    // cancelled; the parcel is as it was.
    [[nodiscard]] std::optional<std::uint64_t> add(std::uint32_t connection, Parcel& parcel);
    // So many of its file bytes have been handed to the socket: for bytes_done() only, where all of
    // it will take long. Counts up.
    void advance(std::uint64_t id, std::uint64_t bytes);
    // All of it has been handed to the socket.
    void sent(std::uint64_t id);
    // Batches that are not acknowledged, whole or in part on their way.
    struct Batches {
        std::uint64_t count = 0;
        std::size_t entries = 0;
        std::uint64_t files = 0; // of these entries
    };
    [[nodiscard]] Batches batches() const;
    // Whether wait_for_room() would probably not wait.
    [[nodiscard]] bool has_room() const;
    // Waits until another extent may be sent. False as for add(). Nobody may wait here and keep
    // back what has been added and not been sent.
    [[nodiscard]] bool wait_for_room(std::uint32_t connection);

    // True once for each parcel, and only while it is under way: its payload may be hashed now. A
    // code that is made twice under one id, of different bytes, would give its key away.
    [[nodiscard]] bool claim_digest(std::uint64_t id);
    // Keeps the digest with the parcel. False: it is no longer under way.
    [[nodiscard]] bool note_digest(std::uint64_t id, const proto::Digest& digest);

    // Takes a parcel out: it has been dealt with, or arrived damaged. Nothing: there is no such.
    [[nodiscard]] std::optional<Parcel> acknowledge(std::uint64_t id, Clock::time_point now);
    [[nodiscard]] std::optional<Parcel> take_damaged(std::uint64_t id);

    // Makes sure that nothing more is sent on the connection. True: this was the first to do so,
    // and the receiver has to be told.
    [[nodiscard]] bool break_connection(std::uint32_t connection);
    // Forgets the connection and takes out what it did not bring over, in the order in which it
    // was sent.
    [[nodiscard]] std::vector<Work> take_lost(std::uint32_t connection);

    // Connections that have ended unnoticed, or on which everything stands still for `timeout`
    // (zero: not looked at) although something is under way: the peer's kernel has taken nothing,
    // and nothing has been acknowledged. They are broken (see above) from now on. To be called
    // every now and then.
    [[nodiscard]] std::vector<std::uint32_t> stalled(Clock::time_point now,
                                                     std::chrono::milliseconds timeout);

    // Nothing waits any more, nothing can be added.
    void cancel();

    // File bytes that were sent or acknowledged, each counted once; also of parcels of which only a
    // part has been sent, where advance() said so.
    [[nodiscard]] std::uint64_t bytes_done() const;
    // What the peer's kernel has taken on all connections together, framing included.
    [[nodiscard]] std::uint64_t bytes_taken() const;
    // File bytes that were sent in vain.
    [[nodiscard]] std::uint64_t bytes_in_vain() const;
    // File bytes that were sent and are not acknowledged.
    [[nodiscard]] std::uint64_t bytes_under_way() const;

private:
    struct Connection {
        int socket = -1; // -1: closed
        bool broken = false;
        bool lost = false; // as the receiver says; its stream has still to notice
        bool stalled = false;
        bool acknowledged = false;
        std::uint64_t taken = 0; // bytes, by the peer's kernel
        Clock::time_point moved; // when that was seen to change
    };
    struct Entry {
        std::uint32_t connection = 0;
        bool sent = false;
        bool digest_claimed = false;
        std::uint64_t counted = 0; // of its file bytes, in bytes_done_
        Parcel parcel;
    };

    [[nodiscard]] bool usable(std::uint32_t connection) const;
    [[nodiscard]] bool stands_still(Connection& connection, bool waiting, Clock::time_point now,
                                    std::chrono::milliseconds timeout) const;
    void count(Entry& entry, std::uint64_t bytes);
    [[nodiscard]] Parcel remove(std::map<std::uint64_t, Entry>::iterator at);

    const std::size_t max_extents_;
    mutable std::mutex mutex_; // guards what follows
    std::condition_variable changed_;
    std::map<std::uint64_t, Entry> parcels_; // by id, so in the order in which they were sent
    std::map<std::uint32_t, Connection> connections_;
    std::uint64_t next_id_ = 1;
    std::uint32_t next_connection_ = 1;
    std::size_t extents_ = 0;
    Batches batches_;
    std::uint64_t bytes_taken_ = 0; // on connections that are closed
    std::uint64_t bytes_done_ = 0;
    std::uint64_t bytes_in_vain_ = 0;
    Clock::time_point acknowledged_at_{};
    Clock::time_point looked_at_{};
    bool cancelled_ = false;
};

} // namespace sluice
