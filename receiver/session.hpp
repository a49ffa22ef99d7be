// What the connections of one session share, whatever worker they live on.
//
// Thread-safe. The control connection is the session: it creates the Storage, and when it ends, the
// session has ended. Data connections come and go. Whoever learns something that the sender must
// be told leaves it here and wakes the control connection on its own worker.
#pragma once

#include "common/data_keys.hpp"
#include "common/digest.hpp"
#include "common/job_pool.hpp"
#include "common/tls.hpp"
#include "common/usage.hpp"
#include "proto/messages.hpp"
#include "receiver/report.hpp"
#include "receiver/session_limits.hpp"
#include "receiver/storage.hpp"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace sluice {

// A file that could not be stored, on its way to the sender.
struct FailedFile {
    std::string path; // as on the wire
    StoreProblem problem;
};

// What a sender's Error makes of its session.
[[nodiscard]] Error sender_error(const proto::ErrorMessage& message);

class Session : public std::enable_shared_from_this<Session> {
public:
    // `hashing` is borrowed, and stopped before anything that a session refers to goes away. `key`:
    // who opened it; null: nobody had to say.
    Session(std::uint64_t serial, const proto::Token& token, const proto::Token& run,
            std::string peer, JobPool& hashing, SharedKey key = nullptr,
            const SessionLimits& limits = {});
    ~Session();
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;

    [[nodiscard]] std::uint64_t serial() const noexcept { return serial_; }
    [[nodiscard]] const proto::Token& token() const noexcept { return token_; }
    [[nodiscard]] const proto::Token& run() const noexcept { return run_; }
    [[nodiscard]] const std::string& peer() const noexcept { return peer_; }
    [[nodiscard]] const SharedKey& key() const noexcept { return key_; }

    // The control connection's part, before any data connection may join.
    void set_store(std::unique_ptr<Storage> store, bool verify);
    [[nodiscard]] Storage& store() noexcept { return *store_; }
    // Called, on any thread, when the session is over and nobody uses it any more: where its
    // storage goes (null, where it never had one). `keep`: a later session could go on with what is
    // left.
    using Dispose = std::function<void(std::unique_ptr<Storage> store, bool keep)>;
    void set_disposer(Dispose dispose);
    // Called, on any thread, when there is news for the control connection. There may be some
    // already.
    void set_waker(std::function<void()> wake);

    // The same, of a session with signed data: before the sender gets the token.
    void sign(const DataKeys& keys);
    [[nodiscard]] bool is_signed() const;
    // What the frames of the data connection must have in place of digests; empty where data are
    // not signed. Once for each connection.
    [[nodiscard]] proto::FrameCode frame_code(std::uint32_t connection) const;
    // What the digests of payloads are made with; none: XXH3-128.
    [[nodiscard]] std::optional<Secret> payload_key() const;
    // A frame or a payload does not match its digest. Of a payload the source may be to blame,
    // which changed while it was read; of a frame never.
    void note_damage(bool is_frame);

    // Data connections, by the number that the sender gave them. Their sockets are shut down when
    // the session ends. False: it takes none (it has ended or is being published, is a dry run, has
    // proto::kMaxStreams of them, or has had that number). One that has had too many of them in all
    // fails.
    [[nodiscard]] bool add_connection(std::uint32_t number, int socket);
    // The connection has ended, in whatever way. The sender is told once all that came on it has
    // been dealt with.
    void connection_ended(std::uint32_t number);
    // The sender has given it up.
    void drop_connection(std::uint32_t number);

    // A batch, or an extent that needs no digest, is dealt with.
    void acknowledge(std::uint64_t id);
    // All bytes of a raw extent are in its file: compares them with the digest that has come or
    // will come, and then acknowledges it or asks for it again. A Fault: a limit, or a used id.
    struct ArrivedExtent {
        LargeFile* file = nullptr;
        std::uint64_t offset = 0;
        std::uint64_t length = 0;
        std::uint32_t connection = 0;
        // Of its bytes, where it was computed as they came; else they are read back for it.
        std::optional<Digest> digest = std::nullopt;
    };
    [[nodiscard]] proto::Fault verify(std::uint64_t id, const ArrivedExtent& extent);
    [[nodiscard]] proto::Fault expect(const proto::Digests& digests);
    [[nodiscard]] bool verifies() const noexcept { return verify_; }

    // One more file, directory or link comes. False: that is too much, and has failed the session.
    [[nodiscard]] bool take(std::string_view path, std::uint64_t bytes);
    [[nodiscard]] const SessionLimits& limits() const noexcept { return quota_.limits(); }

