#include "sender/sender.hpp"

#include "common/loop.hpp"
#include "common/net.hpp"
#include "sender/backoff.hpp"
#include "sender/push_session.hpp"

#include <algorithm>
#include <csignal>
#include <fmt/format.h>
#include <functional>
#include <optional>
#include <sys/random.h>
#include <unordered_set>
#include <utility>

namespace sluice {

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kFirstProgress{200};
// Messages about single files that are not shown a second time, in memory of 64 bytes each.
constexpr std::size_t kMaxRemembered = 10'000;
// A receiver that accepts a session and loses it before it has stored anything, again and again,
// would otherwise be tried forever.
constexpr unsigned kMaxFruitless = 20;

proto::Token random_token() {
    proto::Token token{};
    // 16 bytes are never cut short (getrandom(2)); without the system call they stay zero, and
    // sessions of one run are not recognised as such.
    static_cast<void>(::getrandom(token.data(), token.size(), 0));
    return token;
}

double in_seconds(Clock::duration time) {
    return std::chrono::duration<double>(time).count();
}

Error interruption() {
    return {ErrorKind::interrupted, "interrupted", 0};
}

// Whether another session may do better.
bool is_temporary(const SessionResult& result) {
    if (!result.failure) {
        return false;
    }
    switch (result.failure->kind) {
    case ErrorKind::network:
    case ErrorKind::timed_out: return true;
    case ErrorKind::interrupted: return result.said_by_receiver; // it is being restarted, perhaps
    default: return false;
    }
}

} // namespace

// Lives on the thread of run(). Makes one session after the other:
//
//     Session --confirmed, final failure--> Over
//     Session --the connection was lost--> Waiting --back-off over--> Session
//     Session, Waiting --interrupted, nothing worked for as long as may be retried--> Over
class Sender::Engine final : private SessionEvents {
public:
    Engine(SenderOptions options, SenderObserver& observer)
        : options_(std::move(options)), observer_(observer) {
        if (options_.bandwidth_limit > 0) {
            limiter_.emplace(options_.bandwidth_limit);
        }
    }

    SenderReport run(bool handle_signals);
    void stop() {
        loop_.post([this] { interrupt(); });
    }

private:
    void file_failed(const Error& error) override;
    void warning(const std::string& line) override;
    void detail(const std::string& line) override { observer_.detail(line); }
    void would_send(const std::string& path, std::uint64_t bytes) override {
        observer_.would_send(path, bytes);
    }
    void session_over() override { loop_.stop(); }

    void run_sessions();
    void add_up(const SessionResult& result);
    [[nodiscard]] bool wait_for_next(const SessionResult& result);
    void announce(const SessionResult& result, milliseconds delay);
    void interrupt();
    [[nodiscard]] bool is_news(const std::string& message);
    void fill_report();

    const SenderOptions options_;
    SenderObserver& observer_;
    const Clock::time_point started_ = Clock::now();
    SenderReport report_;
    std::uint64_t failed_changed_ = 0; // of report_.failed: sources that vanished or changed
    bool interrupted_ = false;
    // Hashes of messages about single files: shown by earlier sessions, and by this one.
    std::unordered_set<std::size_t> shown_;
    std::unordered_set<std::size_t> shown_now_;

    // About the connection.
    const proto::Token run_ = random_token();
    bool ever_welcomed_ = false;
    Clock::time_point worked_at_ = started_;
    unsigned attempt_ = 0; // since it worked
    unsigned fruitless_ = 0;
    Backoff backoff_;

    std::optional<RateLimiter> limiter_; // one for all sessions
    Loop loop_;
    std::unique_ptr<PushSession> session_; // last: it uses everything above
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
    {
        std::vector<std::unique_ptr<SignalWatcher>> signals;
        if (handle_signals) {
            for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
                signals.push_back(
                    std::make_unique<SignalWatcher>(loop_, number, [this] { interrupt(); }));
            }
        }
        Timer progress(loop_, [this] {
            if (session_) {
                observer_.progress(session_->sample());
            }
        });
        if (const milliseconds interval = observer_.progress_interval(); interval.count() != 0) {
            progress.start(std::min(interval, kFirstProgress), interval);
        }
        run_sessions();
        // From here on a signal ends the process: ending a session may take a slow file operation.
    }
    if (session_) {
        add_up(session_->end());
        session_.reset();
    }
    if (interrupted_ && report_.failure) {
        report_.failure = interruption();
    }
    report_.usage += thread_usage() - before;
    fill_report();
    observer_.finished(report_);
    return report_;
}

// Leaves the last session for the caller to end.
void Sender::Engine::run_sessions() {
    for (;;) {
        SessionEvents& events = *this; // a private base: make_unique could not convert
        session_ =
            std::make_unique<PushSession>(loop_, options_, run_, options_.effective_retry_for(),
                                          limiter_ ? &*limiter_ : nullptr, events);
        loop_.run();
        if (interrupted_ || !is_temporary(session_->result())) {
            return;
        }
        const SessionResult result = session_->end();
        session_.reset();
        add_up(result);
        if (!wait_for_next(result)) {
            return;
        }
    }
}

