#include "sender/sender.hpp"

#include "common/loop.hpp"
#include "common/text.hpp"
#include "common/version.hpp"
#include "sender/control_link.hpp"
#include "sender/data_stream.hpp"
#include "sender/scout.hpp"

#include <csignal>
#include <deque>
#include <fmt/format.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <utility>

namespace sluice {

namespace {

// Entries between the walk and the streams: bounds the memory, and how many files can be under way
// in one round trip.
constexpr std::size_t kMaxEntriesUnderWay = 16'384;
constexpr std::chrono::milliseconds kProgressInterval{200};
// When a data connection breaks, the control connection usually brings the reason. Wait for it.
constexpr std::chrono::milliseconds kReasonGrace{2'000};

} // namespace

// Lives on the thread of run(); the scout and the streams post to its loop.
//
// Scouting --connected--> Opening --welcome--> Sending --all streams ended--> Confirming --done-->
// over Any failure leads to over at once.
class Sender::Engine {
public:
    Engine(SenderOptions options, SenderObserver& observer)
        : options_(std::move(options)), observer_(observer),
          cancel_fd_(UniqueFd::adopt(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK))),
          queue_(kMaxEntriesUnderWay) {}
    ~Engine() { cancel(); }
    Engine(const Engine&) = delete;
    Engine& operator=(const Engine&) = delete;

    SenderReport run(bool handle_signals);
    void stop() {
        loop_.post([this] { fail({ErrorKind::interrupted, "interrupted", 0}); });
    }

private:
    // Offered files that wait for the receiver's verdict.
    struct PendingOffer {
        std::uint64_t first_id;
        Chunk entries;
    };

    void start_scout();
    void connected(UniqueFd socket, std::vector<std::shared_ptr<const SourceRoot>> roots);
    void send_open(const std::vector<std::shared_ptr<const SourceRoot>>& roots);
    void welcomed(const proto::Welcome& welcome);
    void start_streams(const proto::Token& token);
    void offer(Chunk entries);
    bool answered(const proto::Verdict& verdict);
    void would_send(const Chunk& entries);
    void scout_ended(std::optional<Error> error);
    void close_queue_if_complete();
    void stream_ended(std::optional<Error> error);
    void finish_if_complete();
    void confirmed(const proto::Done& done);
    void file_error(const proto::FileError& message);
    void file_failed(const Error& error);
    void fail(Error error);
    void fail_unless_explained(Error error);
    void over();
    void cancel();
    [[nodiscard]] ProgressSample sample() const;
    void fill_report();

    const SenderOptions options_;
    SenderObserver& observer_;
    const UniqueFd cancel_fd_; // readable once everything shall stop
    const std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
    SenderReport report_;
    std::uint64_t failed_changed_ = 0;  // of report_.failed: sources that vanished or changed
    std::uint64_t stored_failures_ = 0; // of report_.failed: files that the receiver named
    std::uint64_t unchanged_ = 0;       // files and their bytes that the receiver has already
    std::uint64_t unchanged_bytes_ = 0;
    bool over_ = false;

    Loop loop_;
    WorkQueue queue_;
    FoundTotals found_;
    StreamTotals totals_;
    std::vector<std::shared_ptr<const SourceRoot>> roots_;
    bool roots_listed_ = false; // in the request, so that the receiver says which are fresh
    std::string congestion_;    // of the data connections
    std::unique_ptr<ControlLink> control_;
    std::unique_ptr<Timer> progress_timer_;
    std::unique_ptr<Timer> reason_timer_;
    std::optional<Error> unexplained_;
    std::deque<PendingOffer> offers_;
    std::uint64_t next_offer_id_ = 0;
    bool walked_ = false;
    std::size_t streams_running_ = 0;
    std::unique_ptr<Scout> scout_;
    std::vector<std::unique_ptr<DataStream>> streams_; // last: their threads use all of the above
};

Sender::Sender(SenderOptions options, SenderObserver& observer)
    : engine_(std::make_unique<Engine>(std::move(options), observer)) {}

Sender::~Sender() = default;

SenderReport Sender::run(bool handle_signals) {
    return engine_->run(handle_signals);
}

void Sender::stop() {
    engine_->stop();
}

SenderReport Sender::Engine::run(bool handle_signals) {
    const Usage before = thread_usage();
    raise_descriptor_limit();
    std::vector<std::unique_ptr<SignalWatcher>> signals;
    if (handle_signals) {
        for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
            signals.push_back(std::make_unique<SignalWatcher>(loop_, number, [this] {
                fail({ErrorKind::interrupted, "interrupted", 0});
            }));
        }
    }
    progress_timer_ = std::make_unique<Timer>(loop_, [this] { observer_.progress(sample()); });
    progress_timer_->start(kProgressInterval, kProgressInterval);
    reason_timer_ = std::make_unique<Timer>(loop_, [this] {
        control_->read_pending(); // this process may have been stopped for longer than the grace
        fail(std::move(*unexplained_));
    });
    start_scout();
    loop_.run();
    signals.clear(); // from here on a signal ends the process: joining may take a name look-up

