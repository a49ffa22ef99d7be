#include "receiver/control_connection.hpp"

#include "common/exit_code.hpp"
#include "common/text.hpp"
#include "common/usage.hpp"
#include "common/version.hpp"

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <fmt/format.h>
#include <sys/socket.h>
#include <utility>

namespace sluice {

namespace {

// Answers that the sender has not taken yet; beyond this its offers have to wait.
constexpr std::size_t kMaxPendingBytes = std::size_t{256} << 10;
// Ranges in the answers to one offer: 1 MiB. One path may be offered many times.
constexpr std::size_t kMaxRangesPerOffer = 65'536;
// Frames that are handled before other connections of the worker get their turn.
constexpr int kFramesPerTurn = 16;
// Acknowledgements are sent at most so often.
constexpr std::chrono::milliseconds kNewsInterval{5};
// So that one ping may be lost on the way.
constexpr int kPingsPerTimeout = 4;
constexpr int kTicksPerTimeout = 20;
// Where there is no time-out to average progress over.
constexpr std::chrono::milliseconds kProgressWindow{30'000};

} // namespace

ControlConnection::ControlConnection(Worker& worker, std::shared_ptr<Session> session,
                                     Channel channel, const Settings& settings, Callbacks callbacks)
    : worker_(worker), session_(std::move(session)), channel_(std::move(channel)),
      reader_(proto::Role::control, false), settings_(settings), callbacks_(std::move(callbacks)),
      tick_(worker_.loop(), [this] { on_tick(); }),
      news_timer_(worker_.loop(), [this] { on_news(); }), next_turn_(worker_.loop(), [this] {
          on_ready({true, false});
      }) {
    poll_ = std::make_unique<Poll>(worker_.loop(), channel_.fd(),
                                   [this](Readiness ready) { on_ready(ready); });
    poll_->wait_for({true, false});
    if (channel_.holds_bytes()) {
        next_turn_.ask();
    }
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

void ControlConnection::run_aside(std::function<void(Session&)> work, std::function<void()> then) {
    settings_.chores.post([session = session_, &target = worker_, self = self_,
                           work = std::move(work), then = std::move(then)] {
        const Usage before = thread_usage();
        work(*session);
        session->charge(thread_usage() - before);
        target.post([self, then] {
            if (*self != nullptr) {
                then();
            }
        });
    });
}

void ControlConnection::open(proto::ByteView body) {
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
    sender_retry_ = std::chrono::milliseconds(request.retry_ms);
    dry_run_ = (request.flags & proto::kOpenDryRun) != 0;
    if (Status taken = take_keys(request); !taken) {
        fail(taken.error());
        return;
    }
    Result<std::unique_ptr<Storage>> store = settings_.open_storage(*session_, request);
    if (!store) {
        fail(store.error());
        return;
    }
    session_->set_store(std::move(*store), (request.flags & proto::kOpenVerify) != 0);
    start_ticking(request.timeout_ms);
    if (session_->store().may_adopt()) {
        run_aside([](Session& session) { session.store().adopt(); }, [this] { welcome(); });
    } else {
        welcome();
    }
    worker_.charge(*session_);
}

Status ControlConnection::take_keys(const proto::Open& request) {
    if ((request.flags & proto::kOpenSigned) == 0) {
        return ok();
    }
    // The keys come out of TLS, and payloads that nobody verifies need none.
    if (channel_.tls() == nullptr || (request.flags & proto::kOpenVerify) == 0) {
        return Error{ErrorKind::protocol,
                     "signed data need a control connection in TLS, and to be verified"};
    }
    const Result<DataKeys> keys = DataKeys::derive(*channel_.tls());
    if (!keys) {
        return keys.error();
    }
    session_->sign(*keys);
    return ok();
}

void ControlConnection::welcome() {
    if (!std::holds_alternative<Opening>(state_)) {
        return; // it has failed meanwhile
    }
    state_ = Receiving{};
    proto::Welcome welcome;
    welcome.token = session_->token();
    welcome.timeout_ms = static_cast<std::uint32_t>(settings_.timeout.count());
    welcome.flags = session_->store().discards() ? proto::kWelcomeDiscards : 0U;
    welcome.fresh = session_->store().fresh_roots();
    welcome.software = kSoftwareName;
    proto::encode(welcome, out_);
    flush();
}

// Often enough for the more impatient of the two, and for oneself to notice within a tenth.
void ControlConnection::start_ticking(std::uint32_t sender_timeout_ms) {
    const std::chrono::milliseconds sender(sender_timeout_ms);
    std::chrono::milliseconds shortest = settings_.timeout;
    if (sender.count() != 0 && (shortest.count() == 0 || sender < shortest)) {
        shortest = sender;
    }
    if (shortest.count() != 0) {
        ping_interval_ = std::max(shortest / kPingsPerTimeout, std::chrono::milliseconds{1});
    } else if (session_->limits().min_rate != 0) {
        shortest = progress_window();
    } else {
        return; // nothing to look after
    }
    const auto tick = std::max(shortest / kTicksPerTimeout, std::chrono::milliseconds{1});
    tick_.start(tick, tick);
}

// Over which the rate of a data connection is averaged.
std::chrono::milliseconds ControlConnection::progress_window() const {
    return settings_.timeout.count() != 0 ? settings_.timeout : kProgressWindow;
}

void ControlConnection::on_tick() {
    const auto now = std::chrono::steady_clock::now();
    if (std::holds_alternative<Ending>(state_)) {
        // A farewell has its own time, but it does not begin while nobody takes what is before it.
        if (!farewell_ && settings_.timeout.count() != 0 && now - last_sent_ > settings_.timeout) {
            end_without_answer();
        }
        return;
    }
    if (settings_.timeout.count() != 0 && now - last_heard_ > settings_.timeout) {
        fail({ErrorKind::timed_out,
              fmt::format("the sender was silent for {}",
                          format_seconds(static_cast<double>(settings_.timeout.count()) / 1000))});
        return;
    }
    if (session_->limits().min_rate != 0) {
        session_->end_slow_connections(now, progress_window());
    }
    if (ping_interval_.count() != 0 && now - last_sent_ >= ping_interval_ && out_.empty()) {
        proto::encode_ping(out_);
        flush();
    }
}

// At once, or, where the last news went out a moment ago, gathered with what comes in between: to
// wake this thread and the sender for every batch would cost more than the batch.
void ControlConnection::on_news() {
    if (std::holds_alternative<Ending>(state_)) {
        return;
    }
    if (std::optional<Error> failure = session_->failure(); failure) {
        fail(*failure);
        return;
    }
    const auto now = std::chrono::steady_clock::now();
    const bool last = std::holds_alternative<Finishing>(state_) || has_everything();
    if (!last && now - last_news_ < kNewsInterval) {
        news_timer_.start(kNewsInterval);
        return;
    }
    last_news_ = now;
    send_failed_files(kMaxPendingBytes);
    send_news(kMaxPendingBytes);
    finish_if_all_arrived();
    publish_if_finished();
    flush();
}

// Until the sender takes what is pending the rest stays with the session.
void ControlConnection::send_news(std::size_t max_pending_bytes) {
    if (out_.size() - out_sent_ > max_pending_bytes) {
        return;
    }
    const Session::News news = session_->take_news();
    for (std::size_t begin = 0; begin < news.stored.size(); begin += proto::kMaxAcks) {
        const auto first = news.stored.begin() + static_cast<std::ptrdiff_t>(begin);
        const std::size_t count = std::min(proto::kMaxAcks, news.stored.size() - begin);
        proto::encode(proto::Ack{{first, first + static_cast<std::ptrdiff_t>(count)}}, out_);
    }
    for (const proto::Again& again : news.again) {
        proto::encode(again, out_);
    }
    for (const std::uint32_t connection : news.lost) {
        proto::encode(proto::Lost{connection}, out_);
    }
}

void ControlConnection::on_ready(Readiness ready) {
    if (ready.writable) {
        flush();
        if (!std::holds_alternative<Ending>(state_)) {
            send_failed_files(kMaxPendingBytes);
            send_news(kMaxPendingBytes);
            flush();
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
    const ssize_t got = channel_.recv(space);
    if (got <= 0) {
        if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
            return errno == EINTR;
        }
        fail({ErrorKind::network,
              got < 0 && errno == EPROTO
                  ? "the control connection delivered what its sender has not sent"
                  : "the sender disconnected before it was done"});
        return false;
    }
    last_heard_ = std::chrono::steady_clock::now();
    proto::Fault fault = reader_.commit(static_cast<std::size_t>(got));
    if (fault == proto::Fault::corrupted) {
        fail({ErrorKind::network, "the control connection delivered damaged bytes"});
        return false;
    }
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
    if (reader_.type() == proto::FrameType::error) {
        return on_error();
    }
    if (reader_.type() == proto::FrameType::ping) {
        return proto::Fault::none;
    }
    if (!std::holds_alternative<Receiving>(state_)) {
        return handle_late_frame();
    }
    // Decodes, and carries out where that went well.
    const auto take = [this]<typename Message>(Message message, const auto& carry_out) {
        const auto fault = proto::decode(reader_.body(), message);
        return fault == proto::Fault::none ? carry_out(message) : fault;
    };
    switch (reader_.type()) {
    case proto::FrameType::offer: return on_offer();
    case proto::FrameType::all_sent: return on_all_sent();
    case proto::FrameType::finish: return on_finish();
    case proto::FrameType::file_end: return on_file_end();
    case proto::FrameType::digests:
        return take(proto::Digests{},
                    [this](const proto::Digests& digests) { return session_->expect(digests); });
    case proto::FrameType::file_abort:
        return take(proto::FileAbort{}, [this](const proto::FileAbort& message) {
            return session_->store().abort_file(message.file_id);
        });
    case proto::FrameType::drop:
        return take(proto::Drop{}, [this](const proto::Drop& message) {
            session_->drop_connection(message.connection);
            return proto::Fault::none;
        });
    default: return proto::Fault::misplaced_frame;
    }
}

proto::Fault ControlConnection::on_offer() {
    proto::Offer offer;
    if (const auto fault = proto::decode(reader_.body(), offer); fault != proto::Fault::none) {
        return fault;
    }
    proto::Bytes wanted((offer.entries.size() + 7) / 8);
    std::size_t ranges_left = kMaxRangesPerOffer;
    for (std::size_t index = 0; index < offer.entries.size(); ++index) {
        proto::Present present;
        if (!session_->store().wants(offer.entries[index], worker_.tools().directories,
                                     present.ranges)) {
            continue;
        }
        wanted[index / 8] |= std::byte{1} << (index % 8);
        // Very many pieces: those that do not fit into one frame, or into all answers to one offer,
        // are sent again.
        present.ranges.resize(std::min({present.ranges.size(), proto::kMaxRanges, ranges_left}));
        ranges_left -= present.ranges.size();
        if (!present.ranges.empty()) {
            present.id = offer.first_id + index;
            proto::encode(present, out_);
        }
    }
    proto::encode(
        proto::Verdict{offer.first_id, static_cast<std::uint16_t>(offer.entries.size()), wanted},
        out_);
    return proto::Fault::none;
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

// An Error is not answered.
void ControlConnection::end_without_answer() {
    state_ = Ending{};
    session_->note_last_word(true);
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
    const bool last = std::holds_alternative<Ending>(state_);
    session_->note_last_word(last); // before the sender can know
    while (out_sent_ < out_.size()) {
        const ssize_t sent = channel_.send(std::span(out_).subspan(out_sent_));
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
        last_sent_ = std::chrono::steady_clock::now();
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
    session_->note_last_word(false);
    const bool reads = !last && out_.size() - out_sent_ <= kMaxPendingBytes;
    poll_->wait_for({reads, pending});
    if (reads && channel_.holds_bytes()) {
        channel_.shrink();
        next_turn_.ask();
    }
}

void ControlConnection::say_goodbye() {
    session_->end();
    tick_.stop();
    poll_.reset(); // one watcher per descriptor
    farewell_ = std::make_unique<Farewell>(worker_.loop(), std::move(channel_), proto::Bytes{},
                                           [this](Farewell*) { end(); });
}

void ControlConnection::end() {
    SessionReport report = session_->report();
    report.destination = destination_;
    report.dry_run = dry_run_;
    report.sender_retry = sender_retry_;
    callbacks_.ended(report);
    worker_.drop(this);
}

} // namespace sluice
