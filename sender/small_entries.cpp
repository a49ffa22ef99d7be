#include "sender/small_entries.hpp"

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
proto::ByteView complete(std::vector<std::byte>& frame, std::uint64_t id, proto::Encoding encoding,
                         std::size_t raw_bytes, std::size_t payload_bytes) {
    proto::Bytes header;
    proto::encode_batch_header(id, encoding, static_cast<std::uint32_t>(raw_bytes), payload_bytes,
                               header);
    std::copy(header.begin(), header.end(), frame.begin());
    const auto whole = std::span(frame).first(header.size() + payload_bytes);
    proto::seal_frame(whole);
    return whole;
}

} // namespace

SmallEntries::SmallEntries(StreamContext& context)
    : context_(context), memory_(proto::kBatchHeaderBytes + proto::kMaxBatchBytes),
      writer_(std::span(memory_).subspan(proto::kBatchHeaderBytes)) {}

Status SmallEntries::make_room(std::size_t path_bytes, std::size_t content_bytes) {
    return writer_.fits(path_bytes, content_bytes) ? ok() : flush();
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

Result<SmallEntries::Fate> SmallEntries::add_file(SourceEntry& entry, const SourceFile& source) {
    if (Status room = make_room(entry.wire_path.size(), source.size()); !room) {
        return std::move(room).error();
    }
    const auto content = writer_.reserve_file(
        {proto::RecordKind::file, source.mode(), source.mtime(), entry.wire_path, {}},
        source.size());
    const std::int64_t got = content.empty() ? 0 : source.read(0, content);
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
    if (writer_.empty()) {
        return ok();
    }
    Parcel parcel{Work(std::move(entries_)), file_bytes_, files_, {}};
    const auto id = context_.in_flight.add(context_.connection, parcel);
    if (!id) {
        entries_ = std::move(parcel.work.entries);
        return context_.connection_gone();
    }
    Status sent = context_.socket.send(make_frame(*id), false);
    if (sent) {
        context_.in_flight.sent(*id);
    }
    clear(); // what was not sent will be found to be lost
    return sent;
}

Chunk SmallEntries::take_back() {
    Chunk entries = std::move(entries_);
    clear();
    return entries;
}

proto::ByteView SmallEntries::make_frame(std::uint64_t id) {
    const proto::ByteView records = writer_.bytes();
    std::size_t packed_bytes = 0;
    if (context_.compressor &&
        looks_compressible(records.first(std::min(records.size(), kSampleBytes)))) {
        packed_.resize(memory_.size());
        const auto room = std::span(packed_).subspan(proto::kBatchHeaderBytes, records.size() - 1);
        packed_bytes = context_.compressor->compress(records, room);
    }
    StreamTotals& totals = context_.totals;
    if (packed_bytes > 0) {
        totals.bytes_compressed += file_bytes_;
        totals.compressed_to += packed_bytes;
        return complete(packed_, id, proto::Encoding::zstd, records.size(), packed_bytes);
    }
    totals.bytes_inlined += file_bytes_;
    return complete(memory_, id, proto::Encoding::raw, records.size(), records.size());
}

void SmallEntries::clear() {
    entries_.clear(); // was moved from
    writer_.clear();
    file_bytes_ = 0;
    files_ = 0;
}

} // namespace sluice