    cancel();
    streams_.clear(); // joins
    if (scout_) {
        report_.usage += scout_->usage().load();
    }
    report_.usage += totals_.usage.load();
    report_.usage += thread_usage() - before;
    fill_report();
    progress_timer_.reset();
    reason_timer_.reset();
    control_.reset();
    observer_.finished(report_);
    return report_;
}

void Sender::Engine::start_scout() {
    ScoutCallbacks callbacks;
    callbacks.file_failed = [this](Error error) {
        loop_.post([this, error = std::move(error)] { file_failed(error); });
    };
    callbacks.skipped = [this](std::string what) {
        loop_.post([this, what = std::move(what)] {
            ++report_.skipped;
            observer_.warning(what);
        });
    };
    callbacks.connected = [this](UniqueFd socket,
                                 std::vector<std::shared_ptr<const SourceRoot>> roots) {
        // std::function wants to copy what it holds.
        auto shared = std::make_shared<UniqueFd>(std::move(socket));
        loop_.post(
            [this, shared, roots = std::move(roots)] { connected(std::move(*shared), roots); });
    };
    callbacks.offer = [this](Chunk entries) {
        loop_.post([this, entries = std::move(entries)]() mutable { offer(std::move(entries)); });
    };
    callbacks.chunk = [this](Chunk chunk) {
        if (!options_.dry_run) {
            queue_.push(std::move(chunk));
            return;
        }
        loop_.post([this, chunk = std::move(chunk)] { would_send(chunk); });
    };
    callbacks.ended = [this](std::optional<Error> error) {
        loop_.post([this, error = std::move(error)] { scout_ended(error); });
    };
    scout_ =
        std::make_unique<Scout>(options_, std::move(callbacks), queue_, found_, cancel_fd_.get());
}

void Sender::Engine::connected(UniqueFd socket,
                               std::vector<std::shared_ptr<const SourceRoot>> roots) {
    if (over_) {
        return;
    }
    Result<std::string> congestion = choose_congestion(socket.get(), options_.congestion);
    if (!congestion) {
        fail(std::move(congestion).error());
        return;
    }
    congestion_ = std::move(*congestion);
    observer_.detail(fmt::format("connected to {}, congestion control {}",
                                 peer_address(socket.get()), congestion_));
    ControlLink::Callbacks callbacks;
    callbacks.welcome = [this](const proto::Welcome& welcome) { welcomed(welcome); };
    callbacks.verdict = [this](const proto::Verdict& verdict) { return answered(verdict); };
    callbacks.file_error = [this](const proto::FileError& message) { file_error(message); };
    callbacks.done = [this](const proto::Done& done) { confirmed(done); };
    callbacks.failed = [this](Error error) { fail(std::move(error)); };
    control_ = std::make_unique<ControlLink>(loop_, std::move(socket), std::move(callbacks));
    send_open(roots);
    roots_ = std::move(roots);
}

