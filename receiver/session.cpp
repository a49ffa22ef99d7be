#include "receiver/session.hpp"

#include "common/text.hpp"

#include <fmt/format.h>
#include <sys/socket.h>

namespace sluice {

namespace {

// Failed files that wait to be told to the sender. It learns the number of all of them anyway.
constexpr std::size_t kMaxQueuedFailures = 10'000;

} // namespace

Session::Session(std::uint64_t serial, const proto::Token& token, std::string peer)
    : serial_(serial), token_(token), peer_(std::move(peer)) {}

Session::~Session() {
    if (store_ && dispose_) {
        dispose_(std::move(store_));
    }
}

void Session::set_disposer(std::function<void(std::unique_ptr<Store>)> dispose) {
    dispose_ = std::move(dispose);
}

bool Session::add_connection(int socket) {
    const std::scoped_lock lock(mutex_);
    if (ended_ || failure_ || sockets_.size() >= proto::kMaxStreams) {
        return false;
    }
    sockets_.insert(socket);
    return true;
}

void Session::remove_connection(int socket) {
    const std::scoped_lock lock(mutex_);
    sockets_.erase(socket);
}

void Session::stream_ended() {
    {
        const std::scoped_lock lock(mutex_);
        ++streams_ended_;
    }
    wake_();
}

void Session::fail(Error error) {
    {
        const std::scoped_lock lock(mutex_);
        if (ended_ || failure_) {
            return;
        }
        failure_ = std::move(error);
    }
    wake_();
}

void Session::file_failed(std::string_view path, const StoreProblem& problem) {
    failed_.fetch_add(1, std::memory_order_relaxed);
    if (problem.fatal) {
        fail({ErrorKind::file_io, fmt::format("{}: {}", escape(path), problem.text),
              problem.error_number});
        return;
    }
    {
        const std::scoped_lock lock(mutex_);
        if (failed_files_.size() < kMaxQueuedFailures) {
            failed_files_.push_back({std::string(path), problem});
        }
    }
    wake_();
}

std::optional<Error> Session::failure() const {
    const std::scoped_lock lock(mutex_);
    return failure_;
}

std::deque<FailedFile> Session::take_failed_files() {
    const std::scoped_lock lock(mutex_);
    std::deque<FailedFile> taken;
    taken.swap(failed_files_);
    return taken;
}

std::uint16_t Session::streams_ended() const {
    const std::scoped_lock lock(mutex_);
    return streams_ended_;
}

void Session::end() {
    const std::scoped_lock lock(mutex_);
    ended_ = true;
    // Each connection removes its socket before it closes it, so these are still its own. Its
    // worker sees the end of the stream and drops the connection.
    for (const int socket : sockets_) {
        ::shutdown(socket, SHUT_RDWR);
    }
}

void Session::count_bytes(const PathBytes& bytes) noexcept {
    const std::scoped_lock lock(mutex_);
    bytes_ += bytes;
}

SessionReport Session::report() const {
    SessionReport report;
    report.serial = serial_;
    report.peer = peer_;
    report.failed = failed_.load();
    report.usage = usage_.load();
    report.seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - started_).count();
    if (store_) {
        const StoreCounts& counts = store_->counts();
        report.files = counts.files.load();
        report.unchanged = counts.unchanged.load();
        report.directories = counts.directories.load();
        report.symlinks = counts.symlinks.load();
    }
    const std::scoped_lock lock(mutex_);
    report.failure = failure_;
    report.bytes = bytes_;
    return report;
}

} // namespace sluice
