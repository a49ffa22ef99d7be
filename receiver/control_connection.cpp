#include "receiver/control_connection.hpp"

#include "common/exit_code.hpp"
#include "common/text.hpp"
#include "common/usage.hpp"
#include "common/version.hpp"

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <fmt/format.h>
#include <sys/socket.h>
#include <utility>

namespace sluice {

namespace {

// Answers that the sender has not taken yet; beyond this its offers have to wait.
constexpr std::size_t kMaxPendingBytes = std::size_t{256} << 10;
// Frames that are handled before other connections of the worker get their turn.
constexpr int kFramesPerTurn = 16;

} // namespace

ControlConnection::ControlConnection(Worker& worker, std::shared_ptr<Session> session,
                                     UniqueFd socket, Callbacks callbacks)
    : worker_(worker), session_(std::move(session)), socket_(std::move(socket)),
      reader_(proto::Role::control, false), callbacks_(std::move(callbacks)) {
    poll_ = std::make_unique<Poll>(worker_.loop(), socket_.get(),
                                   [this](Readiness ready) { on_ready(ready); });
    poll_->wait_for({true, false});
    // News may come when this connection is gone; only this worker's thread looks at *self_.
    session_->set_waker([&target = worker_, self = self_] {
        target.post([self] {
            if (*self != nullptr) {
                (*self)->on_news();
            }
        });
    });
}

ControlConnection::~ControlConnection() {
    *self_ = nullptr;
    session_->end();
}

void ControlConnection::open(const ReceiverRoot& root, std::uint64_t min_free_bytes,
                             proto::ByteView body) {
    if (const std::optional<Error> failure = session_->failure(); failure) {
        fail(*failure); // stopped before it began
        return;
    }
    proto::Open request;
    if (const auto fault = proto::decode(body, request); fault != proto::Fault::none) {
        fail({fault >= proto::Fault::path_empty && fault <= proto::Fault::path_reserved
                  ? ErrorKind::refused
                  : ErrorKind::protocol,
              fmt::format("the request was refused: {}", proto::describe(fault))});
        return;
    }
    destination_ = escape(request.destination);
    dry_run_ = (request.flags & proto::kOpenDryRun) != 0;
    Result<std::unique_ptr<Store>> store =
        Store::open(root, session_->serial(), request, min_free_bytes);
    if (!store) {
        fail(store.error());
        return;
    }
    session_->set_store(std::move(*store));
    proto::Welcome welcome;
    welcome.token = session_->token();
    welcome.fresh = session_->store().fresh_roots();
    welcome.software = kSoftwareName;
    proto::encode(welcome, out_);
    flush();
    worker_.charge(*session_);
}

void ControlConnection::on_news() {
    if (std::holds_alternative<Ending>(state_)) {
        return;
    }
    if (std::optional<Error> failure = session_->failure(); failure) {
        fail(*failure);
        return;
    }
    send_failed_files(kMaxPendingBytes);
    publish_if_finished();
    flush();
}

void ControlConnection::on_ready(Readiness ready) {
    if (ready.writable) {
        flush();
        if (!std::holds_alternative<Ending>(state_)) {
            send_failed_files(kMaxPendingBytes);
        }
    }
    if (ready.readable && poll_) {
        for (int frames = 0; frames < kFramesPerTurn && read_frame();) {
            frames += reader_.at_boundary() ? 1 : 0;
        }
        flush();
    }
    worker_.charge(*session_);
}

bool ControlConnection::read_frame() {
    if (!poll_ || std::holds_alternative<Ending>(state_) ||
        out_.size() - out_sent_ > kMaxPendingBytes) {
        return false;
    }
    const auto space = reader_.space();
    count_system_call();
    const ssize_t got = ::recv(socket_.get(), space.data(), space.size(), 0);
    if (got <= 0) {
        if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
            return errno == EINTR;
        }
        fail({ErrorKind::network, "the sender disconnected before it was done"});
        return false;
    }
    proto::Fault fault = reader_.commit(static_cast<std::size_t>(got));
    if (fault == proto::Fault::none && reader_.frame_ready()) {
        fault = handle_frame();
        reader_.next();
    }
    if (fault != proto::Fault::none) {
        fail({ErrorKind::protocol,
              fmt::format("the sender broke the protocol: {}", proto::describe(fault))});
    }
    return fault == proto::Fault::none;
}

proto::Fault ControlConnection::handle_frame() {
    const bool receiving = std::holds_alternative<Receiving>(state_);
    switch (reader_.type()) {
    case proto::FrameType::offer: return receiving ? on_offer() : proto::Fault::misplaced_frame;
    case proto::FrameType::finish: return receiving ? on_finish() : proto::Fault::misplaced_frame;
    case proto::FrameType::file_abort: return on_file_abort();
    case proto::FrameType::error: return on_error();
    default: return proto::Fault::misplaced_frame;
    }
}

proto::Fault ControlConnection::on_offer() {
    proto::Offer offer;
    if (const auto fault = proto::decode(reader_.body(), offer); fault != proto::Fault::none) {
        return fault;
    }
    proto::Bytes wanted((offer.entries.size() + 7) / 8);
    for (std::size_t index = 0; index < offer.entries.size(); ++index) {
        if (session_->store().wants(offer.entries[index], worker_.tools().directories)) {
            wanted[index / 8] |= std::byte{1} << (index % 8);
        }
    }
    proto::encode(
        proto::Verdict{offer.first_id, static_cast<std::uint16_t>(offer.entries.size()), wanted},
        out_);
    return proto::Fault::none;
}

