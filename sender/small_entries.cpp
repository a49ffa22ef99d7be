#include "sender/small_entries.hpp"

#include <algorithm>
#include <span>

namespace sluice {

namespace {

// Enough of a batch to tell whether it is worth compressing.
constexpr std::size_t kSampleBytes = std::size_t{16} << 10;

proto::ByteView as_bytes(const std::string& text) {
    return std::as_bytes(std::span(text.data(), text.size()));
}

proto::ByteView put_header(std::vector<std::byte>& frame, proto::Encoding encoding,
                           std::size_t raw_bytes, std::size_t payload_bytes) {
    proto::Bytes header;
    proto::encode_batch_header(encoding, static_cast<std::uint32_t>(raw_bytes), payload_bytes,
                               header);
    std::copy(header.begin(), header.end(), frame.begin());
    return std::span(frame).first(header.size() + payload_bytes);
}

} // namespace

SmallEntries::SmallEntries(StreamContext& context)
    : context_(context), memory_(proto::kBatchHeaderBytes + proto::kMaxBatchBytes),
      writer_(std::span(memory_).subspan(proto::kBatchHeaderBytes)) {}

Status SmallEntries::make_room(std::size_t path_bytes, std::size_t content_bytes) {
    return writer_.fits(path_bytes, content_bytes) ? ok() : flush();
}

Status SmallEntries::add(const SourceEntry& entry) {
    if (Status room = make_room(entry.wire_path.size(), entry.link_target.size()); !room) {
        return room;
    }
    const bool link = entry.kind == EntryKind::symlink;
    writer_.append({link ? proto::RecordKind::symlink : proto::RecordKind::directory, entry.mode,
                    entry.mtime, entry.wire_path,
                    link ? as_bytes(entry.link_target) : proto::ByteView{}});
    return ok();
}

Status SmallEntries::add_file(const SourceEntry& entry, const SourceFile& source) {
    if (Status room = make_room(entry.wire_path.size(), source.size()); !room) {
        return room;
    }
    const auto content = writer_.reserve_file(
        {proto::RecordKind::file, source.mode(), source.mtime(), entry.wire_path, {}},
        source.size());
    const std::int64_t got = content.empty() ? 0 : source.read(0, content);
    if (got < 0) {
        context_.fail(entry, {ErrorKind::some_files, "cannot read", static_cast<int>(-got)});
        return ok();
    }
    if (static_cast<std::size_t>(got) < content.size()) {
        context_.fail(entry, {ErrorKind::source_changed, "shrank while it was being sent", 0});
        return ok();
    }
    writer_.commit_file();
    file_bytes_ += content.size();
    ++files_;
    return ok();
}

Status SmallEntries::flush() {
    if (writer_.empty()) {
        return ok();
    }
    const proto::ByteView records = writer_.bytes();
    std::size_t packed_bytes = 0;
    if (context_.compressor &&
        looks_compressible(records.first(std::min(records.size(), kSampleBytes)))) {
        packed_.resize(memory_.size());
        const auto room = std::span(packed_).subspan(proto::kBatchHeaderBytes, records.size() - 1);
        packed_bytes = context_.compressor->compress(records, room);
    }
    StreamTotals& totals = context_.totals;
    Status sent = ok();
    if (packed_bytes > 0) {
        sent = context_.socket.send(
            put_header(packed_, proto::Encoding::zstd, records.size(), packed_bytes), false);
        totals.bytes_compressed += file_bytes_;
        totals.compressed_to += packed_bytes;
    } else {
        sent = context_.socket.send(
            put_header(memory_, proto::Encoding::raw, records.size(), records.size()), false);
        totals.bytes_inlined += file_bytes_;
    }
    totals.files_sent += files_;
    file_bytes_ = 0;
    files_ = 0;
    writer_.clear();
    return sent;
}

} // namespace sluice