    // Ends the session; the first reason counts.
    void fail(Error error);
    // A fatal problem fails the session, any other is reported to the sender.
    void file_failed(std::string_view path, const StoreProblem& problem);

    // News for the control connection.
    [[nodiscard]] std::optional<Error> failure() const;
    // One file that could not be stored, nullopt where there is none to tell of.
    [[nodiscard]] std::optional<FailedFile> take_failed_file();
    struct News {
        std::vector<std::uint64_t> stored; // to be acknowledged
        std::vector<proto::Again> again;
        std::vector<std::uint32_t> lost; // connections; to be told after all that is stored
    };
    [[nodiscard]] News take_news();
    // Wakes the control connection without other news.
    void wake();
    // Whether all of AllSent has been dealt with: nothing is under way any more.
    [[nodiscard]] bool has_received(const proto::AllSent& all) const;
    // Nothing more may come: no connection joins from now on, and those that are there lose their
    // sockets. What they have brought already is still dealt with: there is news when all is done.
    void close_to_connections();
    [[nodiscard]] bool has_connections() const;
    // The session is over: no connection may join, those that are there lose their sockets.
    void end();
    // Whether all that the sender will be told has been handed to its connection, which lasts two
    // seconds more at most: the next push may well begin before this end has noticed that it is
    // gone. See SessionLoad.
    void note_last_word(bool said) noexcept { last_word_ = said; }
    [[nodiscard]] bool has_last_word() const noexcept { return last_word_; }

    void charge(const Usage& usage) noexcept { usage_.add(usage); }
    // What a data connection has just brought. `progress_bytes` counts towards min_rate;
    // `under_way`: it is in the middle of a frame or a payload now.
    void count_bytes(std::uint32_t number, const PathBytes& bytes, std::uint64_t progress_bytes,
                     bool under_way) noexcept;
    // Ends the data connections on which a frame or payload has made less than
    // SessionLimits::min_rate in the last `window`. To be called several times in a window.
    void end_slow_connections(std::chrono::steady_clock::time_point now,
                              std::chrono::milliseconds window);
    [[nodiscard]] SessionReport report() const;

private:
    struct DataLink {
        int socket = -1; // -1 once it has ended
        unsigned unverified = 0;
        // For min_rate: bytes since the window began, in the middle of one frame or payload.
        bool under_way = false;
        std::uint64_t window_bytes = 0;
        std::optional<std::chrono::steady_clock::time_point> window_began = std::nullopt;
    };
    struct Check {
        ArrivedExtent extent;
        std::optional<Digest> expected;
        std::optional<RangeDigest> actual;
    };

    void hash(std::uint64_t id, int file, std::uint64_t offset, std::uint64_t length);
    void settle(std::uint64_t id, const Check& check);
    // Both under mutex_. True: the control connection must be woken.
    [[nodiscard]] bool has_news();
    [[nodiscard]] bool forget_if_over(std::uint32_t number);
    void note_lost(std::uint32_t number);
    void shut_connections_down();

    const std::uint64_t serial_;
    const proto::Token token_;
    const proto::Token run_;
    const std::string peer_;
    const SharedKey key_;
    JobPool& hashing_;
    const std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
    std::unique_ptr<Storage> store_;
    bool verify_ = false;
    std::optional<DataKeys> data_keys_; // guarded by mutex_
    Dispose dispose_;
    SessionQuota quota_;
    SharedUsage usage_;
    std::atomic<std::uint64_t> failed_{0};
    std::atomic<std::uint64_t> damaged_{0};
    std::atomic<bool> warned_{false}; // of damage
    std::atomic<bool> last_word_{false};

    mutable std::mutex mutex_; // guards everything below
    std::function<void()> wake_;
    bool woken_ = false; // since take_news()
    bool ended_ = false;
    bool closed_ = false; // to connections
    std::optional<Error> failure_;
    std::deque<FailedFile> failed_files_;
    std::size_t failed_bytes_ = 0; // of their paths and texts
    std::unordered_map<std::uint32_t, DataLink> connections_;
    std::unordered_set<std::uint32_t> used_numbers_;
    std::unordered_map<std::uint64_t, Check> checks_;
    std::map<std::uint64_t, Digest> early_digests_; // came before their extents
    News news_;
    std::uint64_t acknowledged_ = 0; // in all news, also those that are yet to be told
    std::uint32_t lost_ = 0;
    PathBytes bytes_;
};

} // namespace sluice
