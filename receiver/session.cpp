#include "receiver/session.hpp"

#include "common/exit_code.hpp"
#include "common/text.hpp"

#include <fmt/format.h>
#include <sys/socket.h>

namespace sluice {

namespace {

// Memory for failed files that wait to be told to the sender, one of which may not be listening. It
// learns the number of all of them anyway.
constexpr std::size_t kMaxQueuedFailureBytes = std::size_t{4} << 20;

std::size_t memory_of(const FailedFile& failed) {
    return sizeof failed + failed.path.size() + failed.problem.text.size();
}

} // namespace

Error sender_error(const proto::ErrorMessage& message) {
    return {error_kind(message.code), fmt::format("the sender gave up: {}", escape(message.text)),
            0};
}

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

void Session::set_waker(std::function<void()> wake) {
    const std::scoped_lock lock(mutex_);
    wake_ = std::move(wake);
}

void Session::wake() {
    std::function<void()> call;
    {
        const std::scoped_lock lock(mutex_);
        call = wake_;
    }
    if (call) { // else the control connection is yet to be made, and will look by itself
        call();
    }
}

bool Session::add_connection(int socket) {
    const std::scoped_lock lock(mutex_);
    if (ended_ || failure_ || finished_ || sockets_.size() >= proto::kMaxStreams ||
        store_->dry_run()) {
        return false;
    }
    ++streams_joined_;
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
    wake();
}

void Session::fail(Error error) {
    {
        const std::scoped_lock lock(mutex_);
        if (ended_ || failure_) {
            return;
        }
        failure_ = std::move(error);
    }
    wake();
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
        FailedFile failed{std::string(path), problem};
        if (const std::size_t bytes = memory_of(failed);
            failed_bytes_ + bytes <= kMaxQueuedFailureBytes) {
            failed_bytes_ += bytes;
            failed_files_.push_back(std::move(failed));
        }
    }
    wake();
}

std::optional<Error> Session::failure() const {
    const std::scoped_lock lock(mutex_);
    return failure_;
}

std::optional<FailedFile> Session::take_failed_file() {
    const std::scoped_lock lock(mutex_);
    if (failed_files_.empty()) {
        return std::nullopt;
    }
    FailedFile failed = std::move(failed_files_.front());
    failed_files_.pop_front();
    failed_bytes_ -= memory_of(failed);
    return failed;
}

Session::Streams Session::finish_streams(std::uint64_t streams) {
    const std::scoped_lock lock(mutex_);
    if (streams_joined_ > streams) {
        return Streams::too_many;
    }
    finished_ = streams_ended_ == streams;
    return finished_ ? Streams::complete : Streams::waiting;
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
