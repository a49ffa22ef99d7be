#include "sender/push_session.hpp"

#include "common/exit_code.hpp"
#include "common/net.hpp"
#include "common/text.hpp"
#include "common/version.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <system_error>
#include <unistd.h>
#include <utility>

namespace sluice {

namespace {

// Entries between the walk and the receiver's acknowledgement: bounds the memory, and how many
// files can be under way in one round trip.
constexpr std::size_t kMaxEntriesUnderWay = 16'384;
// Each keeps a source open, so that many files may be open at a time; and as many again that wait
// to be sent once more. 1.5 GB in full extents: more than any path holds.
constexpr std::size_t kMaxExtentsUnderWay = 192;
static_assert(kMaxExtentsUnderWay <= proto::kMaxUnacknowledged);
static_assert(2 * kMaxExtentsUnderWay + proto::kMaxStreams <= proto::kMaxOpenFiles);

// To create a file takes the receiver as long as writing so many bytes.
constexpr std::uint64_t kEntryWork = std::uint64_t{48} << 10;

// Fewer where few files may be open: half of what is left beside sockets, pipes and directories.
std::size_t extents_under_way() {
    constexpr rlim_t kOthers = 128;
    constexpr rlim_t kLeast = 8;
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return kLeast;
    }
    const rlim_t left = limit.rlim_cur > kOthers ? (limit.rlim_cur - kOthers) / 2 : 0;
    return std::clamp<std::size_t>(left, kLeast, kMaxExtentsUnderWay);
}

std::uint16_t port_of(const SenderOptions& options) {
    return options.destination.port.value_or(options.port);
}

std::uint32_t milliseconds_on_wire(std::chrono::milliseconds time) {
    return static_cast<std::uint32_t>(
        std::clamp<std::chrono::milliseconds::rep>(time.count(), 0, UINT32_MAX));
}

} // namespace

void PushSession::Poster::operator()(std::function<void()> task) const {
    // Asked twice: when the session is gone nothing may be posted (its loop may be gone, too), and
    // what was posted before must not be run.
    if (*alive_) {
        loop_.post([alive = alive_, task = std::move(task)] {
            if (*alive) {
                task();
            }
        });
    }
}

PushSession::PushSession(Loop& loop, const SenderOptions& options, const proto::Token& run,
                         std::chrono::milliseconds retry_for, RateLimiter* limiter,
                         SessionEvents& events)
    : options_(options), run_(run), retry_for_(retry_for), limiter_(limiter), events_(events),
      peer_(format_host_and_port(options.destination.host, port_of(options))),
      cancel_fd_(UniqueFd::adopt(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK))), loop_(loop), post_(loop),
      queue_(kMaxEntriesUnderWay), in_flight_(extents_under_way()) {
    start_scout();
}

PushSession::~PushSession() {
    stop_threads();
}

void PushSession::start_scout() {
    ScoutCallbacks callbacks;
    callbacks.file_failed = [this](Error error) {
        post_([this, error = std::move(error)] { file_failed(error); });
    };
    callbacks.skipped = [this](std::string what) {
        post_([this, what = std::move(what)] {
            ++result_.skipped;
            events_.warning(what);
        });
    };
    callbacks.connected = [this](Channel channel, Roots roots) {
        // std::function wants to copy what it holds.
        auto shared = std::make_shared<Channel>(std::move(channel));
        post_([this, shared, roots = std::move(roots)] { connected(std::move(*shared), roots); });
    };
    callbacks.offer = [this](Chunk entries) {
        post_([this, entries = std::move(entries)]() mutable { offer(std::move(entries)); });
    };
    callbacks.chunk = [this](Chunk chunk) {
        if (!options_.dry_run) {
            queue_.push(std::move(chunk));
            return;
        }
        post_([this, chunk = std::move(chunk)] { would_send(chunk); });
    };
    callbacks.ended = [this](std::optional<Error> error) {
        post_([this, error = std::move(error)] { scout_ended(error); });
    };
    try {
        scout_ = std::make_unique<Scout>(options_, std::move(callbacks), queue_, found_,
                                         cancel_fd_.get());
    } catch (const std::system_error& error) { // what std::thread throws
        post_([this, number = error.code().value()] {
            fail(system_error(ErrorKind::file_io, "cannot start a thread", number), false);
        });
    }
}

