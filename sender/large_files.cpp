#include "sender/large_files.hpp"

#include "common/digest.hpp"

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
// But where connections do not live long enough for one of these, shorter ones may get through.
constexpr std::uint64_t kLeastExtentBytes = std::uint64_t{256} << 10;
// A short extent is not worth two looks at it.
constexpr std::size_t kSampleBytes = std::size_t{64} << 10;

constexpr SourceProblem kShrank{ErrorKind::source_changed, "shrank while it was being sent", 0};

// What a read that brought `got` of `wanted` bytes means for the file.
SourceProblem problem_of_read(std::int64_t got) {
    return got < 0 ? SourceProblem{ErrorKind::some_files, "cannot read", static_cast<int>(-got)}
                   : kShrank;
}

// The largest extent that shall be made of the piece.
std::uint64_t extent_bytes(const Piece& piece) {
    constexpr unsigned kMaxShift = 5;
    static_assert(kExtentBytes >> kMaxShift == kLeastExtentBytes);
    return kExtentBytes >> std::min(piece.times_lost, kMaxShift);
}

proto::Extent describe_extent(const LargeSource& source) {
    proto::Extent extent;
    extent.file_id = source.id();
    extent.file_size = source.file().size();
    extent.mtime = source.file().mtime();
    extent.mode = source.file().mode();
    extent.version = source.file().version();
    extent.path = source.entry().wire_path;
    return extent;
}

} // namespace

LargeFiles::LargeFiles(StreamContext& context)
    : context_(context), copier_(make_file_to_socket(context.settings.send_path)) {
    if (context_.compressor) {
        raw_.resize(proto::kBlockHeaderBytes + proto::kMaxBlockBytes);
        packed_.resize(proto::kBlockHeaderBytes + proto::kMaxBlockBytes);
    }
}

Status LargeFiles::send(Piece& piece) {
    SourceFile::Segment segment{}; // ends at 0: not looked for yet
    while (piece.length > 0) {
        const std::uint64_t end = piece.offset + piece.length;
        const proto::Range missing = piece.source->missing(piece.offset, end);
        if (missing.length == 0 || piece.source->withdrawn()) {
            piece.length = 0;
            break;
        }
        piece.offset = missing.offset;
        piece.length = end - missing.offset;
        if (Status sent = send_next(piece, segment); !sent) {
            return sent;
        }
    }
    return ok();
}

// Sends the first extent of the piece, which begins with something that is missing.
Status LargeFiles::send_next(Piece& piece, SourceFile::Segment& segment) {
    // What is held back may be what everybody waits for.
    if (!context_.in_flight.has_room()) {
        if (Status flushed = flush(); !flushed) {
            return flushed;
        }
    }
    if (!context_.in_flight.wait_for_room(context_.connection)) {
        return context_.connection_gone();
    }
    const SourceFile& file = piece.source->file();
    proto::Extent extent = describe_extent(*piece.source);
    extent.offset = piece.offset;
    extent.length = piece.source->missing(piece.offset, piece.offset + piece.length).length;
    if (piece.wrong_tries > 0) {
        return send_from_buffer(extent, piece);
    }
    if (piece.offset >= segment.end) {
        segment =
            file.sparse() ? file.segment_at(piece.offset) : SourceFile::Segment{file.size(), false};
    }
    extent.length = std::min(extent.length, segment.end - extent.offset);
    if (segment.hole) {
        extent.encoding = proto::Encoding::hole;
        return begin(extent, piece); // travels with what comes next
    }
    extent.length = std::min(extent.length, extent_bytes(piece));
    const std::shared_ptr<LargeSource> source = piece.source;
    extent.encoding =
        worth_compressing(extent, file) ? proto::Encoding::zstd : proto::Encoding::raw;
    if (Status begun = begin(extent, piece); !begun) {
        return begun;
    }
    Status sent = extent.encoding == proto::Encoding::zstd ? send_compressed(extent, source)
                                                           : send_raw(extent, source);
    if (sent) {
        context_.in_flight.sent(extent.id);
    }
    return sent;
}

// From here on the extent is in flight, whatever becomes of the connection.
Status LargeFiles::begin(proto::Extent& extent, Piece& piece) {
    Parcel parcel{Work(Piece{piece.source, extent.offset, extent.length, piece.wrong_tries,
                             piece.times_lost}),
                  extent.length,
                  0,
                  {}};
    const auto id = context_.in_flight.add(context_.connection, parcel);
    if (!id) {
        return context_.connection_gone();
    }
    extent.id = *id;
    proto::encode(extent, pending_);
    piece.offset += extent.length;
    piece.length -= extent.length;
    if (extent.encoding == proto::Encoding::hole) {
        context_.in_flight.sent(extent.id);
    }
    return ok();
}

