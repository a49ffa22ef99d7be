#include "sender/large_files.hpp"

#include <algorithm>
#include <cstring>
#include <span>
#include <utility>

namespace sluice {

namespace {

// File bytes per extent. Large, so that headers do not matter; small against what has to be sent
// again when a connection breaks.
constexpr std::uint64_t kExtentBytes = std::uint64_t{8} << 20;
static_assert(kExtentBytes <= proto::kMaxExtentBytes);
// A short extent is not worth two looks at it.
constexpr std::size_t kSampleBytes = std::size_t{64} << 10;

} // namespace

LargeFiles::LargeFiles(StreamContext& context)
    : context_(context), copier_(make_file_to_socket(context.settings.send_path)) {
    if (context_.compressor) {
        raw_.resize(proto::kBlockHeaderBytes + proto::kMaxBlockBytes);
        packed_.resize(proto::kBlockHeaderBytes + proto::kMaxBlockBytes);
    }
}

Status LargeFiles::send(const SourceEntry& entry, const SourceFile& source) {
    proto::Extent extent;
    extent.file_id = context_.totals.next_file_id++;
    extent.file_size = source.size();
    extent.mtime = source.mtime();
    extent.mode = source.mode();
    extent.path = entry.wire_path;
    SourceFile::Segment segment{source.size(), false};
    while (extent.offset < source.size()) {
        if (source.sparse() && (extent.offset == 0 || extent.offset >= segment.end)) {
            segment = source.segment_at(extent.offset);
        }
        const std::uint64_t left = segment.end - extent.offset;
        extent.length = segment.hole ? left : std::min(left, kExtentBytes);
        extent.encoding = segment.hole                        ? proto::Encoding::hole
                          : worth_compressing(extent, source) ? proto::Encoding::zstd
                                                              : proto::Encoding::raw;
        Result<Fate> fate = send_extent(extent, entry, source);
        if (!fate) {
            return std::move(fate).error();
        }
        if (*fate == Fate::withdrawn) {
            return ok();
        }
        extent.offset += extent.length;
    }
    if (source.changed()) {
        proto::encode(proto::FileAbort{extent.file_id}, pending_);
        context_.fail(entry, {ErrorKind::source_changed, "changed while it was being sent", 0});
        return ok();
    }
    proto::encode(proto::FileEnd{extent.file_id}, pending_);
    ++context_.totals.files_sent;
    return ok();
}

Result<LargeFiles::Fate> LargeFiles::send_extent(const proto::Extent& extent,
                                                 const SourceEntry& entry,
                                                 const SourceFile& source) {
    proto::encode(extent, pending_);
    switch (extent.encoding) {
    case proto::Encoding::hole:
        context_.totals.bytes_of_holes += extent.length;
        return Fate::sent; // travels with what comes next
    case proto::Encoding::raw: return send_raw(extent, entry, source);
    case proto::Encoding::zstd: return send_compressed(extent, entry, source);
    }
    return Fate::sent;
}

Result<LargeFiles::Fate> LargeFiles::send_raw(const proto::Extent& extent, const SourceEntry& entry,
                                              const SourceFile& source) {
    // MSG_MORE: the header shares a segment with the first of the payload.
    Status sent_header = context_.socket.send(std::exchange(pending_, {}), true);
    if (!sent_header) {
        return std::move(sent_header).error();
    }
    Result<StreamSocket::Sent> sent =
        context_.socket.send_file(*copier_, source.fd(), extent.offset, extent.length);
    if (!sent) {
        return std::move(sent).error();
    }
    context_.totals.bytes_zero_copy += sent->zero_copy;
    context_.totals.bytes_copied += sent->copied;
    if (sent->copied > 0) {
        note_fallback();
    }
    if (sent->read_error != 0) {
        return withdraw(extent, entry, {ErrorKind::some_files, "cannot read", sent->read_error});
    }
    if (sent->truncated) {
        return withdraw(extent, entry,
                        {ErrorKind::source_changed, "shrank while it was being sent", 0});
    }
    return Fate::sent;
}

Result<LargeFiles::Fate> LargeFiles::send_compressed(const proto::Extent& extent,
                                                     const SourceEntry& entry,
                                                     const SourceFile& source) {
    for (std::uint64_t done = 0; done < extent.length;) {
        const std::size_t length = static_cast<std::size_t>(
            std::min<std::uint64_t>(extent.length - done, proto::kMaxBlockBytes));
        const auto memory = std::span(raw_).subspan(proto::kBlockHeaderBytes, length);
        const std::int64_t got = source.read(extent.offset + done, memory);
        if (got < 0) {
            return withdraw(extent, entry,
                            {ErrorKind::some_files, "cannot read", static_cast<int>(-got)});
        }
        if (static_cast<std::size_t>(got) < length) {
            return withdraw(extent, entry,
                            {ErrorKind::source_changed, "shrank while it was being sent", 0});
        }
        if (Status sent = send_block(length); !sent) {
            return std::move(sent).error();
        }
        done += length;
    }
    return Fate::sent;
}

// Sends the first `raw_bytes` behind the header in raw_, compressed where that is shorter.
Status LargeFiles::send_block(std::size_t raw_bytes) {
    if (Status flushed = flush(); !flushed) {
        return flushed;
    }
    const auto raw = std::span(raw_).subspan(proto::kBlockHeaderBytes, raw_bytes);
    const std::size_t packed_bytes = context_.compressor->compress(
        raw, std::span(packed_).subspan(proto::kBlockHeaderBytes, raw_bytes - 1));
    const bool shorter = packed_bytes > 0;
    std::vector<std::byte>& frame = shorter ? packed_ : raw_;
    const std::size_t payload_bytes = shorter ? packed_bytes : raw_bytes;
    proto::Bytes header;
    proto::encode_block_header(shorter ? proto::Encoding::zstd : proto::Encoding::raw,
                               static_cast<std::uint32_t>(raw_bytes), payload_bytes, header);
    std::memcpy(frame.data(), header.data(), header.size());
    context_.totals.bytes_compressed += raw_bytes;
    context_.totals.compressed_to += payload_bytes;
    return context_.socket.send(std::span(frame).first(header.size() + payload_bytes), false);
}

bool LargeFiles::worth_compressing(const proto::Extent& extent, const SourceFile& source) {
    if (!context_.compressor) {
        return false;
    }
    const auto sample = std::span(raw_).first(
        static_cast<std::size_t>(std::min<std::uint64_t>(extent.length, kSampleBytes)));
    // From the middle: the beginning of a file is often a header of another kind.
    const std::int64_t got =
        source.read(extent.offset + (extent.length - sample.size()) / 2, sample);
    return got > 0 && looks_compressible(sample.first(static_cast<std::size_t>(got)));
}

// The extent was announced with a length that can no longer be kept. Nothing is made up in place of
// the missing bytes. Instead of a block the abort itself can be sent; in the middle of a raw
// payload there is no place for a frame: the receiver is told on the control connection, and this
// connection is ended and replaced.
Result<LargeFiles::Fate> LargeFiles::withdraw(const proto::Extent& extent, const SourceEntry& entry,
                                              const SourceProblem& problem) {
    context_.fail(entry, problem);
    if (extent.encoding == proto::Encoding::zstd) {
        proto::encode(proto::FileAbort{extent.file_id}, pending_);
        return Fate::withdrawn;
    }
    context_.callbacks.abort_file(extent.file_id);
    if (Status again = context_.connect(); !again) {
        return std::move(again).error();
    }
    return Fate::withdrawn;
}

Status LargeFiles::flush() {
    return pending_.empty() ? ok() : context_.socket.send(std::exchange(pending_, {}), false);
}

void LargeFiles::note_fallback() {
    if (context_.settings.send_path == CopyPath::automatic &&
        !std::exchange(fallback_noted_, true)) {
        context_.callbacks.detail("sendfile does not work for some source: copying it");
    }
}

} // namespace sluice