void Sender::Engine::send_open(const std::vector<std::shared_ptr<const SourceRoot>>& roots) {
    proto::Open open;
    open.flags = (options_.preserve ? proto::kOpenPreserve : 0U) |
                 (options_.ignore_times ? proto::kOpenIgnoreTimes : 0U) |
                 (options_.dry_run ? proto::kOpenDryRun : 0U) |
                 (options_.publish_by_file ? proto::kOpenPublishByFile : 0U) |
                 (roots.size() == 1 && options_.sources.size() == 1 && !roots[0]->is_tree
                      ? proto::kOpenSingleFile
                      : 0U);
    open.streams = options_.streams;
    open.destination = options_.destination.path;
    open.software = kSoftwareName;
    // Half of what a request may hold: the rest is for the destination and the text.
    std::size_t bytes = 0;
    for (const auto& root : roots) {
        bytes += root->wire_name.size() + sizeof(std::uint16_t);
        open.roots.push_back(root->wire_name);
    }
    roots_listed_ = roots.size() <= proto::kMaxRoots && bytes <= proto::kMaxOpenBytes / 2;
    if (!roots_listed_) {
        open.roots.clear();
    }
    const auto preamble = proto::encode_preamble({proto::kVersion, proto::Role::control});
    proto::Bytes hello(preamble.begin(), preamble.end());
    proto::encode(open, hello);
    control_->send(hello);
}

void Sender::Engine::welcomed(const proto::Welcome& welcome) {
    std::vector<bool> fresh(roots_.size(), false);
    for (const std::uint16_t index : welcome.fresh) {
        if (roots_listed_ && index < fresh.size()) {
            fresh[index] = true;
        }
    }
    observer_.detail(fmt::format("{} accepted the session", escape(welcome.software)));
    if (!options_.dry_run) {
        start_streams(welcome.token);
    }
    scout_->welcome(std::move(fresh));
}

void Sender::Engine::start_streams(const proto::Token& token) {
    for (std::uint16_t index = 0; index < options_.streams; ++index) {
        StreamSettings settings;
        settings.target.host = options_.destination.host;
        settings.target.port = options_.destination.port.value_or(options_.port);
        settings.target.connect_timeout = options_.connect_timeout;
        settings.target.congestion = congestion_;
        settings.target.token = token;
        settings.target.index = index;
        settings.target.cancel_fd = cancel_fd_.get();
        settings.send_path = options_.send_path;
        settings.compression_level = options_.compression_level;
        StreamCallbacks callbacks;
        callbacks.file_failed = [this](Error error) {
            loop_.post([this, error = std::move(error)] { file_failed(error); });
        };
        callbacks.detail = [this](std::string line) {
            loop_.post([this, line = std::move(line)] { observer_.detail(line); });
        };
        callbacks.abort_file = [this](std::uint64_t id) {
            loop_.post([this, id] {
                proto::Bytes frame;
                proto::encode(proto::FileAbort{id}, frame);
                control_->send(frame);
            });
        };
        callbacks.ended = [this](std::optional<Error> error) {
            loop_.post([this, error = std::move(error)] { stream_ended(error); });
        };
        ++streams_running_;
        streams_.push_back(std::make_unique<DataStream>(std::move(settings), std::move(callbacks),
                                                        queue_, totals_));
    }
}

void Sender::Engine::offer(Chunk entries) {
    if (over_) {
        return;
    }
    proto::Offer offer;
    offer.first_id = next_offer_id_;
    for (const SourceEntry& entry : entries) {
        offer.entries.push_back({entry.size, entry.mtime, entry.mode, entry.wire_path});
    }
    next_offer_id_ += entries.size();
    proto::Bytes frame;
    proto::encode(offer, frame);
    control_->send(frame);
    offers_.push_back({offer.first_id, std::move(entries)});
}

bool Sender::Engine::answered(const proto::Verdict& verdict) {
    if (offers_.empty() || offers_.front().first_id != verdict.first_id ||
        offers_.front().entries.size() != verdict.count) {
        return false;
    }
    Chunk offered = std::move(offers_.front().entries);
    offers_.pop_front();
    Chunk wanted;
    std::size_t unchanged = 0;
    for (std::size_t index = 0; index < offered.size(); ++index) {
        const auto bit = std::byte{1} << (index % 8);
        if ((verdict.wanted[index / 8] & bit) == std::byte{0}) {
            ++unchanged;
            unchanged_bytes_ += offered[index].size;
            continue;
        }
        const bool large = offered[index].size > proto::kMaxInlineFileBytes;
        wanted.push_back(std::move(offered[index]));
        if (!options_.dry_run && (large || wanted.size() >= kMaxChunkEntries)) {
            queue_.push(std::exchange(wanted, {}));
        }
    }
    unchanged_ += unchanged;
    queue_.release(unchanged);
    if (options_.dry_run) {
        would_send(wanted);
    } else if (!wanted.empty()) {
        queue_.push(std::move(wanted));
    }
    close_queue_if_complete();
    return true;
}

