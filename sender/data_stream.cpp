#include "sender/data_stream.hpp"

#include "common/net.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <iterator>
#include <span>
#include <utility>

namespace sluice {

namespace {

// A connection that has lasted for so long counts as one that worked.
constexpr std::chrono::seconds kSettled{10};
// How often a small file is read that somebody writes to meanwhile.
constexpr int kReadTries = 3;
// Files of that size are worth a system call that says how they will be read.
constexpr std::uint64_t kLongBytes = std::uint64_t{1} << 20;

} // namespace

DataStream::DataStream(StreamSettings settings, StreamHost& host, WorkQueue& queue,
                       InFlight& in_flight, StreamTotals& totals)
    : context_(std::move(settings), host, in_flight, totals), queue_(queue), small_(context_),
      large_(context_, [this](Piece& piece) { share(piece); }), thread_([this] { run(); }) {}

DataStream::~DataStream() {
    thread_.join();
}

void DataStream::run() {
    // sendfile(2) raises SIGPIPE where the peer has closed, and has no flag against it. The rest of
    // the program may want the signal, so it is blocked on this thread only.
    sigset_t pipe_signal;
    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_signal, nullptr);
    std::optional<Error> error = work();
    context_.disconnect();
    context_.totals.usage.add(thread_usage());
    context_.host.stream_ended(std::move(error));
}

std::optional<Error> DataStream::work() {
    Status state = context_.connect();
    for (;;) {
        if (state) {
            connected_at_ = Clock::now();
            state = send_everything();
            if (state) {
                return std::nullopt;
            }
        }
        Error reason = std::move(state).error();
        hand_back();
        const std::uint32_t connection = context_.connection;
        const InFlight::Ended ended = context_.disconnect();
        if (ended.stalled) {
            reason = context_.socket.broken(ETIMEDOUT); // whatever its end looked like
        }
        if (reason.kind == ErrorKind::interrupted) {
            return std::nullopt;
        }
        if (connection != 0) {
            context_.host.connection_lost(connection, reason);
        }
        // Neither a source that shrank nor a used-up connection is a fault of the path: no reason
        // to wait.
        const bool broken = reason.kind != ErrorKind::source_changed && !context_.socket.used_up();
        if (broken) {
            const Next next = wait_before_retry(reason, ended);
            if (next != Next::connect) {
                return next == Next::cancelled ? std::nullopt : std::optional(reason);
            }
        }
        state = context_.connect();
        context_.totals.reconnects += state && broken ? 1 : 0;
    }
}

Status DataStream::send_everything() {
    for (;;) {
        if (Status sent = send_in_hand(); !sent) {
            return sent;
        }
        std::optional<Work> next = queue_.try_pop(context_.settings.index);
        if (!next) {
            // Before waiting: what is held back may be all that the others wait for.
            for (Status flushed : {small_.flush(), large_.flush()}) {
                if (!flushed) {
                    return flushed;
                }
            }
            context_.host.idle();
            next = queue_.pop(context_.settings.index);
        }
        if (!next) {
            return ok();
        }
        if (next->is_piece()) {
            piece_ = std::move(next->piece);
        } else {
            chunk_ = std::move(next->entries);
            next_entry_ = 0;
            chunk_read_ahead_ = false;
        }
    }
}

Status DataStream::send_in_hand() {
    for (;;) {
        if (context_.socket.used_up()) {
            return flush_for_good();
        }
        if (piece_) {
            if (Status sent = large_.send(*piece_); !sent) {
                return sent;
            }
            if (piece_->length > 0) {
                continue; // the connection is used up
            }
            piece_.reset(); // or the file would stay open
        }
        if (next_entry_ == chunk_.size()) {
            return ok();
        }
        if (Status sent = send_entry(chunk_[next_entry_]); !sent) {
            return sent;
        }
        ++next_entry_;
    }
}

Status DataStream::flush_for_good() {
    for (Status flushed : {small_.flush(), large_.flush()}) {
        if (!flushed) {
            return flushed;
        }
    }
    return Error{ErrorKind::network, "it has carried as much as its keys should protect"};
}

// Takes the entry over, or leaves it as it was where there is an Error.
Status DataStream::send_entry(SourceEntry& entry) {
    return entry.kind == EntryKind::file ? send_file(entry) : small_.add(entry);
}

