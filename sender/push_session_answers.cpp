// What a session does with the receiver's answers, and with what its streams report.
#include "common/digest.hpp"
#include "common/text.hpp"
#include "sender/push_session.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

namespace sluice {

namespace {

// How often a range may arrive damaged before its file is given up.
constexpr unsigned kMaxWrongTries = 3;
// Ranges that the receiver may say it has, of all files together: 16 MiB. What is above is sent.
constexpr std::size_t kMaxPresentRanges = std::size_t{1} << 20;
// How long a receiver may take to say why it let a data connection go: some round trips of a long
// path, or a busy machine's delay.
constexpr std::chrono::seconds kReasonTime{1};

constexpr SourceProblem kChanged{ErrorKind::source_changed, "changed while it was being sent", 0};

} // namespace

void PushSession::offer(Chunk entries) {
    if (over_) {
        return;
    }
    proto::Offer offer;
    offer.first_id = next_offer_id_;
    for (const SourceEntry& entry : entries) {
        offer.entries.push_back(
            {entry.size, entry.mtime, entry.mode, entry.version, entry.wire_path});
    }
    next_offer_id_ += entries.size();
    proto::Bytes frame;
    proto::encode(offer, frame);
    control_->send(frame);
    offers_.push_back({offer.first_id, std::move(entries)});
}

bool PushSession::present(const proto::Present& message) {
    // Offers are answered in their order: it is the first, or soon behind it.
    const auto offer = std::ranges::find_if(offers_, [&](const PendingOffer& pending) {
        return message.id - pending.first_id < pending.entries.size();
    });
    if (offer == offers_.end()) {
        return false;
    }
    SourceEntry& entry = offer->entries[message.id - offer->first_id];
    for (const proto::Range& range : message.ranges) {
        if (range.offset > entry.size || range.length > entry.size - range.offset) {
            return false;
        }
    }
    present_ranges_ += message.ranges.size();
    if (present_ranges_ <= kMaxPresentRanges) {
        if (!entry.present) {
            entry.present = std::make_shared<std::vector<proto::Range>>();
        }
        entry.present->insert(entry.present->end(), message.ranges.begin(), message.ranges.end());
    }
    return true;
}

bool PushSession::answered(const proto::Verdict& verdict) {
    if (offers_.empty() || offers_.front().first_id != verdict.first_id ||
        offers_.front().entries.size() != verdict.count) {
        return false;
    }
    answered_at_ = Clock::now();
    result_.progressed = true;
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
    if (options_.dry_run) {
        would_send(wanted);
    } else if (!wanted.empty()) {
        queue_.push(std::move(wanted));
    }
    release(unchanged);
    return true;
}

void PushSession::would_send(const Chunk& entries) {
    for (const SourceEntry& entry : entries) {
        if (entry.kind == EntryKind::file) {
            ++result_.would_send_files;
            result_.would_send_bytes += entry.size;
            events_.would_send(escape(entry.wire_path), entry.size);
        }
    }
    release(entries.size());
}

bool PushSession::acknowledged(const proto::Ack& message) {
    const Clock::time_point now = Clock::now();
    answered_at_ = now;
    result_.progressed = true;
    std::size_t entries = 0;
    proto::Bytes frames; // many files may end at once: one write for all
    for (const std::uint64_t id : message.ids) {
        const std::optional<Parcel> parcel = in_flight_.acknowledge(id, now);
        if (!parcel) {
            return false;
        }
        ++acknowledged_;
        if (parcel->work.is_piece()) {
            extent_stored(parcel->work.piece, frames);
        } else {
            result_.files_sent += parcel->files;
            entries += parcel->work.entries.size();
        }
    }
    if (!frames.empty()) {
        control_->send(frames);
    }
    release(entries);
    return true;
}

void PushSession::extent_stored(const Piece& piece, proto::Bytes& out) {
    LargeSource& source = *piece.source;
    if (!source.acknowledged(piece.length) || source.withdrawn()) {
        return;
    }
    if (source.file().changed()) {
        withdraw(piece.source, describe(source.entry(), kChanged));
    } else if (source.complete()) {
        proto::encode(proto::FileEnd{source.id()}, out);
        ++result_.files_sent;
    }
}

bool PushSession::arrived_damaged(const proto::Again& message) {
    std::optional<Parcel> parcel = in_flight_.take_damaged(message.id);
    if (!parcel || !parcel->work.is_piece() || !verifies()) {
        return false;
    }
    Piece& piece = parcel->work.piece;
    const LargeSource& source = *piece.source;
    ++piece.wrong_tries;
    if (source.withdrawn()) {
        return true;
    }
    if (source.file().changed()) {
        withdraw(piece.source, describe(source.entry(), kChanged));
        return true;
    }
    ++result_.damaged;
    warn_of_tampering();
    if (piece.wrong_tries < kMaxWrongTries) {
        events_.detail(fmt::format("{}: {} at offset {} arrived damaged: sending them again",
                                   escape(source.entry().display_path()),
                                   format_bytes(piece.length), piece.offset));
        std::vector<Work> again;
        again.emplace_back(std::move(piece));
        queue_.requeue(std::move(again));
    } else {
        // Codes are not for other eyes: two of them under one nonce would tell about their key.
        const std::string digests =
            data_keys_ ? ""
                       : fmt::format(": sent {}, arrived {}", to_hex(parcel->digest),
                                     to_hex(message.digest));
        withdraw(piece.source,
                 {ErrorKind::some_files,
                  fmt::format("{}: corrupted on the way at offset {}{} (three tries)",
                              escape(source.entry().display_path()), piece.offset, digests),
                  0});
    }
    return true;
}

// Once: whoever lies between may do it very often.
void PushSession::warn_of_tampering() {
    if (data_keys_ && result_.damaged == 1) {
        events_.warning("data arrived that had not been sent: something between the two ends "
                        "damages them or tampers with them; sending them again");
    }
}

void PushSession::lost(std::uint32_t connection) {
    std::vector<Work> work = in_flight_.take_lost(connection);
    std::erase_if(
        work, [](const Work& lost) { return lost.is_piece() && lost.piece.source->withdrawn(); });
    for (Work& again : work) {
        ++again.piece.times_lost;
    }
    queue_.requeue(std::move(work));
    ++lost_;
    if (finished_) {
        return; // the receiver ends what it needs no more
    }
    all_sent_ = false;
    if (ended_stream_) {
        await_reason();
        return;
    }
    finish_if_complete();
}

void PushSession::drop(std::uint32_t connection) {
    if (!finished_ && !over_) {
        proto::Bytes frame;
        proto::encode(proto::Drop{connection}, frame);
        control_->send(frame);
    }
}

void PushSession::look_after_streams() {
    for (const std::uint32_t connection : in_flight_.stalled(Clock::now(), options_.timeout)) {
        events_.detail(fmt::format("data connection {} stands still", connection));
        drop(connection);
    }
}

void PushSession::send_digests() {
    proto::Digests message;
    proto::Bytes frames;
    for (const proto::Digests::Entry& entry : digests_->take()) {
        if (!in_flight_.note_digest(entry.id, entry.digest)) {
            continue; // lost meanwhile: the receiver knows nothing of it any more
        }
        message.entries.push_back(entry);
        if (message.entries.size() == proto::kMaxDigests) {
            proto::encode(message, frames);
            message.entries.clear();
        }
    }
    if (!message.entries.empty()) {
        proto::encode(message, frames);
    }
    if (!frames.empty()) {
        control_->send(frames);
    }
}

void PushSession::file_error(const proto::FileError& message) {
    ++result_.failed;
    ++stored_failures_;
    events_.file_failed(
        {ErrorKind::some_files,
         fmt::format("{}: not stored: {}", escape(message.path), escape(message.text)),
         message.error_number});
}

void PushSession::file_failed(const Error& error) {
    ++result_.failed;
    result_.failed_changed += error.kind == ErrorKind::source_changed ? 1 : 0;
    events_.file_failed(error);
}

void PushSession::release(std::size_t entries) {
    queue_.release(entries);
    finish_if_complete();
}

void PushSession::entry_failed(Error error) {
    post_([this, error = std::move(error)] {
        file_failed(error);
        release(1);
    });
}

std::shared_ptr<LargeSource> PushSession::open_large(SourceEntry entry, SourceFile file) {
    // Its place in the queue is free when nobody has anything to do with it any more.
    std::shared_ptr<LargeSource> source(
        new LargeSource(std::move(entry), std::move(file), next_file_id_++),
        [this, post = post_](const LargeSource* gone) {
            delete gone;
            post([this] { release(1); });
        });
    reused_bytes_ += source->present_bytes();
    return source;
}

void PushSession::withdraw(const std::shared_ptr<LargeSource>& source, const Error& error) {
    if (!source->withdraw()) {
        return; // somebody else has seen it, too
    }
    post_([this, source, error] {
        proto::Bytes frame;
        proto::encode(proto::FileAbort{source->id()}, frame);
        control_->send(frame);
        file_failed(error);
    });
}

void PushSession::compute_digest(std::shared_ptr<LargeSource> source, std::uint64_t id,
                                 std::uint64_t offset, std::uint64_t length) {
    if (in_flight_.claim_digest(id)) { // or it is lost already: nobody waits for it
        digests_->compute(std::move(source), id, offset, length);
    }
}

void PushSession::compute_digest(std::uint64_t id, proto::ByteView payload) {
    if (in_flight_.claim_digest(id)) {
        digests_->compute(id, payload);
    }
}

void PushSession::add_digest(std::uint64_t id, const proto::Digest& digest) {
    if (in_flight_.claim_digest(id)) {
        digests_->add(id, digest);
    }
}

void PushSession::idle() {
    if (all_queued_) {
        post_([this] { finish_if_complete(); });
    }
}

void PushSession::connection_lost(std::uint32_t connection, const Error& reason) {
    post_([this, connection, reason] {
        events_.detail(fmt::format("data connection {}: {}", connection, reason.message));
        // Where the receiver has said it first, or it was seen to stand still, all is done.
        if (in_flight_.break_connection(connection)) {
            drop(connection);
        }
    });
}

void PushSession::detail(std::string line) {
    post_([this, line = std::move(line)] { events_.detail(line); });
}

void PushSession::stream_ended(std::optional<Error> error) {
    post_([this, error = std::move(error)] {
        if (error && !over_ && !finished_ && !ended_stream_) {
            ended_stream_ = error;
            await_reason();
        }
    });
}

// Why a data connection broke is said on another one, and may come later than the break.
void PushSession::await_reason() {
    if (!reason_timer_) {
        reason_timer_ = std::make_unique<Timer>(loop_, [this] {
            // Where all is sent, the receiver may have what it needs, and take no connection more.
            if (!over_ && !all_sent_ && !finished_) {
                control_->read_pending(); // it may be there, and only this thread be late
                fail(*ended_stream_, false);
            }
        });
    }
    reason_timer_->start(kReasonTime);
}

} // namespace sluice
