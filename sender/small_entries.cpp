#include "sender/small_entries.hpp"

#include "common/compress.hpp"

#include <algorithm>
#include <span>
#include <utility>

namespace sluice {

namespace {

// Enough of a batch to tell whether it is worth compressing.
constexpr std::size_t kSampleBytes = std::size_t{16} << 10;

proto::ByteView as_bytes(const std::string& text) {
    return std::as_bytes(std::span(text.data(), text.size()));
}

// Completes a frame whose payload is in its place already.
std::span<std::byte> complete(std::vector<std::byte>& frame, std::uint64_t id,
                              proto::Encoding encoding, std::size_t raw_bytes,
                              std::size_t payload_bytes, bool seal) {
    proto::Bytes header;
    proto::encode_batch_header(id, encoding, static_cast<std::uint32_t>(raw_bytes), payload_bytes,
                               header);
    std::ranges::copy(header, frame.begin());
    const auto whole = std::span(frame).first(header.size() + payload_bytes);
    if (seal) {
        proto::seal_frame(whole);
    }
    return whole;
}

// Makes a frame of frame.raw_bytes of records, compressed where that looks worth it and is shorter.
void make_batch(FramePipeline::Frame& frame, Compression& compression, bool seal) {
    constexpr std::size_t kHeader = proto::kBatchHeaderBytes;
    const auto records = std::span(frame.raw).subspan(kHeader, frame.raw_bytes);
    if (looks_compressible(records.first(std::min(records.size(), kSampleBytes)))) {
        frame.packed_bytes = compression.compress(
            records, std::span(frame.packed).subspan(kHeader, records.size() - 1));
    }
    frame.whole = frame.packed_bytes > 0 ? complete(frame.packed, frame.id, proto::Encoding::zstd,
                                                    frame.raw_bytes, frame.packed_bytes, seal)
                                         : complete(frame.raw, frame.id, proto::Encoding::raw,
                                                    frame.raw_bytes, frame.raw_bytes, seal);
}

} // namespace

SmallEntries::SmallEntries(StreamContext& context)
    : context_(context), memory_(FramePipeline::kFrameBytes),
      writer_(std::span(memory_).subspan(proto::kBatchHeaderBytes)) {}

Status SmallEntries::make_room(std::size_t path_bytes, std::size_t content_bytes) {
    if (context_.meter) {
        context_.meter->begin();
    }
    return writer_.fits(path_bytes, content_bytes) ? ok() : send_batch();
}

Status SmallEntries::add(SourceEntry& entry) {
    if (Status room = make_room(entry.wire_path.size(), entry.link_target.size()); !room) {
        return room;
    }
    const bool link = entry.kind == EntryKind::symlink;
    writer_.append({link ? proto::RecordKind::symlink : proto::RecordKind::directory, entry.mode,
                    entry.mtime, entry.wire_path,
                    link ? as_bytes(entry.link_target) : proto::ByteView{}});
    entries_.push_back(std::move(entry));
    return ok();
}

Result<SmallEntries::Fate> SmallEntries::add_file(SourceEntry& entry, SourceFile& source) {
    if (Status room = make_room(entry.wire_path.size(), source.size()); !room) {
        return std::move(room).error();
    }
    const auto content = writer_.reserve_file(
        {proto::RecordKind::file, source.mode(), source.mtime(), entry.wire_path, {}},
        source.size());
    const std::int64_t got = content.empty() ? 0 : source.read_small(content);
    if (got < 0) {
        context_.host.entry_failed(
            describe(entry, {ErrorKind::some_files, "cannot read", static_cast<int>(-got)}));
        return Fate::unreadable;
    }
    // A record is all of a file: it shall be what the file was at one moment.
    if (static_cast<std::size_t>(got) < content.size() || source.changed()) {
        return Fate::changed;
    }
    writer_.commit_file();
    file_bytes_ += content.size();
    ++files_;
    entries_.push_back(std::move(entry));
    return Fate::taken;
}

Status SmallEntries::flush() {
    if (Status sent = send_batch(); !sent) {
        return sent;
    }
    if (Status sent = context_.send_frames(); !sent) {
        return sent;
    }
    if (context_.meter) {
        context_.meter->pause();
    }
    return ok();
}

// From here on the batch is in flight, whatever becomes of the connection.
Status SmallEntries::send_batch() {
    if (writer_.empty()) {
        return ok();
    }
    Parcel parcel{Work(std::move(entries_)), file_bytes_, files_, {}};
    const auto id = context_.in_flight.add(context_.connection, parcel);
    if (!id) {
        entries_ = std::move(parcel.work.entries);
        return context_.connection_gone();
    }
    Status sent = context_.compress_next() ? post(*id) : send_as_is(*id);
    clear(); // what was not sent will be found to be lost
    return sent;
}

Status SmallEntries::send_as_is(std::uint64_t id) {
    if (Status sent = context_.send_frames(); !sent) { // or they would wait for the next lull
        return sent;
    }
    const std::size_t bytes = writer_.size();
    const auto frame = complete(memory_, id, proto::Encoding::raw, bytes, bytes, !context_.signs());
    context_.totals.bytes_inlined += file_bytes_;
    Status sent = context_.send(frame, false);
    if (sent) {
        context_.in_flight.sent(id);
        if (context_.meter) {
            context_.meter->sent(bytes, frame.size(), false);
        }
    }
    return sent;
}

// Into the pipeline, and out of it with what is done.
Status SmallEntries::post(std::uint64_t id) {
    FramePipeline& frames = *context_.frames;
    while (!frames.empty() && (frames.full() || frames.oldest_is_ready())) {
        if (Status sent = context_.send_oldest_frame(); !sent) {
            return sent;
        }
    }
    FramePipeline::Frame& frame = frames.next();
    frame.id = id;
    frame.raw_bytes = writer_.size();
    frame.file_bytes = file_bytes_;
    frame.raw.swap(memory_);
    writer_ = proto::BatchWriter(std::span(memory_).subspan(proto::kBatchHeaderBytes));
    Compression& compression = *context_.settings.compression;
    const bool seal = !context_.signs();
    frames.post([&compression, seal](FramePipeline::Frame& posted) {
        make_batch(posted, compression, seal);
    });
    return ok();
}

Chunk SmallEntries::take_back() {
    Chunk entries = std::move(entries_);
    clear();
    return entries;
}

void SmallEntries::clear() {
    entries_.clear(); // was moved from
    writer_.clear();
    file_bytes_ = 0;
    files_ = 0;
}

} // namespace sluice
