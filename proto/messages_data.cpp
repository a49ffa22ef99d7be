// Messages of a data connection.
#include "proto/messages.hpp"
#include "proto/wire.hpp"

#include <cassert>

namespace sluice::proto {

namespace {

using wire::BodyReader;
using wire::FrameWriter;

// Batch and Block end alike: encoding, three zero bytes, raw length, payload.
void encode_packed_header(FrameWriter& writer, Encoding encoding, std::uint32_t raw_length,
                          std::size_t payload_bytes) {
    assert(encoding != Encoding::hole && raw_length >= 1);
    assert(encoding == Encoding::raw ? payload_bytes == raw_length
                                     : payload_bytes >= 1 && payload_bytes < raw_length);
    writer.u8(static_cast<std::uint8_t>(encoding));
    writer.u8(0);
    writer.u16(0);
    writer.u32(raw_length);
    writer.finish(payload_bytes);
}

template <typename Message>
Fault decode_packed(BodyReader& reader, std::size_t max_raw_bytes, Message& out) {
    const std::uint8_t encoding = reader.u8();
    reader.require(encoding <= static_cast<std::uint8_t>(Encoding::zstd), Fault::bad_value);
    const std::uint8_t reserved_byte = reader.u8();
    const std::uint16_t reserved_half = reader.u16();
    reader.require(reserved_byte == 0 && reserved_half == 0, Fault::reserved_not_zero);
    out.encoding = Encoding{encoding};
    out.raw_length = reader.u32();
    reader.require(out.raw_length >= 1, Fault::bad_value);
    reader.require(out.raw_length <= max_raw_bytes, Fault::limit_exceeded);
    if (out.encoding == Encoding::raw) {
        out.payload = reader.bytes(out.raw_length);
    } else {
        out.payload = reader.rest();
        reader.require(!out.payload.empty(), Fault::message_truncated);
        // Whoever compresses sends what did not shrink as raw.
        reader.require(out.payload.size() < out.raw_length, Fault::bad_value);
    }
    return reader.finish();
}

// The range of an extent, with file_size already known to be at most kMaxFileBytes. Subtracts
// where adding could overflow.
Fault check_range(const Extent& extent) noexcept {
    if (extent.length == 0)
        return Fault::bad_value;
    if (extent.encoding != Encoding::hole && extent.length > kMaxExtentBytes)
        return Fault::limit_exceeded;
    if (extent.offset > extent.file_size || extent.length > extent.file_size - extent.offset)
        return Fault::bad_value;
    return Fault::none;
}

} // namespace

void encode(const Join& message, Bytes& out) {
    assert(message.stream < kMaxStreams);
    FrameWriter writer(FrameType::join, out);
    writer.bytes(message.token);
    writer.u32(message.connection);
    writer.u16(message.stream);
    writer.finish();
}

Fault decode(ByteView body, Join& out) {
    BodyReader reader(body);
    out.token = reader.token();
    out.connection = reader.u32();
    out.stream = reader.u16();
    reader.require(out.stream < kMaxStreams, Fault::limit_exceeded);
    return reader.finish();
}

void encode_batch_header(std::uint64_t id, Encoding encoding, std::uint32_t raw_length,
                         std::size_t payload_bytes, Bytes& out) {
    assert(raw_length <= kMaxBatchBytes);
    FrameWriter writer(FrameType::batch, out);
    writer.u64(id);
    encode_packed_header(writer, encoding, raw_length, payload_bytes);
}

void encode_block_header(Encoding encoding, std::uint32_t raw_length, std::size_t payload_bytes,
                         Bytes& out) {
    assert(raw_length <= kMaxBlockBytes);
    FrameWriter writer(FrameType::block, out);
    encode_packed_header(writer, encoding, raw_length, payload_bytes);
}

void encode(const Batch& message, Bytes& out) {
    const std::size_t start = out.size();
    encode_batch_header(message.id, message.encoding, message.raw_length, message.payload.size(),
                        out);
    out.insert(out.end(), message.payload.begin(), message.payload.end());
    seal_frame(std::span(out).subspan(start));
}

Fault decode(ByteView body, Batch& out) {
    BodyReader reader(body);
    out.id = reader.u64();
    return decode_packed(reader, kMaxBatchBytes, out);
}

void encode(const Block& message, Bytes& out) {
    const std::size_t start = out.size();
    encode_block_header(message.encoding, message.raw_length, message.payload.size(), out);
    out.insert(out.end(), message.payload.begin(), message.payload.end());
    seal_frame(std::span(out).subspan(start));
}

Fault decode(ByteView body, Block& out) {
    BodyReader reader(body);
    return decode_packed(reader, kMaxBlockBytes, out);
}

void encode(const Extent& message, Bytes& out) {
    assert(message.file_size <= kMaxFileBytes && message.mode <= wire::kModeBits);
    assert(check_range(message) == Fault::none);
    FrameWriter writer(FrameType::extent, out);
    writer.u64(message.id);
    writer.u64(message.file_id);
    writer.u64(message.offset);
    writer.u64(message.length);
    writer.u64(message.file_size);
    writer.timestamp(message.mtime);
    writer.u32(message.mode);
    writer.u64(message.version);
    writer.u8(static_cast<std::uint8_t>(message.encoding));
    writer.path(message.path);
    writer.finish();
}

Fault decode(ByteView body, Extent& out) {
    BodyReader reader(body);
    out.id = reader.u64();
    out.file_id = reader.u64();
    out.offset = reader.u64();
    out.length = reader.u64();
    out.file_size = reader.u64();
    reader.require(out.file_size <= kMaxFileBytes, Fault::limit_exceeded);
    out.mtime = reader.timestamp();
    out.mode = reader.mode();
    out.version = reader.u64();
    const std::uint8_t encoding = reader.u8();
    reader.require(encoding <= static_cast<std::uint8_t>(Encoding::hole), Fault::bad_value);
    out.encoding = Encoding{encoding};
    if (reader.ok())
        reader.fail(check_range(out));
    out.path = reader.path();
    return reader.finish();
}

} // namespace sluice::proto
