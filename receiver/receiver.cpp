#include "receiver/receiver.hpp"

#include "common/job_pool.hpp"
#include "common/loop.hpp"
#include "common/text.hpp"
#include "common/unique_fd.hpp"
#include "receiver/admission.hpp"
#include "receiver/backlog.hpp"
#include "receiver/confinement.hpp"
#include "receiver/control_connection.hpp"
#include "receiver/discarder.hpp"
#include "receiver/janitor.hpp"
#include "receiver/key_rights.hpp"
#include "receiver/listener.hpp"
#include "receiver/principal.hpp"
#include "receiver/store.hpp"
#include "receiver/workers.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <fmt/format.h>
#include <optional>
#include <string>
#include <sys/random.h>
#include <sys/resource.h>
#include <thread>
#include <utility>
#include <vector>

namespace sluice {

namespace {

// More workers than cores: some are waiting for the disk.
constexpr unsigned kMinWorkers = 2;
constexpr unsigned kMaxWorkers = 16;
// Sessions that open, publish or wait for the disk at the same time.
constexpr unsigned kChoreThreads = 4;
// Hashing one stream of 3 GB/s takes a third of a core.
constexpr unsigned kMaxHashThreads = 4;
// Leftovers that have become too old are looked for at the end of a session, at most so often.
constexpr std::chrono::hours kSweepInterval{1};
// Files of one session that could not be stored and are named in the log; the others are counted.
constexpr std::uint64_t kMaxToldFailures = 1'000;
// Files whose digests wait to be shown by an observer that may be slow.
constexpr std::size_t kMaxListedFiles = 1'024;
// With --once: how much longer than a sender tries to come back it is waited for.
constexpr std::chrono::milliseconds kReturnMargin{1'000};

proto::Token random_token() {
    proto::Token token{};
    // Up to 256 bytes come whole and without interruption (getrandom(2)).
    static_cast<void>(getrandom(token.data(), token.size(), 0));
    return token;
}

} // namespace

// Members are destroyed from the last to the first: first the workers, whose connections and tasks
// refer to everything before them.
struct Receiver::Impl {
    Impl(ReceiverOptions receiver_options, ReceiverObserver& receiver_observer)
        : options(std::move(receiver_options)), observer(receiver_observer),
          gate(options.keys, options.least_security) {}
    ~Impl() {
        workers.stop();
        listed.close();
        chores.reset();
        hashing.reset();
        loop.discard_tasks(); // some hold sessions, which post to this loop when they go
        sessions.clear();
        // One thread is left from here on: what libuv closes, no other thread opens anew.
        janitor.stop();
    }

    Status open_directory();
    Result<std::unique_ptr<Storage>> open_storage(const Session& session,
                                                  const proto::Open& asked) const;
    void start_session(PendingSession request);
    void join_session(const std::shared_ptr<Session>& session, Channel channel,
                      const proto::Join& join, proto::FrameCode code);
    void session_ended(const std::shared_ptr<Session>& session, const SessionReport& report);
    void forget_directories(std::uint64_t serial);
    void start_successor(std::uint64_t serial);
    void finish_once(const SessionReport& report);
    void dispose(std::unique_ptr<Storage> store, bool keep);
    void sweep_if_due();
    void reload_keys();
    void on_stop();
    void abandon_sessions();
    [[nodiscard]] std::size_t max_pending() const;

