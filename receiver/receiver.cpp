#include "receiver/receiver.hpp"

#include "common/job_pool.hpp"
#include "common/loop.hpp"
#include "common/text.hpp"
#include "common/unique_fd.hpp"
#include "receiver/control_connection.hpp"
#include "receiver/data_connection.hpp"
#include "receiver/discarder.hpp"
#include "receiver/janitor.hpp"
#include "receiver/lobby.hpp"
#include "receiver/store.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <fmt/format.h>
#include <map>
#include <optional>
#include <string>
#include <sys/random.h>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace sluice {

namespace {

// More workers than cores: some are waiting for the disk.
constexpr unsigned kMinWorkers = 2;
constexpr unsigned kMaxWorkers = 16;
// Connections accepted in one turn.
constexpr int kAcceptsPerTurn = 64;
// After running out of descriptors: the listener would be readable all the time.
constexpr std::chrono::milliseconds kAcceptPause{100};
// Sessions that open, publish or wait for the disk at the same time.
constexpr unsigned kChoreThreads = 4;
// Hashing one stream of 3 GB/s takes a third of a core.
constexpr unsigned kMaxHashThreads = 4;
// Leftovers that have become too old are looked for at the end of a session, at most so often.
constexpr std::chrono::hours kSweepInterval{1};
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
        : options(std::move(receiver_options)), observer(receiver_observer) {}
    ~Impl() {
        for (const auto& worker : workers) {
            worker->stop();
        }
        chores.reset();
        hashing.reset();
        waiting.clear();
        sessions.clear();
        // One thread is left from here on: what libuv closes, no other thread opens anew.
        janitor.stop();
    }

    Status open_directory();
    Result<std::unique_ptr<Storage>> open_storage(std::uint64_t serial,
                                                  const proto::Open& request) const;
    void accept_all();
    Status admit(UniqueFd& socket, proto::Role role, proto::FrameType type, proto::ByteView body);
    Status admit_control(UniqueFd& socket, proto::ByteView body);
    void start_session(const proto::Token& run, UniqueFd socket, proto::Bytes body);
    Status admit_data(UniqueFd& socket, proto::ByteView body);
    [[nodiscard]] std::shared_ptr<Session> find_session(const proto::Token& token) const;
    void session_ended(const std::shared_ptr<Session>& session, const SessionReport& report);
    void forget_directories(std::uint64_t serial) const;
    void start_successor(std::uint64_t serial);
    void finish_once(const SessionReport& report);
    void dispose(std::unique_ptr<Storage> store, bool keep);
    void sweep_if_due();
    void on_stop();
    void abandon_sessions();
    Worker& worker_for(const Session& session, unsigned stream) {
        return *workers[(session.serial() + stream) % workers.size()];
    }

    Worker& worker_for_data(const Session& session, unsigned stream);

    const ReceiverOptions options;
    ReceiverObserver& observer;
    ReceiverRoot root;
    std::optional<DigestFile> digests;
    Janitor janitor;
    Loop loop;
    UniqueFd listener;
    std::string address; // of the listener
    std::unique_ptr<Poll> listener_poll;
    std::unique_ptr<Timer> timer;        // pause of the listener, then grace of the sessions
    std::unique_ptr<Timer> return_timer; // of a sender that lost its connection, with --once
    std::unique_ptr<Lobby> lobby;
    std::map<std::uint64_t, std::shared_ptr<Session>> sessions; // by serial number
    // Sessions that take the place of one of the same run, which has to let go of its files first.
    struct Successor {
        proto::Token run;
        UniqueFd socket;
        proto::Bytes body;
    };
    std::map<std::uint64_t, Successor> waiting; // by the serial number of the one that ends
    std::chrono::steady_clock::time_point last_sweep = std::chrono::steady_clock::now();
    std::uint64_t last_serial = 0;
    bool stopping = false;
    ExitCode result = ExitCode::done;
    std::unique_ptr<JobPool> hashing = std::make_unique<JobPool>(
        std::clamp(std::thread::hardware_concurrency() / 2, 1U, kMaxHashThreads));
    std::unique_ptr<JobPool> chores = std::make_unique<JobPool>(kChoreThreads);
    std::vector<std::unique_ptr<Worker>> workers;
};

