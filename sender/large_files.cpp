#include "sender/large_files.hpp"

#include "common/compress.hpp"

#include <algorithm>
#include <span>
#include <utility>

namespace sluice {

namespace {

static_assert(StreamPace::kMostExtentBytes <= proto::kMaxExtentBytes);
// Where the rate is limited: an extent takes no longer than this (if it can be so short), and what
// is shown of the progress changes so often.
constexpr std::uint64_t kMaxExtentSeconds = 8;
constexpr std::uint64_t kSlicesPerSecond = 8;
// A short extent is not worth two looks at it.
constexpr std::size_t kSampleBytes = std::size_t{64} << 10;

constexpr SourceProblem kShrank{ErrorKind::source_changed, "shrank while it was being sent", 0};

// What a read that brought `got` of `wanted` bytes means for the file.
SourceProblem problem_of_read(std::int64_t got) {
    return got < 0 ? SourceProblem{ErrorKind::some_files, "cannot read", static_cast<int>(-got)}
                   : kShrank;
}

// The largest extent that shall be made of the piece, of those that are no larger than `most`, at
// `rate` bytes per second (0: any).
std::uint64_t extent_bytes(const Piece& piece, std::uint64_t most, std::uint64_t rate) {
    // Where connections do not live long enough for a long one, shorter ones may get through.
    constexpr unsigned kMaxShift = 5;
    constexpr std::uint64_t kLeast = StreamPace::kMostExtentBytes >> kMaxShift;
    const std::uint64_t bytes =
        std::min(most, StreamPace::kMostExtentBytes >> std::min(piece.times_lost, kMaxShift));
    return rate == 0 ? bytes : std::clamp(rate * kMaxExtentSeconds, std::min(kLeast, bytes), bytes);
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

// Reads a block of frame.raw_bytes and makes a frame of it, compressed where that is shorter.
void make_block(FramePipeline::Frame& frame, Compression& compression, const SourceFile& source,
                std::uint64_t offset, bool seal) {
    constexpr std::size_t kHeader = proto::kBlockHeaderBytes;
    const auto raw = std::span(frame.raw).subspan(kHeader, frame.raw_bytes);
    frame.got = source.read(offset, raw);
    if (frame.got != static_cast<std::int64_t>(frame.raw_bytes)) {
        return; // there will be no frame
    }
    frame.packed_bytes =
        compression.compress(raw, std::span(frame.packed).subspan(kHeader, raw.size() - 1));
    const bool packed = frame.packed_bytes > 0;
    const std::size_t payload_bytes = packed ? frame.packed_bytes : frame.raw_bytes;
    proto::Bytes header;
    proto::encode_block_header(packed ? proto::Encoding::zstd : proto::Encoding::raw,
                               static_cast<std::uint32_t>(frame.raw_bytes), payload_bytes, header);
    const auto whole = std::span(packed ? frame.packed : frame.raw).first(kHeader + payload_bytes);
    std::ranges::copy(header, whole.begin());
    if (seal) {
        proto::seal_frame(whole);
    }
    frame.whole = whole;
}

} // namespace

LargeFiles::LargeFiles(StreamContext& context, std::function<void(Piece&)> before_extent)
    : context_(context), before_extent_(std::move(before_extent)),
      copier_(make_file_to_socket(context.settings.send_path)), pace_(context.settings.target.far) {
}

Status LargeFiles::send(Piece& piece) {
    SourceFile::Segment segment{}; // ends at 0: not looked for yet
    pace_.begin(Clock::now());
    while (piece.length > 0 && !context_.socket.used_up()) {
        const std::uint64_t end = piece.offset + piece.length;
        const proto::Range missing = piece.source->missing(piece.offset, end);
        if (missing.length == 0 || piece.source->withdrawn()) {
            piece.length = 0;
            break;
        }
        piece.offset = missing.offset;
        piece.length = end - missing.offset;
        before_extent_(piece);
        if (Status sent = send_next(piece, segment); !sent) {
            return sent;
        }
    }
    return ok();
}

// Sends the first extent of the piece, which begins with something that is missing.
Status LargeFiles::send_next(Piece& piece, SourceFile::Segment& segment) {
    if (context_.meter) {
        context_.meter->begin();
    }
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
        segment = file.segment_at(piece.offset);
    }
    extent.length = std::min(extent.length, segment.end - extent.offset);
    if (segment.hole) {
        extent.encoding = proto::Encoding::hole;
        return begin(extent, piece); // travels with what comes next
    }
    const std::uint64_t longest = extent_bytes(piece, pace_.extent_limit(), context_.socket.rate());
    extent.length =
        std::min(extent.length, context_.settings.compression == nullptr
                                    ? longest
                                    : context_.settings.compression->extent_bytes(longest));
    const std::shared_ptr<LargeSource> source = piece.source;
    extent.encoding = proto::Encoding::raw;
    if (Status sent = context_.send_frames(); !sent) { // in their order, and to make room
        return sent;
    }
    if (context_.compress_next() && worth_compressing(extent, source)) {
        extent.encoding = proto::Encoding::zstd;
    }
    if (Status begun = begin(extent, piece); !begun) {
        return begun;
    }
    Status sent = extent.encoding == proto::Encoding::zstd ? send_compressed(extent, source)
                                                           : send_raw(extent, source);
    if (sent) {
        context_.in_flight.sent(extent.id);
        pace_.sent(extent.length, Clock::now());
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
    // Bytes that pass through a buffer anyway are hashed there, others beside their transfer.
    const bool hashes_copies = context_.settings.verify && !context_.socket.sends_files();
    if (hashes_copies) {
        digester_.reset();
    } else if (context_.settings.verify) {
        context_.host.compute_digest(source, extent.id, extent.offset, extent.length);
    }
    // MSG_MORE: the header shares a segment with the first of the payload.
    if (Status sent = send_pending(true); !sent) {
        return sent;
    }
    const std::uint64_t rate = context_.socket.rate();
    const std::uint64_t slice =
        rate == 0 ? extent.length : std::max<std::uint64_t>(rate / kSlicesPerSecond, 1);
    for (std::uint64_t done = 0; done < extent.length;) {
        const std::uint64_t length = std::min(extent.length - done, slice);
        if (Status sent = send_slice(source, extent.offset + done, length); !sent) {
            return sent;
        }
        done += length;
        if (done < extent.length) {
            context_.in_flight.advance(extent.id, done);
        }
    }
    if (hashes_copies) {
        context_.host.add_digest(extent.id, digester_.finish());
    }
    if (context_.meter) {
        context_.meter->sent(extent.length, extent.length, false);
    }
    return ok();
}

Status LargeFiles::send_slice(const std::shared_ptr<LargeSource>& source, std::uint64_t offset,
                              std::uint64_t length) {
    const SourceFile& file = source->file();
    StreamSocket& socket = context_.socket;
    const bool direct = socket.sends_files();
    Result<StreamSocket::Sent> sent =
        direct ? socket.send_file(*copier_, file.fd(), file.position(offset), length)
               : socket.copy_file(file.fd(), file.position(offset), length,
                                  context_.settings.verify ? &digester_ : nullptr);
    if (!sent) {
        return std::move(sent).error();
    }
    context_.totals.bytes_zero_copy += sent->zero_copy;
    context_.totals.bytes_copied += sent->copied;
    if (direct && sent->copied > 0) {
        note_fallback();
    }
    if (sent->read_error != 0) {
        return give_up(source, {ErrorKind::some_files, "cannot read", sent->read_error});
    }
    return sent->truncated ? Status(give_up(source, kShrank)) : ok();
}

// The blocks go through the pipeline, so that some are compressed while another is being sent.
Status LargeFiles::send_compressed(const proto::Extent& extent,
                                   const std::shared_ptr<LargeSource>& source) {
    if (Status flushed = flush(); !flushed) {
        return flushed;
    }
    FramePipeline& frames = *context_.frames;
    for (std::uint64_t posted = 0, sent = 0; sent < extent.length;) {
        while (posted < extent.length && !frames.full()) {
            posted += post_block(source, extent.offset + posted, extent.length - posted);
        }
        const FramePipeline::Frame& block = frames.oldest();
        if (block.whole.empty()) {
            return give_up(source, problem_of_read(block.got));
        }
        sent += block.raw_bytes;
        if (Status done = context_.send_oldest_frame(); !done) {
            return done;
        }
        context_.in_flight.advance(extent.id, sent);
    }
    return ok();
}

// Has the next of the `left` bytes at `offset` compressed; how many these are.
std::uint64_t LargeFiles::post_block(const std::shared_ptr<LargeSource>& source,
                                     std::uint64_t offset, std::uint64_t left) {
    FramePipeline::Frame& block = context_.frames->next();
    block.raw_bytes =
        static_cast<std::size_t>(std::min<std::uint64_t>(left, proto::kMaxBlockBytes));
    block.file_bytes = block.raw_bytes;
    Compression& compression = *context_.settings.compression;
    const bool seal = !context_.signs();
    context_.frames->post([&compression, source, offset, seal](FramePipeline::Frame& frame) {
        make_block(frame, compression, source->file(), offset, seal);
    });
    return block.raw_bytes;
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
        context_.host.compute_digest(extent.id, buffer);
    }
    if (Status sent = send_pending(true); !sent) {
        return sent;
    }
    Status sent = context_.socket.send(buffer, false);
    if (sent) {
        context_.totals.bytes_copied += buffer.size();
        context_.in_flight.sent(extent.id);
    }
    return sent;
}

// Looked at by a thread of the pool: those have the memory for it. The pipeline is empty.
bool LargeFiles::worth_compressing(const proto::Extent& extent,
                                   const std::shared_ptr<LargeSource>& source) {
    FramePipeline& frames = *context_.frames;
    const std::size_t length =
        static_cast<std::size_t>(std::min<std::uint64_t>(extent.length, kSampleBytes));
    // From the middle: the beginning of a file is often a header of another kind.
    const std::uint64_t offset = extent.offset + (extent.length - length) / 2;
    frames.next().raw_bytes = length;
    bool worth = false;
    frames.post([&worth, source, offset](FramePipeline::Frame& frame) {
        const auto sample = std::span(frame.raw).first(frame.raw_bytes);
        const std::int64_t got = source->file().read(offset, sample);
        worth = got > 0 && looks_compressible(sample.first(static_cast<std::size_t>(got)));
    });
    static_cast<void>(frames.oldest());
    frames.pop();
    return worth;
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
    // Batches first: nothing may come between an extent and its blocks.
    if (Status sent = context_.send_frames(); !sent) {
        return sent;
    }
    return pending_.empty() ? ok() : send_pending(false);
}

Status LargeFiles::send_pending(bool more) {
    proto::Bytes frames = std::exchange(pending_, {});
    return context_.send(frames, more);
}

void LargeFiles::note_fallback() {
    if (context_.settings.send_path == CopyPath::automatic &&
        !std::exchange(fallback_noted_, true)) {
        context_.host.detail("sendfile does not work for some source: copying it");
    }
}

} // namespace sluice