void Sender::Engine::add_up(const SessionResult& result) {
    report_.failure = result.failure;
    report_.receiver = result.receiver;
    report_.failed = result.failed;
    failed_changed_ = result.failed_changed;
    report_.skipped = result.skipped;
    report_.discarded = result.discarded;
    report_.cipher = result.cipher;
    report_.would_send_files = result.would_send_files;
    report_.would_send_bytes = result.would_send_bytes;
    report_.files_sent += result.files_sent;
    report_.bytes += result.bytes;
    report_.compressed_to += result.compressed_to;
    report_.resent_bytes += result.bytes_in_vain;
    report_.damaged += result.damaged;
    report_.reconnected_streams += result.stream_reconnects;
    report_.streams = std::max<std::uint64_t>(report_.streams, result.streams);
    report_.usage += result.usage;
    report_.reconnects += result.welcomed && ever_welcomed_ ? 1 : 0;
    ever_welcomed_ = ever_welcomed_ || result.welcomed;
    if (shown_.size() < kMaxRemembered) {
        shown_.merge(shown_now_);
    }
    shown_now_.clear();
}

// After a failure that may pass. False: there shall be no other session, report_.failure says why.
bool Sender::Engine::wait_for_next(const SessionResult& result) {
    const Clock::time_point now = Clock::now();
    if (result.worked_at) {
        worked_at_ = *result.worked_at;
        attempt_ = 0;
    }
    if (result.progressed) {
        backoff_.reset();
        fruitless_ = 0;
    } else if (result.welcomed) {
        ++fruitless_;
    }
    const bool never_wanted =
        options_.effective_retry_for().count() == 0 || (!ever_welcomed_ && !options_.retry_for);
    // What would be sent has been printed already, and would be printed again.
    const bool dry_run_begun = result.would_send_files > 0;
    if (never_wanted || dry_run_begun) {
        return false;
    }
    const auto spent = std::chrono::duration_cast<milliseconds>(now - worked_at_);
    if (spent >= options_.effective_retry_for() || fruitless_ >= kMaxFruitless) {
        const double seconds = in_seconds(spent);
        report_.failure->message +=
            fmt::format(" (gave up after {:.{}f} s)", seconds, seconds < 10 ? 1 : 0);
        return false;
    }
    announce(result, std::min(backoff_.next(), options_.effective_retry_for() - spent));
    return !interrupted_;
}

// Says what is going on, and waits.
void Sender::Engine::announce(const SessionResult& result, milliseconds delay) {
    const Error& reason = *result.failure;
    if (attempt_ == 0) {
        // Who was silent is named already.
        const bool name_it = result.welcomed && reason.kind != ErrorKind::timed_out;
        const std::uint16_t port = options_.destination.port.value_or(options_.port);
        observer_.warning(
            fmt::format("{}{}; trying again for {:g} s",
                        name_it ? fmt::format("lost the connection to {}: ",
                                              format_host_and_port(options_.destination.host, port))
                                : "",
                        reason.message, in_seconds(options_.effective_retry_for())));
    }
    ++attempt_;
    observer_.reconnecting(reason, attempt_, in_seconds(delay));
    Timer timer(loop_, [this] { loop_.stop(); });
    timer.start(delay);
    loop_.run();
}

void Sender::Engine::interrupt() {
    interrupted_ = true;
    if (session_) {
        session_->interrupt();
    }
    loop_.stop();
}

void Sender::Engine::file_failed(const Error& error) {
    if (is_news(error.message)) {
        observer_.file_failed(error);
    }
}

void Sender::Engine::warning(const std::string& line) {
    if (is_news(line)) {
        observer_.warning(line);
    }
}

// A session that is repeated meets the same troubles again.
bool Sender::Engine::is_news(const std::string& message) {
    const std::size_t hash = std::hash<std::string>{}(message);
    if (shown_.contains(hash)) {
        return false;
    }
    if (shown_now_.size() < kMaxRemembered) {
        shown_now_.insert(hash);
    }
    return true;
}

void Sender::Engine::fill_report() {
    report_.dry_run = options_.dry_run;
    report_.security = options_.security;
    const bool verifies = options_.verify || options_.security == Security::signed_data;
    report_.verified = verifies && report_.receiver && !options_.dry_run;
    report_.seconds = in_seconds(Clock::now() - started_);
    if (report_.failure) {
        report_.exit_code = exit_code(report_.failure->kind);
    } else if (report_.failed > failed_changed_) {
        report_.exit_code = ExitCode::some_files;
    } else if (report_.failed > 0) {
        report_.exit_code = ExitCode::source_changed;
    }
}

} // namespace sluice