Receiver::Receiver(ReceiverOptions options, ReceiverObserver& observer)
    : impl_(std::make_unique<Impl>(std::move(options), observer)) {}

Receiver::~Receiver() = default;

Status Receiver::start() {
    Impl& impl = *impl_;
    Result<bool> loopback = is_loopback(impl.options.listen_address);
    if (!loopback) {
        return std::move(loopback).error();
    }
    if (!*loopback && !impl.options.insecure) {
        return Error{ErrorKind::refused,
                     fmt::format("refusing to listen on {}: anyone who can reach it could {}; pass "
                                 "--insecure if the network is trusted",
                                 escape(impl.options.listen_address),
                                 impl.options.discard
                                     ? std::string("send to it")
                                     : "write into " + escape(impl.options.directory))};
    }
    raise_descriptor_limit();
    if (!impl.options.discard) {
        if (Status opened = impl.open_directory(); !opened) {
            return opened;
        }
    }
    Result<UniqueFd> listener = listen_tcp(impl.options.listen_address, impl.options.port);
    if (!listener) {
        return std::move(listener).error();
    }
    impl.listener = std::move(*listener);
    impl.address = local_address(impl.listener.get());
    if (impl.address == "?") { // nobody could find a port that the system chose
        return system_error(ErrorKind::network, "cannot find out the address listened on", errno);
    }
    const unsigned workers =
        std::clamp(std::thread::hardware_concurrency(), kMinWorkers, kMaxWorkers);
    try {
        for (unsigned count = 0; count < workers; ++count) {
            impl.workers.push_back(std::make_unique<Worker>(impl.options.receive_path));
        }
    } catch (const std::system_error& error) { // what std::thread throws
        return system_error(ErrorKind::file_io, "cannot start a thread", error.code().value());
    }
    return ok();
}

Status Receiver::Impl::open_directory() {
    Result<ReceiverRoot> opened = open_root(options.directory);
    if (!opened) {
        return std::move(opened).error();
    }
    root = std::move(*opened);
    Result<std::size_t> swept = sweep_work_area(root, options.keep_partial);
    if (!swept) {
        return std::move(swept).error();
    }
    if (*swept > 0) {
        observer.notice(fmt::format("removed what {} interrupted session(s) had left", *swept));
    }
    if (!options.digests_file.empty()) {
        Result<DigestFile> list = DigestFile::open(options.digests_file);
        if (!list) {
            return std::move(list).error();
        }
        digests.emplace(std::move(*list));
    }
    return ok();
}

Result<std::unique_ptr<Storage>> Receiver::Impl::open_storage(std::uint64_t serial,
                                                              const proto::Open& request) const {
    if (options.discard) {
        return Discarder::open(request);
    }
    const StorePolicy policy{options.min_free_bytes, options.sync,
                             options.keep_partial.count() != 0, digests.has_value()};
    Result<std::unique_ptr<Store>> store = Store::open(root, serial, request, policy);
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
    }
    impl.lobby = std::make_unique<Lobby>(
        impl.loop, impl.options.handshake_timeout,
        [&impl](UniqueFd& socket, proto::Role role, proto::FrameType type, proto::ByteView body) {
            return impl.admit(socket, role, type, body);
        });
    impl.timer = std::make_unique<Timer>(impl.loop, [&impl] {
        if (impl.stopping) {
            impl.abandon_sessions();
        } else {
            impl.listener_poll->wait_for({true, false});
        }
    });
    impl.return_timer = std::make_unique<Timer>(impl.loop, [&impl] { impl.loop.stop(); });
    impl.listener_poll = std::make_unique<Poll>(impl.loop, impl.listener.get(),
                                                [&impl](Readiness) { impl.accept_all(); });
    impl.listener_poll->wait_for({true, false});
    impl.observer.listening(impl.address, impl.options.discard);
    impl.loop.run();
    impl.listener_poll.reset();
    impl.timer.reset();
    impl.return_timer.reset();
    impl.lobby.reset();
    return impl.result;
}