void PushSession::connected(Channel channel, Roots roots) {
    if (over_) {
        return;
    }
    Result<CongestionChoice> congestion = choose_congestion(channel.fd(), options_.congestion);
    if (!congestion) {
        fail(std::move(congestion).error(), false);
        return;
    }
    if (Status derived = derive_keys(channel); !derived) {
        fail(std::move(derived).error(), false);
        return;
    }
    congestion_ = congestion->algorithm;
    host_ = peer_host(channel.fd());
    round_trip_ = tcp_progress(channel.fd()).round_trip;
    if (channel.tls() != nullptr) {
        result_.cipher = channel.tls()->cipher();
        events_.detail(fmt::format("TLS 1.3, {}, {} by the {}", result_.cipher,
                                   channel.sends_files() ? "encrypted" : "copied and encrypted",
                                   channel.sends_files() ? "kernel" : "program"));
    }
    events_.detail(fmt::format("connected to {}, congestion control {}{}",
                               peer_address(channel.fd()), congestion_,
                               congestion->reason.empty() ? "" : ", " + congestion->reason));
    control_ = std::make_unique<ControlLink>(loop_, std::move(channel), peer_, options_.timeout,
                                             control_callbacks());
    roots_ = std::move(roots);
    send_open();
    if (!options_.dry_run) {
        start_streams();
    }
}

Status PushSession::derive_keys(Channel& channel) {
    if (options_.security != Security::signed_data) {
        return ok();
    }
    if (channel.tls() == nullptr) {
        return Error{ErrorKind::usage, "signed data need a key", 0};
    }
    Result<DataKeys> keys = DataKeys::derive(*channel.tls());
    if (!keys) {
        return std::move(keys).error();
    }
    data_keys_ = std::move(*keys);
    return ok();
}

ControlLink::Callbacks PushSession::control_callbacks() {
    ControlLink::Callbacks callbacks;
    callbacks.welcome = [this](const proto::Welcome& welcome) { welcomed(welcome); };
    callbacks.present = [this](const proto::Present& message) { return present(message); };
    callbacks.verdict = [this](const proto::Verdict& verdict) { return answered(verdict); };
    callbacks.ack = [this](const proto::Ack& message) { return acknowledged(message); };
    callbacks.again = [this](const proto::Again& message) { return arrived_damaged(message); };
    callbacks.lost = [this](const proto::Lost& message) { lost(message.connection); };
    callbacks.file_error = [this](const proto::FileError& message) { file_error(message); };
    callbacks.done = [this](const proto::Done& done) { confirmed(done); };
    callbacks.failed = [this](Error error, bool said) {
        answered_at_ = Clock::now(); // up to now it was thought to work
        fail(std::move(error), said);
    };
    return callbacks;
}

void PushSession::send_open() {
    const bool one_file = roots_.size() == 1 && options_.sources.size() <= 1 && !roots_[0]->is_tree;
    proto::Open open;
    open.flags = (options_.preserve ? proto::kOpenPreserve : 0U) |
                 (options_.ignore_times ? proto::kOpenIgnoreTimes : 0U) |
                 (options_.dry_run ? proto::kOpenDryRun : 0U) |
                 (options_.publish_by_file ? proto::kOpenPublishByFile : 0U) |
                 (one_file ? proto::kOpenSingleFile : 0U) | (verifies() ? proto::kOpenVerify : 0U) |
                 (options_.sync ? proto::kOpenSync : 0U) | (data_keys_ ? proto::kOpenSigned : 0U);
    open.streams = options_.streams.value_or(StreamTuner::kMost);
    open.run = run_;
    open.timeout_ms = milliseconds_on_wire(options_.timeout);
    open.retry_ms = milliseconds_on_wire(retry_for_);
    open.destination = options_.destination.path;
    open.software = kSoftwareName;
    // Half of what a request may hold: the rest is for the destination and the text.
    std::size_t bytes = 0;
    for (const auto& root : roots_) {
        bytes += root->wire_name.size() + sizeof(std::uint16_t);
        open.roots.push_back(root->wire_name);
    }
    roots_listed_ = roots_.size() <= proto::kMaxRoots && bytes <= proto::kMaxOpenBytes / 2;
    if (!roots_listed_) {
        open.roots.clear();
    }
    const auto preamble = proto::encode_preamble({proto::kVersion, proto::Role::control});
    proto::Bytes hello(preamble.begin(), preamble.end());
    proto::encode(open, hello);
    control_->send(hello);
}

