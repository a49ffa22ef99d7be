// One session with the receiver, from looking at the sources and connecting up to the receiver's
// confirmation, or to whatever keeps it from coming.
//
//     Scouting --connected--> Opening --welcome--> Sending --everything is acknowledged-->
//         Confirming --done--> Over
//     any state --failure--> Over
//
// While it is sending, the receiver is told as soon as everything is on its way, so that it can
// publish what it gets without another round trip; where a connection is lost then, that is void.
//
// Lives on the thread of its loop; the scout, the streams and the hashing threads belong to it and
// post to that loop. What they have posted is ignored once the session has ended.
#pragma once

#include "common/data_keys.hpp"
#include "common/loop.hpp"
#include "sender/control_link.hpp"
#include "sender/extent_digests.hpp"
#include "sender/in_flight.hpp"
#include "sender/options.hpp"
#include "sender/progress.hpp"
#include "sender/scout.hpp"
#include "sender/stream_set.hpp"
#include "sender/work_queue.hpp"

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace sluice {

// What became of a session. Values only.
struct SessionResult {
    std::optional<Error> failure;
    bool said_by_receiver = false; // the failure, that is
    bool welcomed = false;
    bool discarded = false;  // the receiver keeps nothing of what it gets
    bool progressed = false; // the receiver has answered something
    // When it worked for the last time, or was thought to; unset: never.
    std::optional<std::chrono::steady_clock::time_point> worked_at;
    std::uint64_t files_sent = 0;
    std::uint64_t failed = 0;         // sources that could not be sent, files not stored
    std::uint64_t failed_changed = 0; // of these: sources that vanished or changed
    std::uint64_t skipped = 0;        // special files
    PathBytes bytes;
    std::uint64_t compressed_to = 0;
    std::uint64_t bytes_in_vain = 0; // sent, and lost before they were acknowledged
    std::uint64_t damaged = 0;       // extents that did not arrive as they were sent
    std::uint64_t stream_reconnects = 0;
    std::size_t streams = 0;            // data connections at one time
    std::string cipher;                 // of the control connection; empty: none
    std::uint64_t would_send_files = 0; // dry run
    std::uint64_t would_send_bytes = 0;
    Usage usage; // of its threads
    std::optional<proto::Done> receiver;
};

// Called on the thread of the loop.
class SessionEvents {
public:
    virtual ~SessionEvents() = default;
    virtual void file_failed(const Error& error) = 0;
    virtual void warning(const std::string& line) = 0;
    virtual void detail(const std::string& line) = 0;
    virtual void would_send(const std::string& path, std::uint64_t bytes) = 0;
    // Once. The session must not be destroyed from here.
    virtual void session_over() = 0;
};

class PushSession final : private StreamHost {
public:
    // Begins at once. `options`, `limiter` (nullptr: none) and `events` are borrowed. `run` is the
    // same for all sessions that want to bring the same things over; `retry_for`: how long a stream
    // may try to reconnect.
    PushSession(Loop& loop, const SenderOptions& options, const proto::Token& run,
                std::chrono::milliseconds retry_for, RateLimiter* limiter, SessionEvents& events);
    ~PushSession() override;
    PushSession(const PushSession&) = delete;
    PushSession& operator=(const PushSession&) = delete;

    // Gives up, and tells the receiver why.
    void interrupt();
    // What is known when it is over, but for what its threads count.
    [[nodiscard]] const SessionResult& result() const noexcept { return result_; }
    // Stops its threads, which may take as long as one file operation, and sums up. Once, and
    // nothing after it.
    [[nodiscard]] SessionResult end();

    [[nodiscard]] ProgressSample sample() const;

private:
    using Clock = std::chrono::steady_clock;
    using Roots = std::vector<std::shared_ptr<const SourceRoot>>;

    // Offered files that wait for the receiver's verdict.
    struct PendingOffer {
        std::uint64_t first_id;
        Chunk entries;
    };

    // Runs tasks on the loop's thread as long as the session is there. May outlive it.
    class Poster {
    public:
        explicit Poster(Loop& loop) : loop_(loop) {}
        void operator()(std::function<void()> task) const;
        void stop() const { *alive_ = false; }

    private:
        Loop& loop_;
        std::shared_ptr<std::atomic<bool>> alive_ = std::make_shared<std::atomic<bool>>(true);
    };

    // StreamHost, on the streams' threads.
    void entry_failed(Error error) override;
    std::shared_ptr<LargeSource> open_large(SourceEntry entry, SourceFile file) override;
    void withdraw(const std::shared_ptr<LargeSource>& source, const Error& error) override;
    void compute_digest(std::shared_ptr<LargeSource> source, std::uint64_t id, std::uint64_t offset,
                        std::uint64_t length) override;
    void compute_digest(std::uint64_t id, proto::ByteView payload) override;
    void add_digest(std::uint64_t id, const proto::Digest& digest) override;
    void idle() override;
    void connection_lost(std::uint32_t connection, const Error& reason) override;
    void detail(std::string line) override;
    void stream_ended(std::optional<Error> error) override;

    // push_session.cpp: beginning and end.
    void start_scout();
    void connected(Channel channel, Roots roots);
    [[nodiscard]] Status derive_keys(Channel& channel);
    // Signed data are verified in any case.
    [[nodiscard]] bool verifies() const noexcept { return options_.verify || data_keys_; }
    [[nodiscard]] ControlLink::Callbacks control_callbacks();
    void send_open();
    void welcomed(const proto::Welcome& welcome);
    void start_streams();
    void scout_ended(std::optional<Error> error);
    void finish_if_complete();
    void say_if_all_sent();
    void confirmed(const proto::Done& done);
    void fail(Error error, bool said);
    void cancel();
    void stop_threads();

    // push_session_answers.cpp: what the receiver says to what was sent.
    void offer(Chunk entries);
    bool answered(const proto::Verdict& verdict);
    bool present(const proto::Present& message);
    void would_send(const Chunk& entries);
    bool acknowledged(const proto::Ack& message);
    void extent_stored(const Piece& piece, proto::Bytes& out);
    bool arrived_damaged(const proto::Again& message);
    void warn_of_tampering();
    void lost(std::uint32_t connection);
    void drop(std::uint32_t connection);
    void look_after_streams();
    void await_reason();
    void send_digests();
    void file_error(const proto::FileError& message);
    void file_failed(const Error& error);
    void release(std::size_t entries);

    const SenderOptions& options_;
    const proto::Token run_;
    const std::chrono::milliseconds retry_for_;
    RateLimiter* const limiter_;
    SessionEvents& events_;
    const std::string peer_;   // for messages
    const UniqueFd cancel_fd_; // readable once everything shall stop
    Loop& loop_;
    Poster post_;
    SessionResult result_;
    bool over_ = false;

    WorkQueue queue_;
    InFlight in_flight_;
    FoundTotals found_;
    StreamTotals totals_;
    Roots roots_;
    std::optional<DataKeys> data_keys_; // of a session with signed data
    bool roots_listed_ = false;         // in the request, so that the receiver says which are fresh
    std::string host_;                  // the address that the control connection reached
    std::chrono::microseconds round_trip_{0};
    std::string congestion_; // of the data connections
    std::unique_ptr<ControlLink> control_;
    std::unique_ptr<Timer> stream_timer_;
    std::unique_ptr<Timer> reason_timer_; // from when a stream gave up
    std::deque<PendingOffer> offers_;
    std::uint64_t next_offer_id_ = 0;
    std::size_t present_ranges_ = 0; // that offered files hold
    std::uint64_t unchanged_ = 0;    // files and their bytes that the receiver has already
    std::uint64_t unchanged_bytes_ = 0;
    std::uint64_t stored_failures_ = 0; // of result_.failed: files that the receiver named
    bool walked_ = false;
    std::atomic<bool> all_queued_{false}; // the walk is over, and all offers are answered
    bool all_sent_ = false;               // AllSent has been sent, and is not void
    bool finished_ = false;               // Finish has been sent
    std::uint64_t acknowledged_ = 0;      // batches and extents
    std::uint32_t lost_ = 0;              // connections, as the receiver said
    std::optional<Error> ended_stream_;   // the first that gave up
    Clock::time_point answered_at_{};     // the last Welcome, Verdict or Ack
    std::atomic<std::uint64_t> next_file_id_{1};
    std::atomic<std::uint64_t> reused_bytes_{0}; // that need not be sent, of files that are
    std::unique_ptr<ExtentDigests> digests_;
    std::unique_ptr<Compression> compression_;
    std::unique_ptr<Scout> scout_;
    std::unique_ptr<StreamSet> streams_; // last: their threads use all of the above
};

} // namespace sluice