void Receiver::stop() {
    impl_->loop.post([this] { impl_->on_stop(); });
}

void Receiver::Impl::accept_all() {
    for (int count = 0; count < kAcceptsPerTurn; ++count) {
        Result<UniqueFd> socket = accept_tcp(listener.get());
        if (socket) {
            lobby->enter(std::move(*socket));
            continue;
        }
        const int error = socket.error().error_number;
        if (error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM) {
            observer.notice(socket.error().message);
            listener_poll->wait_for({});
            timer->start(kAcceptPause);
        }
        if (error != ECONNABORTED && error != EINTR) {
            return;
        }
    }
}

Status Receiver::Impl::admit(UniqueFd& socket, proto::Role role, proto::FrameType type,
                             proto::ByteView body) {
    if (stopping) {
        return Error{ErrorKind::refused, "the receiver is shutting down"};
    }
    if (role == proto::Role::control && type == proto::FrameType::open) {
        return admit_control(socket, body);
    }
    if (role == proto::Role::data && type == proto::FrameType::join) {
        return admit_data(socket, body);
    }
    return Error{ErrorKind::protocol, std::string(proto::describe(proto::Fault::misplaced_frame))};
}

Status Receiver::Impl::admit_control(UniqueFd& socket, proto::ByteView body) {
    proto::Open request; // what is wrong with it, the session will say
    const bool named = proto::decode(body, request) == proto::Fault::none;
    const proto::Token run = named ? request.run : proto::Token{};
    proto::Bytes copy(body.begin(), body.end());
    for (const auto& [serial, session] : sessions) {
        if (named && run != proto::Token{} && session->run() == run) { // zero names no run
            // Its sender has noticed before we did that the connection was lost.
            session->fail({ErrorKind::network, "the sender has come back on another connection"});
            waiting[serial] = {run, std::move(socket), std::move(copy)};
            return ok();
        }
    }
    if (sessions.size() >= options.max_sessions) {
        return Error{ErrorKind::refused,
                     fmt::format("the receiver is busy: {} sessions, its limit (--max-sessions)",
                                 sessions.size())};
    }
    start_session(run, std::move(socket), std::move(copy));
    return ok();
}

void Receiver::Impl::start_session(const proto::Token& run, UniqueFd socket, proto::Bytes body) {
    return_timer->stop();
    auto session = std::make_shared<Session>(++last_serial, random_token(), run,
                                             peer_address(socket.get()), *hashing);
    session->set_disposer(
        [this, serial = session->serial()](std::unique_ptr<Storage> store, bool keep) {
            dispose(std::move(store), keep);
            loop.post([this, serial] {
                forget_directories(serial);
                start_successor(serial);
            });
        });
    sessions.emplace(session->serial(), session);
    observer.session_started(session->serial(), session->peer());

    // std::function wants to copy what it holds.
    auto handed_over = std::make_shared<UniqueFd>(std::move(socket));
    Worker& worker = worker_for(*session, 0);
    worker.post([this, session, handed_over, &worker, request = std::move(body)] {
        ControlConnection::Callbacks callbacks;
        callbacks.file_failed = [this, serial = session->serial()](const FailedFile& failed) {
            loop.post([this, serial, failed] {
                observer.file_failed(serial, escape(failed.path), failed.problem.text);
            });
        };
        if (observer.wants_listed_files()) {
            callbacks.file_listed = [this, serial = session->serial()](const ListedFile& file) {
                loop.post([this, serial, file] {
                    observer.file_listed(serial, escape(file.path), file.size, to_hex(file.digest));
                });
            };
        }
        callbacks.notice = [this](const std::string& line) {
            loop.post([this, line] { observer.notice(line); });
        };
        callbacks.ended = [this, session](const SessionReport& report) {
            loop.post([this, session, report] { session_ended(session, report); });
        };
        const ControlConnection::Settings settings{
            [this](std::uint64_t serial, const proto::Open& open) {
                return open_storage(serial, open);
            },
            options.timeout, *chores, digests ? &*digests : nullptr};
        auto connection = std::make_unique<ControlConnection>(
            worker, session, std::move(*handed_over), settings, std::move(callbacks));
        ControlConnection& control = *connection;
        worker.add(std::move(connection));
        control.open(request);
    });
}