proto::Fault ControlConnection::on_finish() {
    proto::Finish finish;
    const auto fault = proto::decode(reader_.body(), finish);
    if (fault == proto::Fault::none) {
        state_ = Finishing{finish};
        publish_if_finished();
    }
    return fault;
}

proto::Fault ControlConnection::on_file_abort() {
    proto::FileAbort message;
    const auto fault = proto::decode(reader_.body(), message);
    return fault == proto::Fault::none ? session_->store().abort_file(message.file_id) : fault;
}

proto::Fault ControlConnection::on_error() {
    proto::ErrorMessage message;
    const auto fault = proto::decode(reader_.body(), message);
    if (fault == proto::Fault::none) {
        session_->fail(sender_error(message));
        end_without_answer();
    }
    return fault;
}

void ControlConnection::send_failed_files(std::size_t max_pending_bytes) {
    while (out_.size() - out_sent_ <= max_pending_bytes) {
        const std::optional<FailedFile> failed = session_->take_failed_file();
        if (!failed) {
            return;
        }
        callbacks_.file_failed(*failed);
        proto::encode(proto::FileError{failed->problem.fault, failed->problem.error_number,
                                       failed->path, failed->problem.text},
                      out_);
    }
}

void ControlConnection::publish_if_finished() {
    const Finishing* const finishing = std::get_if<Finishing>(&state_);
    if (finishing == nullptr) {
        return;
    }
    switch (session_->finish_streams(finishing->finish.streams)) {
    case Session::Streams::waiting: return;
    case Session::Streams::complete: break;
    case Session::Streams::too_many:
        fail({ErrorKind::protocol, "the sender finished before all of its data connections", 0});
        return;
    }
    if (const std::optional<Error> failure = session_->failure(); failure) {
        fail(*failure); // its news may still be on the way
        return;
    }
    const std::uint64_t settled = session_->store().counts().settled;
    if (settled != finishing->finish.files) {
        fail({ErrorKind::protocol, fmt::format("the sender sent {} files, but {} arrived",
                                               finishing->finish.files, settled)});
        return;
    }
    if (session_->store().has_unfinished_files()) {
        fail({ErrorKind::protocol, "the sender finished, but not all of its files", 0});
        return;
    }
    const Status published =
        session_->store().publish([this](const std::string& path, const StoreProblem& problem) {
            session_->file_failed(path, problem);
        });
    if (!published) {
        fail(published.error());
        return;
    }
    if (std::optional<Error> failure = session_->failure(); failure) {
        fail(*failure); // a fatal problem while publishing
        return;
    }
    // All of them: after Done there is no other chance, and the session keeps a few MiB at most.
    send_failed_files(SIZE_MAX);
    send_done();
}

void ControlConnection::send_done() {
    worker_.charge(*session_);
    const SessionReport report = session_->report();
    proto::Done done;
    done.files = report.files;
    done.unchanged = report.unchanged;
    done.directories = report.directories;
    done.symlinks = report.symlinks;
    done.failed = report.failed;
    done.bytes_spliced = report.bytes.zero_copy;
    done.bytes_copied = report.bytes.copied;
    done.bytes_inline = report.bytes.inlined;
    done.bytes_decompressed = report.bytes.compressed;
    done.cpu_us = report.usage.cpu_us;
    done.system_calls = report.usage.system_calls;
    done.context_switches = report.usage.context_switches;
    proto::encode(done, out_);
    state_ = Ending{};
}

// An Error is not answered.
void ControlConnection::end_without_answer() {
    state_ = Ending{};
    session_->end();
    poll_.reset();
    end();
}

void ControlConnection::fail(const Error& error) {
    if (std::holds_alternative<Ending>(state_)) {
        return;
    }
    session_->fail(error); // where the failure began here
    const proto::Bytes frame = error_frame(error);
    out_.insert(out_.end(), frame.begin(), frame.end());
    state_ = Ending{};
    session_->end();
    flush();
}

void ControlConnection::flush() {
    if (!poll_) {
        return;
    }
    while (out_sent_ < out_.size()) {
        count_system_call();
        const ssize_t sent =
            ::send(socket_.get(), out_.data() + out_sent_, out_.size() - out_sent_, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) {
            continue;
        }
        if (sent < 0 && errno == EAGAIN) {
            break;
        }
        if (sent < 0) { // nobody is there to hear the rest
            out_sent_ = out_.size();
            fail({ErrorKind::network, "the sender disconnected before it was done"});
            break;
        }
        out_sent_ += static_cast<std::size_t>(sent);
    }
    if (!poll_) {
        return; // a failure in between has said good-bye
    }
    const bool pending = out_sent_ < out_.size();
    if (!pending) {
        out_.clear();
        out_sent_ = 0;
        if (std::holds_alternative<Ending>(state_)) {
            say_goodbye();
            return;
        }
    }
    poll_->wait_for({out_.size() - out_sent_ <= kMaxPendingBytes, pending});
}

void ControlConnection::say_goodbye() {
    session_->end();
    poll_.reset(); // one watcher per descriptor
    farewell_ = std::make_unique<Farewell>(worker_.loop(), std::move(socket_), proto::Bytes{},
                                           [this](Farewell*) { end(); });
}

void ControlConnection::end() {
    SessionReport report = session_->report();
    report.destination = destination_;
    report.dry_run = dry_run_;
    callbacks_.ended(report);
    worker_.drop(this);
}

} // namespace sluice