void Sender::Engine::would_send(const Chunk& entries) {
    for (const SourceEntry& entry : entries) {
        if (entry.kind == EntryKind::file) {
            ++report_.would_send_files;
            report_.would_send_bytes += entry.size;
            observer_.would_send(escape(entry.wire_path), entry.size);
        }
    }
    queue_.release(entries.size());
}

void Sender::Engine::scout_ended(std::optional<Error> error) {
    if (error) {
        fail(std::move(*error));
        return;
    }
    walked_ = true;
    close_queue_if_complete();
}

void Sender::Engine::close_queue_if_complete() {
    if (walked_ && offers_.empty()) {
        queue_.close();
        finish_if_complete();
    }
}

void Sender::Engine::stream_ended(std::optional<Error> error) {
    --streams_running_;
    if (error) {
        fail_unless_explained(std::move(*error));
        return;
    }
    finish_if_complete();
}

void Sender::Engine::finish_if_complete() {
    if (over_ || !walked_ || !offers_.empty() || streams_running_ > 0) {
        return;
    }
    if (totals_.connections > UINT16_MAX) {
        fail({ErrorKind::source_changed, "too many sources shrank while they were being sent", 0});
        return;
    }
    control_->finish({static_cast<std::uint16_t>(totals_.connections.load()), totals_.files_sent});
}

void Sender::Engine::confirmed(const proto::Done& done) {
    const std::uint64_t sent = totals_.files_sent;
    if (done.files + done.failed < sent) {
        fail({ErrorKind::protocol,
              fmt::format("the receiver accounts for {} of {} files only", done.files + done.failed,
                          sent),
              0});
        return;
    }
    // It does not name every failure where there are very many.
    report_.failed += done.failed > stored_failures_ ? done.failed - stored_failures_ : 0;
    report_.receiver = done;
    over();
}

void Sender::Engine::file_error(const proto::FileError& message) {
    ++report_.failed;
    ++stored_failures_;
    observer_.file_failed(
        {ErrorKind::some_files,
         fmt::format("{}: not stored: {}", escape(message.path), escape(message.text)),
         message.error_number});
}

void Sender::Engine::file_failed(const Error& error) {
    ++report_.failed;
    failed_changed_ += error.kind == ErrorKind::source_changed ? 1 : 0;
    observer_.file_failed(error);
}

void Sender::Engine::fail(Error error) {
    if (over_) {
        return;
    }
    if (control_ && error.kind == ErrorKind::interrupted) {
        proto::Bytes frame;
        proto::encode(
            proto::ErrorMessage{static_cast<std::uint16_t>(exit_code(error.kind)), error.message},
            frame);
        control_->send_last(frame);
    }
    report_.failure = std::move(error);
    over();
}

void Sender::Engine::fail_unless_explained(Error error) {
    if (!over_ && !unexplained_) {
        unexplained_ = std::move(error);
        reason_timer_->start(kReasonGrace);
    }
}

void Sender::Engine::over() {
    over_ = true;
    loop_.stop();
}

void Sender::Engine::cancel() {
    const std::uint64_t one = 1;
    static_cast<void>(::write(cancel_fd_.get(), &one, sizeof one));
    queue_.cancel();
    if (scout_) {
        scout_->cancel();
    }
}

ProgressSample Sender::Engine::sample() const {
    ProgressSample sample;
    sample.files_done = totals_.files_sent + unchanged_;
    sample.bytes_done = totals_.bytes().total() + totals_.bytes_of_holes + unchanged_bytes_;
    sample.files_total = found_.files;
    sample.bytes_total = found_.bytes;
    sample.total_known = found_.complete;
    return sample;
}

void Sender::Engine::fill_report() {
    report_.files_sent = totals_.files_sent;
    report_.bytes = totals_.bytes();
    report_.compressed_to = totals_.compressed_to;
    report_.dry_run = options_.dry_run;
    report_.seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - started_).count();
    if (report_.failure) {
        report_.exit_code = exit_code(report_.failure->kind);
    } else if (report_.failed > failed_changed_) {
        report_.exit_code = ExitCode::some_files;
    } else if (report_.failed > 0) {
        report_.exit_code = ExitCode::source_changed;
    }
}

} // namespace sluice