// Whether the next entry is in the directory of the present one.
bool DataStream::directory_goes_on() const {
    const std::size_t next = next_entry_ + 1;
    return next < chunk_.size() && chunk_[next].directory == chunk_[next_entry_].directory;
}

Status DataStream::send_file(SourceEntry& entry) {
    for (int tries = 0; tries < kReadTries; ++tries) {
        auto opened = opener_.open(entry, directory_goes_on());
        if (const auto* const problem = std::get_if<SourceProblem>(&opened); problem != nullptr) {
            context_.host.entry_failed(describe(entry, *problem));
            return ok();
        }
        SourceFile& source = std::get<SourceFile>(opened);
        const std::uint64_t size = source.size();
        if (size >= kLongBytes) {
            source.will_be_read_in_order();
        }
        if (size > proto::kMaxInlineFileBytes) {
            piece_ = Piece{context_.host.open_large(std::move(entry), std::move(source)), 0, size};
            return ok();
        }
        Result<SmallEntries::Fate> fate = small_.add_file(entry, source);
        if (!fate) {
            return std::move(fate).error();
        }
        if (source.waited() && !std::exchange(chunk_read_ahead_, true)) {
            opener_.read_ahead(std::span(chunk_).subspan(next_entry_ + 1));
        }
        if (*fate != SmallEntries::Fate::changed) {
            return ok();
        }
    }
    context_.host.entry_failed(
        describe(entry, {ErrorKind::source_changed, "changed while it was being sent", 0}));
    return ok();
}

// Keeps one extent and leaves the rest of the piece to a stream that has nothing to do, where the
// network is the bottleneck; that one does the same. Where the receiver is, two writers in one file
// only wait for each other. At a limited rate the connection is busy for moments only, and who
// limits it in those says nothing.
void DataStream::share(Piece& piece) {
    const std::uint64_t kept = large_.pace().extent_limit();
    if (!large_.pace().slow() || piece.wrong_tries > 0 || piece.length < 2 * kept ||
        queue_.idle_streams() == 0 ||
        (context_.socket.rate() == 0 && tcp_progress(context_.socket.fd()).receiver_limited)) {
        return;
    }
    std::vector<Work> work;
    work.emplace_back(
        Piece{piece.source, piece.offset + kept, piece.length - kept, 0, piece.times_lost});
    piece.length = kept;
    queue_.requeue(std::move(work));
}

// Others can send what this stream cannot send now.
void DataStream::hand_back() {
    std::vector<Work> work;
    if (Chunk gathered = small_.take_back(); !gathered.empty()) {
        work.emplace_back(std::move(gathered));
    }
    if (piece_ && piece_->length > 0) {
        piece_->times_lost += context_.socket.used_up() ? 0U : 1U;
        work.emplace_back(std::move(*piece_));
    }
    piece_.reset();
    if (next_entry_ < chunk_.size()) {
        chunk_.erase(chunk_.begin(),
                     std::next(chunk_.begin(), static_cast<Chunk::difference_type>(next_entry_)));
        work.emplace_back(std::move(chunk_));
    }
    chunk_.clear();
    next_entry_ = 0;
    large_.reset();
    queue_.requeue(std::move(work));
}

DataStream::Next DataStream::wait_before_retry(const Error& reason, InFlight::Ended ended) {
    if (reason.kind == ErrorKind::refused) {
        return Next::give_up; // the answer will not be another one
    }
    const Clock::time_point now = Clock::now();
    // Standing still for as long as a timeout takes does not count as having worked.
    const bool settled = now - connected_at_ >= kSettled && reason.kind != ErrorKind::timed_out &&
                         failing_since_ < connected_at_;
    if (ended.acknowledged || settled || !failing_since_) {
        failing_since_ = now;
        backoff_.reset();
    }
    const auto spent = std::chrono::duration_cast<std::chrono::milliseconds>(now - *failing_since_);
    if (spent >= context_.settings.retry_for) {
        return Next::give_up;
    }
    const auto wait = std::min(backoff_.next(), context_.settings.retry_for - spent);
    // Without a socket (poll(2) ignores negative descriptors): only cancelling ends it early.
    return wait_for_socket(-1, false, context_.settings.target.cancel_fd, wait) == Wait::cancelled
               ? Next::cancelled
               : Next::connect;
}

} // namespace sluice
