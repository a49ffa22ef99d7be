#include "receiver/receiver.hpp"

#include "common/loop.hpp"
#include "common/text.hpp"
#include "common/unique_fd.hpp"
#include "receiver/control_connection.hpp"
#include "receiver/data_connection.hpp"
#include "receiver/janitor.hpp"
#include "receiver/lobby.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <fmt/format.h>
#include <map>
#include <sys/random.h>
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
        // One thread is left from here on: what libuv closes, no other thread opens anew.
        janitor.stop();
    }

    void accept_all();
    Status admit(UniqueFd& socket, proto::Role role, proto::FrameType type, proto::ByteView body);
    Status admit_control(UniqueFd& socket, proto::ByteView body);
    Status admit_data(UniqueFd& socket, proto::ByteView body);
    [[nodiscard]] std::shared_ptr<Session> find_session(const proto::Token& token) const;
    void session_ended(const std::shared_ptr<Session>& session, const SessionReport& report);
    void on_stop();
    void abandon_sessions();
    Worker& worker_for(const Session& session, unsigned stream) {
        return *workers[(session.serial() + stream) % workers.size()];
    }

    const ReceiverOptions options;
    ReceiverObserver& observer;
    ReceiverRoot root;
    Janitor janitor;
    Loop loop;
    UniqueFd listener;
    std::unique_ptr<Poll> listener_poll;
    std::unique_ptr<Timer> timer; // pause of the listener, then grace of the sessions
    std::unique_ptr<Lobby> lobby;
    std::map<std::uint64_t, std::shared_ptr<Session>> sessions; // by serial number
    std::uint64_t last_serial = 0;
    bool stopping = false;
    ExitCode result = ExitCode::done;
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
                     fmt::format("refusing to listen on {}: anyone who can reach it could write "
                                 "into {}; pass --insecure if the network is trusted",
                                 escape(impl.options.listen_address),
                                 escape(impl.options.directory))};
    }
    raise_descriptor_limit();
    Result<ReceiverRoot> root = open_root(impl.options.directory);
    if (!root) {
        return std::move(root).error();
    }
    impl.root = std::move(*root);
    Result<std::size_t> swept = sweep_work_area(impl.root);
    if (!swept) {
        return std::move(swept).error();
    }
    if (*swept > 0) {
        impl.observer.notice(
            fmt::format("removed what {} interrupted session(s) had left", *swept));
    }
    Result<UniqueFd> listener = listen_tcp(impl.options.listen_address, impl.options.port);
    if (!listener) {
        return std::move(listener).error();
    }
    impl.listener = std::move(*listener);
    const unsigned workers =
        std::clamp(std::thread::hardware_concurrency(), kMinWorkers, kMaxWorkers);
    for (unsigned count = 0; count < workers; ++count) {
        impl.workers.push_back(std::make_unique<Worker>(impl.options.receive_path));
    }
    return ok();
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
    impl.listener_poll = std::make_unique<Poll>(impl.loop, impl.listener.get(),
                                                [&impl](Readiness) { impl.accept_all(); });
    impl.listener_poll->wait_for({true, false});
    impl.observer.listening(local_address(impl.listener.get()));
    impl.loop.run();
    impl.listener_poll.reset();
    impl.timer.reset();
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
    if (sessions.size() >= options.max_sessions) {
        return Error{ErrorKind::refused,
                     fmt::format("the receiver is busy: {} sessions, its limit (--max-sessions)",
                                 sessions.size())};
    }
    auto session =
        std::make_shared<Session>(++last_serial, random_token(), peer_address(socket.get()));
    session->set_disposer(
        [this](std::unique_ptr<Store> store) { janitor.dispose(std::move(store)); });
    sessions.emplace(session->serial(), session);
    observer.session_started(session->serial(), session->peer());

    // std::function wants to copy what it holds.
    auto handed_over = std::make_shared<UniqueFd>(std::move(socket));
    Worker& worker = worker_for(*session, 0);
    worker.post(
        [this, session, handed_over, &worker, request = proto::Bytes(body.begin(), body.end())] {
            ControlConnection::Callbacks callbacks;
            callbacks.file_failed = [this, serial = session->serial()](const FailedFile& failed) {
                loop.post([this, serial, failed] {
                    observer.file_failed(serial, escape(failed.path), failed.problem.text);
                });
            };
            callbacks.ended = [this, session](const SessionReport& report) {
                loop.post([this, session, report] { session_ended(session, report); });
            };
            auto connection = std::make_unique<ControlConnection>(
                worker, session, std::move(*handed_over), std::move(callbacks));
            ControlConnection& control = *connection;
            worker.add(std::move(connection));
            control.open(root, options.min_free_bytes, request);
        });
    return ok();
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
    // The control connection has little to do: the first stream gets the other worker.
    Worker& worker = worker_for(*session, 1U + join.stream);
    worker.post([session, handed_over, &worker] {
        worker.add(std::make_unique<DataConnection>(worker, session, std::move(*handed_over)));
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
    for (const auto& worker : workers) {
        worker->post([&target = *worker, serial = session->serial()] {
            target.tools().directories.forget(serial);
        });
    }
    observer.session_ended(report);
    if (options.once) {
        result = report.failure      ? exit_code(report.failure->kind)
                 : report.failed > 0 ? ExitCode::some_files
                                     : ExitCode::done;
    }
    if (options.once || (stopping && sessions.empty())) {
        loop.stop();
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
