// The control connection of a session, which is the session as far as its sender is concerned.
//
//     Receiving --finish--> Finishing --all streams ended, published--> Ending
//     any state --failure--> Ending
//
// Receiving: offers are answered. Finishing: the data connections are still being read. Ending:
// the last frame (Done or Error) is on its way; when it is out, the session has ended.
#pragma once

#include "common/loop.hpp"
#include "common/unique_fd.hpp"
#include "proto/frame_reader.hpp"
#include "receiver/farewell.hpp"
#include "receiver/options.hpp"
#include "receiver/session.hpp"
#include "receiver/work_area.hpp"
#include "receiver/worker.hpp"

#include <cstddef>
#include <functional>
#include <memory>
#include <variant>

namespace sluice {

class ControlConnection final : public Connection {
public:
    // Called on the worker's thread.
    struct Callbacks {
        std::function<void(const FailedFile&)> file_failed;
        std::function<void(const SessionReport&)> ended; // once, after the last word
    };

    ControlConnection(Worker& worker, std::shared_ptr<Session> session, UniqueFd socket,
                      Callbacks callbacks);
    ~ControlConnection() override;

    // Answers the Open in `body`: with a Welcome, or with an error that ends the session.
    void open(const ReceiverRoot& root, std::uint64_t min_free_bytes, proto::ByteView body);

    // The session has news (Session::set_waker).
    void on_news();

private:
    struct Receiving {};
    struct Finishing {
        proto::Finish finish;
    };
    struct Ending {};

    void on_ready(Readiness ready);
    [[nodiscard]] bool read_frame();
    [[nodiscard]] proto::Fault handle_frame();
    [[nodiscard]] proto::Fault on_offer();
    [[nodiscard]] proto::Fault on_finish();
    [[nodiscard]] proto::Fault on_file_abort();
    [[nodiscard]] proto::Fault on_error();
    // Until that much waits to be sent; the rest stays with the session.
    void send_failed_files(std::size_t max_pending_bytes);
    void publish_if_finished();
    void send_done();
    void fail(const Error& error);
    void end_without_answer();
    void flush();
    void say_goodbye();
    void end();

    Worker& worker_;
    std::shared_ptr<Session> session_;
    UniqueFd socket_;
    proto::FrameReader reader_;
    std::variant<Receiving, Finishing, Ending> state_;
    proto::Bytes out_;
    std::size_t out_sent_ = 0;
    Callbacks callbacks_;
    std::string destination_; // for the report
    bool dry_run_ = false;
    std::shared_ptr<ControlConnection*> self_ = std::make_shared<ControlConnection*>(this);
    std::unique_ptr<Poll> poll_; // null once the last word is being said
    std::unique_ptr<Farewell> farewell_;
};

} // namespace sluice
