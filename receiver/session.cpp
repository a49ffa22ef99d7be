#include "receiver/session.hpp"

#include "common/exit_code.hpp"
#include "common/log.hpp"
#include "common/text.hpp"

#include <fmt/format.h>
#include <sys/socket.h>
#include <utility>

namespace sluice {

namespace {

// Memory for failed files that wait to be told to the sender, one of which may not be listening. It
// learns the number of all of them anyway.
constexpr std::size_t kMaxQueuedFailureBytes = std::size_t{4} << 20;
// What a sender is to be told and does not take: 8 bytes of memory each, and 24.
constexpr std::size_t kMaxWaitingAcks = std::size_t{1} << 18;
constexpr std::size_t kMaxWaitingAgain = std::size_t{1} << 16;
// Data connections of one session, all in all: of each the number is remembered.
constexpr std::size_t kMaxConnections = 65'536;

// Without a Lost the sender would wait for such a connection for ever.
Error too_many_connections() {
    return {ErrorKind::refused, "too many data connections in one session"};
}

constexpr const char* kDeaf = "the sender does not read what it is told";

std::size_t memory_of(const FailedFile& failed) {
    return sizeof failed + failed.path.size() + failed.problem.text.size();
}

} // namespace

Error sender_error(const proto::ErrorMessage& message) {
    return {error_kind(message.code), fmt::format("the sender gave up: {}", escape(message.text)),
            0};
}

Session::Session(std::uint64_t serial, const proto::Token& token, const proto::Token& run,
                 std::string peer, JobPool& hashing, SharedKey key, const SessionLimits& limits)
    : serial_(serial), token_(token), run_(run), peer_(std::move(peer)), key_(std::move(key)),
      hashing_(hashing), quota_(limits) {}

// Only what broke off can be gone on with. After a full disk, say, its room is worth more.
Session::~Session() {
    if (dispose_) {
        const bool broken_off = failure_ && (failure_->kind == ErrorKind::network ||
                                             failure_->kind == ErrorKind::timed_out ||
                                             failure_->kind == ErrorKind::interrupted);
        const bool keep = broken_off && store_ && store_->is_worth_keeping();
        dispose_(std::move(store_), keep);
    }
}

void Session::set_store(std::unique_ptr<Storage> store, bool verify) {
    store_ = std::move(store);
    verify_ = verify;
}

void Session::sign(const DataKeys& keys) {
    const std::scoped_lock lock(mutex_);
    data_keys_ = keys;
}

bool Session::is_signed() const {
    const std::scoped_lock lock(mutex_);
    return data_keys_.has_value();
}

proto::FrameCode Session::frame_code(std::uint32_t connection) const {
    const std::scoped_lock lock(mutex_);
    return data_keys_ ? frame_codes(data_keys_->frames, connection) : proto::FrameCode{};
}

std::optional<Secret> Session::payload_key() const {
    const std::scoped_lock lock(mutex_);
    return data_keys_ ? std::optional(data_keys_->payload) : std::nullopt;
}

// One line for all of it: whoever lies between may do it very often.
void Session::note_damage(bool is_frame) {
    ++damaged_;
    if (is_frame && is_signed() && !warned_.exchange(true)) {
        log_warning(fmt::format("session {}: a data connection from {} delivered what its sender "
                                "has not sent: something on the way damages the data or tampers "
                                "with them",
                                serial_, peer_));
    }
}

void Session::set_disposer(Dispose dispose) {
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

bool Session::has_news() {
    return !std::exchange(woken_, true);
}

bool Session::add_connection(std::uint32_t number, int socket) {
    {
        const std::scoped_lock lock(mutex_);
        if (ended_ || failure_ || closed_ || connections_.size() >= proto::kMaxStreams ||
            store_->dry_run() || used_numbers_.count(number) != 0) {
            return false;
        }
        if (used_numbers_.size() < kMaxConnections) {
            used_numbers_.insert(number);
            connections_[number].socket = socket;
            return true;
        }
    }
    fail(too_many_connections());
    return false;
}

void Session::connection_ended(std::uint32_t number) {
    bool news = false;
    {
        const std::scoped_lock lock(mutex_);
        connections_[number].socket = -1;
        news = forget_if_over(number);
    }
    if (news) {
        wake();
    }
}

void Session::drop_connection(std::uint32_t number) {
    bool news = false;
    bool too_many = false;
    {
        const std::scoped_lock lock(mutex_);
        if (const auto found = connections_.find(number); found != connections_.end()) {
            if (found->second.socket >= 0) {
                // Its worker sees the end of the stream, and then the rest follows.
                ::shutdown(found->second.socket, SHUT_RDWR);
            }
        } else if (used_numbers_.count(number) == 0) {
            too_many = used_numbers_.size() >= kMaxConnections;
            if (!too_many) {
                used_numbers_.insert(number);
                note_lost(number); // it has not come, and may not come any more
                news = has_news();
            }
        }
    }
    if (too_many) {
        fail(too_many_connections());
    } else if (news) {
        wake();
    }
}

bool Session::forget_if_over(std::uint32_t number) {
    const auto found = connections_.find(number);
    if (found == connections_.end() || found->second.socket >= 0 || found->second.unverified > 0) {
        return false;
    }
    connections_.erase(found);
    note_lost(number);
    return has_news();
}

void Session::note_lost(std::uint32_t number) {
    news_.lost.push_back(number);
    ++lost_;
}

void Session::acknowledge(std::uint64_t id) {
    bool news = false;
    bool too_many = false;
    {
        const std::scoped_lock lock(mutex_);
        news_.stored.push_back(id);
        ++acknowledged_;
        too_many = news_.stored.size() > kMaxWaitingAcks;
        news = has_news();
    }
    if (too_many) {
        fail({ErrorKind::protocol, kDeaf});
    } else if (news) {
        wake();
    }
}

proto::Fault Session::verify(std::uint64_t id, const ArrivedExtent& extent) {
    std::optional<Check> complete;
    {
        const std::scoped_lock lock(mutex_);
        if (checks_.size() >= proto::kMaxUnacknowledged) {
            return proto::Fault::limit_exceeded;
        }
        const auto [added, is_new] = checks_.try_emplace(id, Check{extent, {}, {}});
        if (!is_new) {
            return proto::Fault::bad_value;
        }
        if (const auto early = early_digests_.find(id); early != early_digests_.end()) {
            added->second.expected = early->second;
            early_digests_.erase(early);
        }
        ++connections_[extent.connection].unverified;
        if (extent.digest) {
            added->second.actual = RangeDigest{*extent.digest, extent.length, 0};
            if (added->second.expected) {
                complete = added->second;
                checks_.erase(added);
            }
        }
    }
    if (extent.digest) {
        if (complete) {
            settle(id, *complete);
        }
        return proto::Fault::none;
    }
    hashing_.post([self = shared_from_this(), id, file = extent.file->fd.get(),
                   offset = extent.offset,
                   length = extent.length] { self->hash(id, file, offset, length); });
    return proto::Fault::none;
}

// On a thread of the pool. The file stays open: an extent is being verified.
void Session::hash(std::uint64_t id, int file, std::uint64_t offset, std::uint64_t length) {
    const Usage before = thread_usage();
    const RangeDigest actual = payload_digest(payload_key(), id, file, offset, length);
    std::optional<Check> complete;
    {
        const std::scoped_lock lock(mutex_);
        const auto found = checks_.find(id);
        found->second.actual = actual;
        if (found->second.expected) {
            complete = found->second;
            checks_.erase(found);
        }
    }
    if (complete) {
        settle(id, *complete);
    }
    charge(thread_usage() - before);
}

proto::Fault Session::expect(const proto::Digests& digests) {
    for (const proto::Digests::Entry& entry : digests.entries) {
        std::optional<Check> complete;
        {
            const std::scoped_lock lock(mutex_);
            const auto found = checks_.find(entry.id);
            if (found == checks_.end()) {
                // The oldest may be of extents that were lost.
                if (early_digests_.size() >= proto::kMaxUnacknowledged) {
                    early_digests_.erase(early_digests_.begin());
                }
                early_digests_[entry.id] = entry.digest;
                continue;
            }
            if (found->second.expected) {
                return proto::Fault::bad_value;
            }
            found->second.expected = entry.digest;
            if (found->second.actual) {
                complete = found->second;
                checks_.erase(found);
            }
        }
        if (complete) {
            settle(entry.id, *complete);
        }
    }
    return proto::Fault::none;
}

// Both digests are known.
void Session::settle(std::uint64_t id, const Check& check) {
    LargeFile& file = *check.extent.file;
    const std::string path = file.path; // the file may be gone afterwards
    std::optional<StoreProblem> problem;
    bool again = false;
    if (check.actual->error_number != 0) {
        if (!file.dead.exchange(true)) {
            problem = make_problem(check.actual->error_number);
            problem->fault = proto::FileFault::corrupt;
            problem->text = fmt::format("cannot read it back: {}", problem->text);
        }
        store_->extent_lost(file);
    } else if (equal_tags(check.actual->digest, *check.expected)) {
        // What is kept for a later session must be checked without this one's keys.
        problem =
            store_->extent_done(file, check.extent.offset, check.extent.length,
                                is_signed() ? std::nullopt : std::optional(check.actual->digest));
    } else {
        note_damage(false);
        again = !file.dead; // of a dead file nobody wants anything
        store_->extent_lost(file);
    }
    if (problem) {
        file_failed(path, *problem);
    }
    if (!again) {
        acknowledge(id);
    }
    bool news = false;
    bool too_many = false;
    {
        const std::scoped_lock lock(mutex_);
        if (again) {
            news_.again.push_back({id, check.actual->digest});
            too_many = news_.again.size() > kMaxWaitingAgain;
            news = has_news();
        }
        --connections_[check.extent.connection].unverified;
        news = forget_if_over(check.extent.connection) || news;
    }
    if (too_many) {
        fail({ErrorKind::protocol, kDeaf});
    } else if (news) {
        wake();
    }
}

bool Session::take(std::string_view path, std::uint64_t bytes) {
    std::optional<Error> too_much = quota_.take(path, bytes);
    if (too_much) {
        fail(std::move(*too_much));
    }
    return !too_much;
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

Session::News Session::take_news() {
    const std::scoped_lock lock(mutex_);
    woken_ = false;
    return std::exchange(news_, {});
}

bool Session::has_received(const proto::AllSent& all) const {
    const std::scoped_lock lock(mutex_);
    return acknowledged_ == all.acknowledged && lost_ == all.lost;
}

void Session::close_to_connections() {
    const std::scoped_lock lock(mutex_);
    closed_ = true;
    shut_connections_down();
}

bool Session::has_connections() const {
    const std::scoped_lock lock(mutex_);
    return !connections_.empty();
}

void Session::end() {
    const std::scoped_lock lock(mutex_);
    ended_ = true;
    shut_connections_down();
}

// Each connection says that it has ended before it closes its socket, so these are still its own.
// Its worker sees the end of the stream and drops the connection.
void Session::shut_connections_down() {
    for (const auto& [number, connection] : connections_) {
        if (connection.socket >= 0) {
            ::shutdown(connection.socket, SHUT_RDWR);
        }
    }
}

void Session::count_bytes(std::uint32_t number, const PathBytes& bytes,
                          std::uint64_t progress_bytes, bool under_way) noexcept {
    const std::scoped_lock lock(mutex_);
    bytes_ += bytes;
    if (const auto found = connections_.find(number); found != connections_.end()) {
        DataLink& link = found->second;
        link.window_bytes += progress_bytes;
        if (std::exchange(link.under_way, under_way) != under_way) {
            link.window_began.reset();
        }
    }
}

void Session::end_slow_connections(std::chrono::steady_clock::time_point now,
                                   std::chrono::milliseconds window) {
    const auto least = static_cast<std::uint64_t>(static_cast<double>(limits().min_rate) *
                                                  std::chrono::duration<double>(window).count());
    const std::scoped_lock lock(mutex_);
    for (auto& [number, link] : connections_) {
        if (!link.under_way || link.socket < 0) {
            continue;
        }
        if (link.window_began && now - *link.window_began < window) {
            continue;
        }
        if (link.window_began && link.window_bytes < least) {
            // Its worker sees the end of the stream; the sender is told, and may send it again.
            ::shutdown(link.socket, SHUT_RDWR);
            log_verbose(fmt::format("session {}: data connection {} is too slow: {} in {} "
                                    "(--min-rate)",
                                    serial_, number, format_bytes(link.window_bytes),
                                    format_seconds(std::chrono::duration<double>(window).count())));
        }
        link.window_began = now;
        link.window_bytes = 0;
    }
}

SessionReport Session::report() const {
    SessionReport report;
    report.serial = serial_;
    report.peer = peer_;
    report.key = key_ ? key_->name : std::string{};
    if (key_) {
        report.security = is_signed() ? Security::signed_data : Security::tls;
    }
    report.failed = failed_.load();
    report.damaged = damaged_.load();
    report.usage = usage_.load();
    report.seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - started_).count();
    if (store_) {
        report.discarded = store_->discards();
        const StoreCounts& counts = store_->counts();
        report.files = counts.files.load();
        report.unchanged = counts.unchanged.load();
        report.reused_files = counts.reused_files.load();
        report.reused_bytes = counts.reused_bytes.load();
        report.directories = counts.directories.load();
        report.symlinks = counts.symlinks.load();
    }
    const std::scoped_lock lock(mutex_);
    report.failure = failure_;
    report.bytes = bytes_;
    return report;
}

} // namespace sluice
