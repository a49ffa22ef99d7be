// The control connection of a session, which is the session as far as its sender is concerned.
//
//     Opening --leftovers adopted--> Receiving --finish, or all that was sent has arrived-->
//     Finishing --all files ended--> Publishing --published--> Ending
//     any state --failure--> Ending
//
// Opening: what an earlier session left is being looked through. Receiving: offers are answered,
// what arrived is acknowledged; the sender may have said what is all of it. Finishing: files are
// being synced, data connections are being closed. Publishing: what was staged is being made to
// appear. Ending: the last frame (Done or Error) is on its way; when it is out, the session has
// ended. What may take long is done by a job on another thread, so that the sender goes on hearing
// from this end.
#pragma once

#include "common/channel.hpp"
#include "common/job_pool.hpp"
#include "common/loop.hpp"
#include "proto/frame_reader.hpp"
#include "receiver/digest_file.hpp"
#include "receiver/farewell.hpp"
#include "receiver/options.hpp"
#include "receiver/session.hpp"
#include "receiver/worker.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <variant>

namespace sluice {

class ControlConnection final : public Connection {
public:
    // Called on the worker's thread.
    struct Callbacks {
        std::function<void(const FailedFile&)> file_failed;
        // These two on the thread of a chore.
        std::function<void(const ListedFile&)> file_listed; // may be empty
        std::function<void(const std::string&)> notice;
        std::function<void(const SessionReport&)> ended; // once, after the last word
    };

    // What all sessions of a receiver share. Borrowed; `chores` is stopped before the workers go.
    struct Settings {
        // Where what a session brings goes; an Error refuses the session.
        std::function<Result<std::unique_ptr<Storage>>(const Session& session,
                                                       const proto::Open& request)>
            open_storage;
        std::chrono::milliseconds timeout; // a sender that is silent for so long is gone; 0: never
        JobPool& chores;                   // for what may take long
        DigestFile* digests;               // null: not wanted
    };

    ControlConnection(Worker& worker, std::shared_ptr<Session> session, Channel channel,
                      const Settings& settings, Callbacks callbacks);
    ~ControlConnection() override;

    // Answers the Open in `body`: with a Welcome, or with an error that ends the session.
    void open(proto::ByteView body);

    // The session has news (Session::set_waker).
    void on_news();

private:
    struct Opening {};
    struct Receiving {
        std::optional<proto::AllSent> all_sent;
    };
    struct Finishing {
        std::uint64_t files; // that the sender has sent
    };
    struct Publishing {};
    struct Ending {};

    void on_ready(Readiness ready);
    [[nodiscard]] bool read_frame();
    [[nodiscard]] proto::Fault handle_frame();
    [[nodiscard]] proto::Fault on_offer();
    [[nodiscard]] proto::Fault on_all_sent();
    [[nodiscard]] proto::Fault on_finish();
    [[nodiscard]] proto::Fault handle_late_frame();
    [[nodiscard]] proto::Fault on_file_end();
    [[nodiscard]] proto::Fault on_error();
    void welcome();
    // Fetches the keys of signed data, if that is what the request wants.
    [[nodiscard]] Status take_keys(const proto::Open& request);
    void file_ended(const Storage::EndedFile& ended);
    void on_published(const Status& published);
    // Runs `work` on another thread, and `then` on this one if the connection is still there.
    void run_aside(std::function<void(Session&)> work, std::function<void()> then);
    void send_news(std::size_t max_pending_bytes);
    void on_tick();
    void start_ticking(std::uint32_t sender_timeout_ms);
    [[nodiscard]] std::chrono::milliseconds progress_window() const;
    // Until that much waits to be sent; the rest stays with the session.
    void send_failed_files(std::size_t max_pending_bytes);
    // Whether all that the sender has announced is here.
    [[nodiscard]] bool has_everything() const;
    void finish_if_all_arrived();
    void begin_finishing(std::uint64_t files);
    void publish_if_finished();
    void send_done();
    void fail(const Error& error);
    void end_without_answer();
    void flush();
    void say_goodbye();
    void end();

    Worker& worker_;
    std::shared_ptr<Session> session_;
    Channel channel_;
    proto::FrameReader reader_;
    std::variant<Opening, Receiving, Finishing, Publishing, Ending> state_;
    proto::Bytes out_;
    std::size_t out_sent_ = 0;
    const Settings settings_;
    Callbacks callbacks_;
    std::string destination_;                   // for the report
    std::chrono::milliseconds sender_retry_{0}; // the same
    bool dry_run_ = false;
    unsigned files_ending_ = 0; // aside
    // It went on without waiting for the Finish that says so many files.
    std::optional<std::uint64_t> finish_to_come_;
    std::chrono::milliseconds ping_interval_{0};
    std::chrono::steady_clock::time_point last_heard_ = std::chrono::steady_clock::now();
    std::chrono::steady_clock::time_point last_sent_ = last_heard_;
    std::chrono::steady_clock::time_point last_news_{};
    Timer tick_;       // for time-outs and pings
    Timer news_timer_; // acknowledgements are gathered until then
    std::shared_ptr<ControlConnection*> self_ = std::make_shared<ControlConnection*>(this);
    NextTurn next_turn_;         // for what the channel holds already
    std::unique_ptr<Poll> poll_; // null once the last word is being said
    std::unique_ptr<Farewell> farewell_;
};

} // namespace sluice
