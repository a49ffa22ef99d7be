// What the connections of one session share, whatever worker they live on.
//
// Thread-safe. The control connection is the session: it creates the Store, and when it ends, the
// session has ended. Data connections come and go. Whoever learns something that the sender must
// be told leaves it here and wakes the control connection on its own worker.
#pragma once

#include "common/usage.hpp"
#include "proto/messages.hpp"
#include "receiver/report.hpp"
#include "receiver/store.hpp"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_set>

namespace sluice {

// A file that could not be stored, on its way to the sender.
struct FailedFile {
    std::string path; // as on the wire
    StoreProblem problem;
};

// What a sender's Error makes of its session.
[[nodiscard]] Error sender_error(const proto::ErrorMessage& message);

class Session {
public:
    Session(std::uint64_t serial, const proto::Token& token, std::string peer);
    ~Session();
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;

    [[nodiscard]] std::uint64_t serial() const noexcept { return serial_; }
    [[nodiscard]] const proto::Token& token() const noexcept { return token_; }
    [[nodiscard]] const std::string& peer() const noexcept { return peer_; }

    // The control connection's part, before any data connection may join.
    void set_store(std::unique_ptr<Store> store) { store_ = std::move(store); }
    [[nodiscard]] Store& store() noexcept { return *store_; }
    // Where the Store goes when the session is over and nobody uses it any more, for
    // abandon() to remove what is left.
    void set_disposer(std::function<void(std::unique_ptr<Store>)> dispose);
    // Called, on any thread, when there is news for the control connection. There may be some
    // already.
    void set_waker(std::function<void()> wake);

    // Data connections: their sockets are shut down when the session ends. False: it takes none (it
    // has ended or is being published, is a dry run, or has proto::kMaxStreams of them).
    [[nodiscard]] bool add_connection(int socket);
    void remove_connection(int socket);
    void stream_ended();

    // Ends the session; the first reason counts.
    void fail(Error error);
    // A fatal problem fails the session, any other is reported to the sender.
    void file_failed(std::string_view path, const StoreProblem& problem);

    // News for the control connection.
    [[nodiscard]] std::optional<Error> failure() const;
    // One file that could not be stored, nullopt where there is none to tell of.
    [[nodiscard]] std::optional<FailedFile> take_failed_file();
    // Whether as many data connections as the sender's Finish says have joined and ended.
    // `complete` is said once, and from then on none may join.
    enum class Streams : std::uint8_t { waiting, complete, too_many };
    [[nodiscard]] Streams finish_streams(std::uint64_t streams);
    // The session is over: no connection may join, those that are there lose their sockets.
    void end();

    void charge(const Usage& usage) noexcept { usage_.add(usage); }
    void count_bytes(const PathBytes& bytes) noexcept;
    [[nodiscard]] SessionReport report() const;

private:
    void wake();

    const std::uint64_t serial_;
    const proto::Token token_;
    const std::string peer_;
    const std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
    std::unique_ptr<Store> store_;
    std::function<void(std::unique_ptr<Store>)> dispose_;
    SharedUsage usage_;
    std::atomic<std::uint64_t> failed_{0};

    mutable std::mutex mutex_; // guards everything below
    std::function<void()> wake_;
    bool ended_ = false;
    std::optional<Error> failure_;
    std::deque<FailedFile> failed_files_;
    std::size_t failed_bytes_ = 0; // of their paths and texts
    std::uint64_t streams_joined_ = 0;
    std::uint64_t streams_ended_ = 0;
    bool finished_ = false; // all streams have ended
    std::unordered_set<int> sockets_;
    PathBytes bytes_;
};

} // namespace sluice