// The one that has the fewest; of several the streams of a session get different ones, and the
// first not that of the control connection, which has little to do, but without delay.
Worker& Receiver::Impl::worker_for_data(const Session& session, unsigned stream) {
    Worker* chosen = &worker_for(session, 1U + stream);
    for (unsigned other = 1; other < workers.size(); ++other) {
        Worker& candidate = worker_for(session, 1U + stream + other);
        if (candidate.data_connections() < chosen->data_connections()) {
            chosen = &candidate;
        }
    }
    return *chosen;
}

Status Receiver::Impl::admit_data(UniqueFd& socket, proto::ByteView body) {
    proto::Join join;
    if (const auto fault = proto::decode(body, join); fault != proto::Fault::none) {
        return Error{ErrorKind::protocol, std::string(proto::describe(fault))};
    }
    const std::shared_ptr<Session> session = find_session(join.token);
    if (!session) {
        return Error{ErrorKind::refused,
                     std::string(proto::describe(proto::Fault::unknown_session))};
    }
    auto handed_over = std::make_shared<UniqueFd>(std::move(socket));
    Worker& worker = worker_for_data(*session, join.stream);
    worker.expect_data_connection();
    worker.post([session, handed_over, &worker, number = join.connection] {
        worker.add(
            std::make_unique<DataConnection>(worker, session, std::move(*handed_over), number));
    });
    return ok();
}

// Looks at every byte of every token, so that the time it takes tells nothing about them.
std::shared_ptr<Session> Receiver::Impl::find_session(const proto::Token& token) const {
    std::shared_ptr<Session> found;
    for (const auto& [serial, session] : sessions) {
        std::byte difference{};
        for (std::size_t index = 0; index < token.size(); ++index) {
            difference |= token[index] ^ session->token()[index];
        }
        if (difference == std::byte{}) {
            found = session;
        }
    }
    return found;
}

void Receiver::Impl::session_ended(const std::shared_ptr<Session>& session,
                                   const SessionReport& report) {
    sessions.erase(session->serial());
    observer.session_ended(report);
    sweep_if_due();
    if (options.once && waiting.count(session->serial()) == 0) {
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
void Receiver::Impl::forget_directories(std::uint64_t serial) const {
    for (const auto& worker : workers) {
        worker->post([&target = *worker, serial] { target.tools().directories.forget(serial); });
    }
}

void Receiver::Impl::start_successor(std::uint64_t serial) {
    if (const auto next = waiting.find(serial); next != waiting.end()) {
        Successor successor = std::move(next->second);
        waiting.erase(next);
        start_session(successor.run, std::move(successor.socket), std::move(successor.body));
    }
}

// The session that was to be served is not over as long as its sender may come back.
void Receiver::Impl::finish_once(const SessionReport& report) {
    result = report.failure      ? exit_code(report.failure->kind)
             : report.failed > 0 ? ExitCode::some_files
                                 : ExitCode::done;
    const bool lost = report.failure && (report.failure->kind == ErrorKind::network ||
                                         report.failure->kind == ErrorKind::timed_out);
    if (!lost || report.sender_retry.count() == 0) {
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
    listener_poll->wait_for({});
    listener_poll.reset();
    listener.reset();
    lobby->clear();
    if (sessions.empty()) {
        loop.stop();
        return;
    }
    observer.notice(
        fmt::format("stopping: {} session(s) have {} to finish", sessions.size(),
                    format_seconds(static_cast<double>(options.stop_grace.count()) / 1000.0)));
    timer->start(options.stop_grace);
}

void Receiver::Impl::abandon_sessions() {
    result = ExitCode::interrupted;
    for (const auto& [serial, session] : sessions) {
        session->fail({ErrorKind::interrupted, "the receiver is shutting down"});
    }
}

} // namespace sluice