void PushSession::welcomed(const proto::Welcome& welcome) {
    result_.welcomed = true;
    answered_at_ = Clock::now();
    std::vector<bool> fresh(roots_.size(), false);
    for (const std::uint16_t index : welcome.fresh) {
        if (roots_listed_ && index < fresh.size()) {
            fresh[index] = true;
        }
    }
    events_.detail(fmt::format("{} accepted the session", escape(welcome.software)));
    if ((welcome.flags & proto::kWelcomeDiscards) != 0) {
        result_.discarded = true;
        events_.warning("the receiver discards what it gets: nothing is stored");
    }
    if (streams_) {
        streams_->welcome(welcome.token);
        stream_timer_ = std::make_unique<Timer>(loop_, [this] { look_after_streams(); });
        stream_timer_->start(control_->tick(), control_->tick());
    }
    scout_->welcome(std::move(fresh));
}

void PushSession::start_streams() {
    ExtentDigests::Callbacks callbacks;
    callbacks.ready = [this] { post_([this] { send_digests(); }); };
    callbacks.failed = [this](const std::shared_ptr<LargeSource>& source,
                              const SourceProblem& problem) {
        withdraw(source, describe(source->entry(), problem));
    };
    digests_ = std::make_unique<ExtentDigests>(
        std::move(callbacks), data_keys_ ? std::optional(data_keys_->payload) : std::nullopt);
    StreamSettings settings;
    // Not the name: it may stand for several machines, and looking it up takes time.
    settings.target.host = host_.empty() ? options_.destination.host : host_;
    settings.target.port = port_of(options_);
    settings.target.connect_timeout = options_.effective_connect_timeout();
    settings.target.timeout = options_.timeout;
    settings.target.congestion = congestion_;
    settings.target.cancel_fd = cancel_fd_.get();
    settings.target.limiter = limiter_;
    settings.target.most_tls_bytes = options_.most_tls_bytes;
    if (!data_keys_) { // signed data travel in clear
        settings.target.tls = options_.tls;
    }
    settings.send_path = options_.send_path;
    if (options_.compress != Compress::never) {
        const bool adapts = options_.compress == Compress::automatic;
        compression_ = std::make_unique<Compression>(
            adapts ? std::nullopt : std::optional(options_.compression_level),
            options_.streams.value_or(
                static_cast<std::uint16_t>(StreamTuner(round_trip_).streams())),
            [this](std::string line) { detail(std::move(line)); });
        settings.compression = compression_.get();
    }
    settings.target.far = round_trip_ >= kLocalRoundTrip;
    settings.verify = verifies();
    if (data_keys_) {
        settings.frames_key = data_keys_->frames;
    }
    settings.retry_for = retry_for_;
    StreamSet::Callbacks set_callbacks;
    set_callbacks.work_done = [this] {
        return in_flight_.bytes_taken() + kEntryWork * (result_.files_sent + unchanged_);
    };
    set_callbacks.detail = [this](const std::string& line) { events_.detail(line); };
    streams_ = std::make_unique<StreamSet>(
        loop_, std::move(settings), options_.streams, round_trip_,
        StreamSet::Shared{*this, queue_, in_flight_, totals_, found_}, std::move(set_callbacks));
    if (Status started = streams_->start(); !started) {
        fail(std::move(started).error(), false);
        return;
    }
}