    const ReceiverOptions options;
    ReceiverObserver& observer;
    const Gate gate;
    ReceiverRoot root;
    std::optional<DigestFile> digests;
    Janitor janitor;
    Loop loop;
    UniqueFd listener;
    std::string address;                 // of the listener
    std::unique_ptr<Timer> grace_timer;  // of the sessions
    std::unique_ptr<Timer> return_timer; // of a sender that lost its connection, with --once
    std::unique_ptr<Admission> admission;
    SessionTable sessions;
    std::chrono::steady_clock::time_point last_sweep = std::chrono::steady_clock::now();
    std::uint64_t last_serial = 0;
    bool stopping = false;
    bool served = false; // with --once: the result is known
    ExitCode result = ExitCode::done;
    std::unique_ptr<JobPool> hashing = std::make_unique<JobPool>(
        std::clamp(std::thread::hardware_concurrency() / 2, 1U, kMaxHashThreads));
    std::unique_ptr<JobPool> chores = std::make_unique<JobPool>(kChoreThreads);
    UnpackPace pace;
    Backlog listed{kMaxListedFiles}; // on their way to the observer
    Workers workers;
};

Receiver::Receiver(ReceiverOptions options, ReceiverObserver& observer)
    : impl_(std::make_unique<Impl>(std::move(options), observer)) {}

Receiver::~Receiver() = default;

Status Receiver::start(UniqueFd inherited) {
    Impl& impl = *impl_;
    raise_descriptor_limit();
    Result<Listener> listener = open_listener(impl.options, std::move(inherited));
    if (!listener) {
        return std::move(listener).error();
    }
    impl.listener = std::move(listener->socket);
    impl.address = std::move(listener->address);
    if (Status opened = impl.open_directory(); !opened) {
        return opened;
    }
    return impl.workers.start(
        std::clamp(std::thread::hardware_concurrency(), kMinWorkers, kMaxWorkers),
        impl.options.receive_path, impl.pace);
}

// What comes from outside is looked at from within the sandbox only, leftovers included.
Status Receiver::Impl::open_directory() {
    if (Status dropped = drop_privileges(options); !dropped) {
        return dropped;
    }
    if (!options.discard) {
        Result<ReceiverRoot> opened = open_root(options.directory);
        if (!opened) {
            return std::move(opened).error();
        }
        root = std::move(*opened);
    }
    if (!options.digests_file.empty()) {
        Result<DigestFile> list = DigestFile::open(options.digests_file);
        if (!list) {
            return std::move(list).error();
        }
        digests.emplace(std::move(*list));
    }
    if (Status confined = confine(options, root.fd.get(), observer); !confined) {
        return confined;
    }
    if (options.discard) {
        return ok();
    }
    Result<std::size_t> swept = sweep_work_area(root, options.keep_partial);
    if (!swept) {
        return std::move(swept).error();
    }
    if (*swept > 0) {
        observer.notice(fmt::format("removed what {} interrupted session(s) had left", *swept));
    }
    return ok();
}

Result<std::unique_ptr<Storage>> Receiver::Impl::open_storage(const Session& session,
                                                              const proto::Open& asked) const {
    proto::Open request = asked;
    StorePolicy policy{options.min_free_bytes, options.sync, options.keep_partial.count() != 0,
                       digests.has_value()};
    std::string destination;
    if (const SharedKey& key = session.key(); key) {
        Result<std::string> permitted = permitted_destination(*key, asked);
        if (!permitted) {
            return std::move(permitted).error();
        }
        destination = std::move(*permitted);
        request.destination = destination;
        policy.reveal = key->rights.may_probe;
        policy.resume = policy.resume && policy.reveal; // what is kept shows in what is asked for
        policy.holder = to_hex(key->identity);
    }
    if (options.discard) {
        return Discarder::open(request);
    }
    Result<std::unique_ptr<Store>> store = Store::open(root, session.serial(), request, policy);
    if (!store) {
        return std::move(store).error();
    }
    return std::unique_ptr<Storage>(std::move(*store));
}

ExitCode Receiver::run(bool handle_signals) {
    Impl& impl = *impl_;
    std::vector<std::unique_ptr<SignalWatcher>> signals;
    if (handle_signals) {
        for (const int number : {SIGINT, SIGTERM}) {
            signals.push_back(
                std::make_unique<SignalWatcher>(impl.loop, number, [&impl] { impl.on_stop(); }));
        }
        if (impl.options.keys) { // without keys it ends the program, as ever
            signals.push_back(std::make_unique<SignalWatcher>(impl.loop, SIGHUP,
                                                              [&impl] { impl.reload_keys(); }));
        }
    }
    impl.grace_timer = std::make_unique<Timer>(impl.loop, [&impl] { impl.abandon_sessions(); });
    impl.return_timer = std::make_unique<Timer>(impl.loop, [&impl] { impl.loop.stop(); });
    impl.admission = std::make_unique<Admission>(
        impl.loop, impl.listener.get(), impl.sessions,
        AdmissionLimits{impl.options.max_sessions,
                        impl.options.max_per_address,
                        {impl.options.handshake_timeout, impl.max_pending(),
                         kPendingPerSession * impl.options.max_per_address}},
        ConnectionPolicy{impl.options.tls, impl.options.least_security}, impl.gate,
        Admission::Callbacks{
            [&impl](PendingSession request) { impl.start_session(std::move(request)); },
            [&impl](const std::shared_ptr<Session>& session, Channel channel,
                    const proto::Join& join, proto::FrameCode code) {
                impl.join_session(session, std::move(channel), join, std::move(code));
            },
            [&impl](const Refusals& refusals) { impl.observer.refused(refusals); }});
    impl.observer.listening(impl.address, impl.options.discard);
    impl.loop.run();
    impl.admission.reset();
    impl.grace_timer.reset();
    impl.return_timer.reset();
    return impl.result;
}

// Strangers take no descriptors that sessions need.
std::size_t Receiver::Impl::max_pending() const {
    constexpr rlim_t kPart = 4;
    rlimit limit{};
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) {
        return options.max_pending;
    }
    return std::max<std::size_t>(std::min(limit.rlim_cur / kPart, options.max_pending),
                                 kPendingPerSession);
}

void Receiver::stop() {
    impl_->loop.post([this] { impl_->on_stop(); });
}

void Receiver::reload_keys() {
    impl_->loop.post([this] { impl_->reload_keys(); });
}

void Receiver::Impl::reload_keys() {
    if (!options.keys) {
        return;
    }
    if (const Status loaded = options.keys->reload(); !loaded) {
        observer.notice(fmt::format("the keys stay as they were: {}", loaded.error().message));
        return;
    }
    observer.notice(fmt::format("{} key(s) read again from {}", options.keys->size(),
                                shown_path(options.keys->file())));
    const std::size_t before = sessions.load().held;
    sessions.fail_keys([this](const SharedKey& key) { return gate.is_revoked(key); },
                       Gate::revocation());
    // Whoever was to go on after a session that has ended is not let in: nobody else ends this.
    if (options.once && before > 0 && sessions.load().held == 0) {
        result = exit_code(Gate::revocation().kind);
        loop.stop();
    }
}

void Receiver::Impl::start_session(PendingSession request) {
    return_timer->stop();
    SessionLimits limits = options.session_limits;
    if (request.key) {
        limits = limited_by(limits, request.key->rights);
    }
    auto session = std::make_shared<Session>(++last_serial, random_token(), request.run,
                                             peer_address(request.channel.fd()), *hashing,
                                             request.key, limits);
    session->set_disposer(
        [this, serial = session->serial()](std::unique_ptr<Storage> store, bool keep) {
            dispose(std::move(store), keep);
            loop.post([this, serial] {
                forget_directories(serial);
                start_successor(serial);
            });
        });
    sessions.add(session, request.network);
    observer.session_started(session->serial(), session->peer(), session->report().key);

    // std::function wants to copy what it holds.
    auto handed_over = std::make_shared<Channel>(std::move(request.channel));
    Worker& worker = workers.for_session(session->serial());
    worker.post([this, session, handed_over, &worker, body = std::move(request.body)] {
        ControlConnection::Callbacks callbacks;
        auto told = std::make_shared<std::uint64_t>(0); // failed files, one by one
        callbacks.file_failed = [this, told, serial = session->serial()](const FailedFile& failed) {
            if (*told < kMaxToldFailures) {
                ++*told;
                loop.post([this, serial, failed] {
                    observer.file_failed(serial, escape(failed.path), failed.problem.text);
                });
            }
        };
        if (observer.wants_listed_files()) {
            callbacks.file_listed = [this, serial = session->serial()](const ListedFile& file) {
                listed.enter();
                loop.post([this, serial, file] {
                    listed.leave();
                    observer.file_listed(serial, escape(file.path), file.size, to_hex(file.digest));
                });
            };
        }
        callbacks.notice = [this](const std::string& line) {
            loop.post([this, line] { observer.notice(line); });
        };
        callbacks.ended = [this, told, session](SessionReport report) {
            report.failed_untold = *told < kMaxToldFailures ? 0 : report.failed - *told;
            loop.post([this, session, report] { session_ended(session, report); });
        };
        const ControlConnection::Settings settings{
            [this](const Session& opened, const proto::Open& open) {
                return open_storage(opened, open);
            },
            options.timeout, *chores, digests ? &*digests : nullptr};
        auto connection = std::make_unique<ControlConnection>(
            worker, session, std::move(*handed_over), settings, std::move(callbacks));
        ControlConnection& control = *connection;
        worker.add(std::move(connection));
        control.open(body);
    });
}

void Receiver::Impl::join_session(const std::shared_ptr<Session>& session, Channel channel,
                                  const proto::Join& join, proto::FrameCode code) {
    auto joined =
        JoinedConnection::join(session, std::move(channel), join.connection, std::move(code));
    if (joined) {
        workers.take(std::move(*joined), join.stream);
    } else if (session->store().dry_run()) {
        session->fail({ErrorKind::protocol, "a dry run has no data connections", 0});
    }
}

void Receiver::Impl::session_ended(const std::shared_ptr<Session>& session,
                                   const SessionReport& report) {
    sessions.remove(session->serial());
    observer.session_ended(report);
    sweep_if_due();
    if (options.once && !sessions.has_successor(session->serial())) {
        finish_once(report);
    }
    if (stopping && sessions.empty()) {
        loop.stop();
    }
}

void Receiver::Impl::sweep_if_due() {
    const auto now = std::chrono::steady_clock::now();
    if (options.discard || now - last_sweep < kSweepInterval) {
        return;
    }
    last_sweep = now;
    chores->post([this] {
        // What goes wrong is tried again the next time.
        static_cast<void>(sweep_work_area(root, options.keep_partial));
    });
}

// Not before everybody has let go of the session: data connections deal with what has come already
// when it ends, and may open directories for that.
void Receiver::Impl::forget_directories(std::uint64_t serial) {
    workers.post_to_all([serial](Worker& worker) { worker.tools().directories.forget(serial); });
}

void Receiver::Impl::start_successor(std::uint64_t serial) {
    if (std::optional<PendingSession> next = sessions.take_successor(serial); next) {
        start_session(std::move(*next));
    }
}

// The session that was to be served is not over as long as its sender may come back. What ends in
// the same turn of the loop changes nothing any more.
void Receiver::Impl::finish_once(const SessionReport& report) {
    if (served) {
        return;
    }
    result = report.failure      ? exit_code(report.failure->kind)
             : report.failed > 0 ? ExitCode::some_files
                                 : ExitCode::done;
    const bool lost = report.failure && (report.failure->kind == ErrorKind::network ||
                                         report.failure->kind == ErrorKind::timed_out);
    if (!lost || report.sender_retry.count() == 0) {
        served = true;
        loop.stop();
    } else if (sessions.empty()) {
        return_timer->start(report.sender_retry + kReturnMargin);
    }
}

// On whatever thread used the session last.
void Receiver::Impl::dispose(std::unique_ptr<Storage> store, bool keep) {
    if (keep && options.keep_partial.count() != 0) {
        store->touch();
        store.reset(); // closes what it holds open, and with that unlocks it
    } else if (store && !store->discards()) {
        janitor.dispose(std::move(store));
    }
}

void Receiver::Impl::on_stop() {
    if (stopping) {
        abandon_sessions();
        return;
    }
    stopping = true;
    admission.reset();
    listener.reset();
    if (sessions.empty()) {
        loop.stop();
        return;
    }
    observer.notice(
        fmt::format("stopping: {} session(s) have {} to finish", sessions.load().held,
                    format_seconds(static_cast<double>(options.stop_grace.count()) / 1000.0)));
    grace_timer->start(options.stop_grace);
}

void Receiver::Impl::abandon_sessions() {
    result = ExitCode::interrupted;
    sessions.fail_all({ErrorKind::interrupted, "the receiver is shutting down"});
}

} // namespace sluice