Status LargeFiles::send_raw(const proto::Extent& extent,
                            const std::shared_ptr<LargeSource>& source) {
    if (context_.settings.verify) {
        context_.host.compute_digest(source, extent.id, extent.offset, extent.length);
    }
    // MSG_MORE: the header shares a segment with the first of the payload.
    if (Status sent = context_.socket.send(std::exchange(pending_, {}), true); !sent) {
        return sent;
    }
    Result<StreamSocket::Sent> sent =
        context_.socket.send_file(*copier_, source->file().fd(), extent.offset, extent.length);
    if (!sent) {
        return std::move(sent).error();
    }
    context_.totals.bytes_zero_copy += sent->zero_copy;
    context_.totals.bytes_copied += sent->copied;
    if (sent->copied > 0) {
        note_fallback();
    }
    if (sent->read_error != 0) {
        return give_up(source, {ErrorKind::some_files, "cannot read", sent->read_error});
    }
    return sent->truncated ? Status(give_up(source, kShrank)) : ok();
}

Status LargeFiles::send_compressed(const proto::Extent& extent,
                                   const std::shared_ptr<LargeSource>& source) {
    for (std::uint64_t done = 0; done < extent.length;) {
        const std::size_t length = static_cast<std::size_t>(
            std::min<std::uint64_t>(extent.length - done, proto::kMaxBlockBytes));
        const auto memory = std::span(raw_).subspan(proto::kBlockHeaderBytes, length);
        const std::int64_t got = source->file().read(extent.offset + done, memory);
        if (got != static_cast<std::int64_t>(length)) {
            return give_up(source, problem_of_read(got));
        }
        if (Status sent = send_block(length); !sent) {
            return sent;
        }
        done += length;
    }
    return ok();
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
    const std::size_t payload_bytes = shorter ? packed_bytes : raw_bytes;
    proto::Bytes header;
    proto::encode_block_header(shorter ? proto::Encoding::zstd : proto::Encoding::raw,
                               static_cast<std::uint32_t>(raw_bytes), payload_bytes, header);
    const auto frame = std::span(shorter ? packed_ : raw_).first(header.size() + payload_bytes);
    std::memcpy(frame.data(), header.data(), header.size());
    proto::seal_frame(frame);
    context_.totals.bytes_compressed += raw_bytes;
    context_.totals.compressed_to += payload_bytes;
    return context_.socket.send(frame, false);
}

// What is hashed here is what is sent, whoever writes to the file meanwhile: only the way between
// the two ends can damage it now.
Status LargeFiles::send_from_buffer(proto::Extent& extent, Piece& piece) {
    std::vector<std::byte> buffer(static_cast<std::size_t>(extent.length));
    const std::int64_t got = piece.source->file().read(extent.offset, buffer);
    if (got != static_cast<std::int64_t>(buffer.size())) {
        // Nothing has been promised yet, so the connection remains of use.
        context_.host.withdraw(piece.source, describe(piece.source->entry(), problem_of_read(got)));
        piece.length = 0;
        return ok();
    }
    if (Status begun = begin(extent, piece); !begun) {
        return begun;
    }
    if (context_.settings.verify) {
        context_.host.add_digest(extent.id, digest_of(buffer));
    }
    if (Status sent = context_.socket.send(std::exchange(pending_, {}), true); !sent) {
        return sent;
    }
    Status sent = context_.socket.send(buffer, false);
    if (sent) {
        context_.totals.bytes_copied += buffer.size();
        context_.in_flight.sent(extent.id);
    }
    return sent;
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

// The extent was announced with a length that can no longer be kept, and nothing is made up in
// place of the missing bytes: this connection is of no further use.
Error LargeFiles::give_up(const std::shared_ptr<LargeSource>& source,
                          const SourceProblem& problem) {
    Error error = describe(source->entry(), problem);
    context_.host.withdraw(source, error);
    error.kind = ErrorKind::source_changed;
    return error;
}

Status LargeFiles::flush() {
    return pending_.empty() ? ok() : context_.socket.send(std::exchange(pending_, {}), false);
}

void LargeFiles::note_fallback() {
    if (context_.settings.send_path == CopyPath::automatic &&
        !std::exchange(fallback_noted_, true)) {
        context_.host.detail("sendfile does not work for some source: copying it");
    }
}

} // namespace sluice