void PushSession::scout_ended(std::optional<Error> error) {
    if (error) {
        fail(std::move(*error), false);
        return;
    }
    walked_ = true;
    finish_if_complete();
}

// All places of the queue are free: every record is acknowledged, and every large file has had its
// FileEnd or FileAbort and nobody has anything to do with it any more.
void PushSession::finish_if_complete() {
    if (over_ || finished_ || !walked_ || !offers_.empty()) {
        return;
    }
    all_queued_ = true;
    if (queue_.places_taken() > 0) {
        say_if_all_sent();
        return;
    }
    finished_ = true;
    if (streams_) {
        streams_->finish();
    }
    queue_.close(); // the streams end, those that were about to connect again, too
    cancel();
    control_->finish({result_.files_sent});
}

// Whether only batches are left: what becomes of a large file is known when it is acknowledged.
void PushSession::say_if_all_sent() {
    if (all_sent_) {
        return;
    }
    const InFlight::Batches batches = in_flight_.batches();
    if (batches.entries != queue_.places_taken()) {
        return;
    }
    all_sent_ = true;
    proto::Bytes frame;
    proto::encode(
        proto::AllSent{result_.files_sent + batches.files, acknowledged_ + batches.count, lost_},
        frame);
    control_->send(frame);
}

void PushSession::confirmed(const proto::Done& done) {
    if (done.files + done.failed < result_.files_sent) {
        fail({ErrorKind::protocol,
              fmt::format("the receiver accounts for {} of {} files only", done.files + done.failed,
                          result_.files_sent),
              0},
             false);
        return;
    }
    // It does not name every failure where there are very many.
    result_.failed += done.failed > stored_failures_ ? done.failed - stored_failures_ : 0;
    result_.receiver = done;
    over_ = true;
    events_.session_over();
}

void PushSession::interrupt() {
    const Error error{ErrorKind::interrupted, "interrupted", 0};
    if (control_ && !over_) {
        proto::Bytes frame;
        proto::encode(
            proto::ErrorMessage{static_cast<std::uint16_t>(exit_code(error.kind)), error.message},
            frame);
        control_->send_last(frame);
    }
    fail(error, false);
}

void PushSession::fail(Error error, bool said) {
    if (over_) {
        return;
    }
    over_ = true;
    if (result_.welcomed) {
        result_.worked_at = answered_at_;
    }
    result_.failure = std::move(error);
    result_.said_by_receiver = said;
    events_.session_over();
}

// Ends whatever waits for a socket or for time to pass.
void PushSession::cancel() {
    const std::uint64_t one = 1;
    static_cast<void>(::write(cancel_fd_.get(), &one, sizeof one));
}

void PushSession::stop_threads() {
    over_ = true;
    post_.stop();
    cancel();
    queue_.cancel();
    in_flight_.cancel();
    if (scout_) {
        scout_->cancel();
    }
    if (streams_) {
        result_.streams = streams_->size();
        streams_.reset(); // joins
    }
}

SessionResult PushSession::end() {
    stop_threads();
    if (scout_) {
        scout_->join();
        result_.usage += scout_->usage().load();
    }
    if (digests_) {
        result_.usage += digests_->usage();
    }
    if (compression_) {
        result_.usage += compression_->pool().usage().load();
    }
    result_.usage += totals_.usage.load();
    result_.bytes = totals_.bytes();
    result_.compressed_to = totals_.compressed_to;
    result_.stream_reconnects = totals_.reconnects;
    result_.bytes_in_vain = in_flight_.bytes_in_vain();
    if (result_.failure) {
        result_.bytes_in_vain += in_flight_.bytes_under_way();
    }
    return std::move(result_);
}

ProgressSample PushSession::sample() const {
    ProgressSample sample;
    sample.files_done = result_.files_sent + unchanged_;
    sample.bytes_done = in_flight_.bytes_done() + unchanged_bytes_ + reused_bytes_;
    sample.files_total = found_.files;
    sample.bytes_total = found_.bytes;
    sample.total_known = found_.complete;
    return sample;
}

} // namespace sluice
