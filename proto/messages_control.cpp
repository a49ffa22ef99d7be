// Messages of the control connection, and those that either connection may carry.
#include "proto/messages.hpp"
#include "proto/path_rules.hpp"
#include "proto/wire.hpp"

#include <cassert>

namespace sluice::proto {

namespace {

using wire::BodyReader;
using wire::FrameWriter;

// With an empty path.
constexpr std::size_t kLeastOfferEntryBytes = kOfferEntryBytes;

Fault check_destination(std::string_view destination) noexcept {
    if (destination.empty())
        return Fault::none;
    // "/" stays as it is: an absolute path, not an empty one.
    if (destination.size() > 1 && destination.back() == '/')
        destination.remove_suffix(1);
    return check_path(destination);
}

Fault check_root(std::string_view root) noexcept {
    if (root.empty())
        return Fault::none;
    if (const Fault fault = check_path(root); fault != Fault::none)
        return fault;
    return root.find('/') == std::string_view::npos ? Fault::none : Fault::bad_value;
}

constexpr std::size_t bitmap_bytes(std::size_t bits) {
    return (bits + 7) / 8;
}

// The bits of the last bitmap byte that belong to one of `bits` entries.
constexpr std::byte last_byte_mask(std::size_t bits) {
    return bits % 8 == 0 ? std::byte{0xff} : static_cast<std::byte>((1U << (bits % 8)) - 1);
}

// Ids first_id .. first_id + count - 1 must not wrap around.
bool ids_fit(std::uint64_t first_id, std::size_t count) noexcept {
    return count == 0 || first_id <= UINT64_MAX - (count - 1);
}

} // namespace

void encode(const Open& message, Bytes& out) {
    assert((message.flags & ~kOpenKnownFlags) == 0);
    assert(message.streams >= 1 && message.streams <= kMaxStreams);
    assert(message.roots.size() <= kMaxRoots);
    FrameWriter writer(FrameType::open, out);
    writer.u32(message.flags);
    writer.u16(message.streams);
    writer.bytes(message.run);
    writer.u32(message.timeout_ms);
    writer.u32(message.retry_ms);
    writer.path(message.destination, kMaxPathBytes + 1); // with a trailing slash
    writer.u16(static_cast<std::uint16_t>(message.roots.size()));
    for (const std::string_view root : message.roots)
        writer.path(root, kMaxNameBytes);
    writer.text(message.software);
    writer.finish();
}

Fault decode(ByteView body, Open& out) {
    BodyReader reader(body);
    out.flags = reader.u32();
    reader.require((out.flags & ~kOpenKnownFlags) == 0, Fault::bad_value);
    out.streams = reader.u16();
    reader.require(out.streams >= 1, Fault::bad_value);
    reader.require(out.streams <= kMaxStreams, Fault::limit_exceeded);
    out.run = reader.token();
    out.timeout_ms = reader.u32();
    out.retry_ms = reader.u32();
    out.destination = reader.string(kMaxPathBytes + 1, Fault::path_too_long);
    reader.fail(check_destination(out.destination));
    const std::size_t roots = reader.count(0, kMaxRoots, 2);
    out.roots.clear();
    out.roots.reserve(roots);
    for (std::size_t i = 0; i < roots && reader.ok(); ++i) {
        const std::string_view root = reader.string(kMaxNameBytes, Fault::path_component_too_long);
        reader.fail(check_root(root));
        out.roots.push_back(root);
    }
    out.software = reader.text();
    return reader.finish();
}

void encode(const Welcome& message, Bytes& out) {
    assert(message.fresh.size() <= kMaxRoots);
    FrameWriter writer(FrameType::welcome, out);
    writer.bytes(message.token);
    writer.u32(message.timeout_ms);
    writer.u32(message.flags);
    writer.u16(static_cast<std::uint16_t>(message.fresh.size()));
    for (const std::uint16_t index : message.fresh)
        writer.u16(index);
    writer.text(message.software);
    writer.finish();
}

Fault decode(ByteView body, Welcome& out) {
    BodyReader reader(body);
    out.token = reader.token();
    out.timeout_ms = reader.u32();
    out.flags = reader.u32();
    reader.require((out.flags & ~kWelcomeKnownFlags) == 0, Fault::bad_value);
    const std::size_t fresh = reader.count(0, kMaxRoots, sizeof(std::uint16_t));
    out.fresh.clear();
    out.fresh.reserve(fresh);
    for (std::size_t i = 0; i < fresh && reader.ok(); ++i) {
        const std::uint16_t index = reader.u16();
        reader.require(index < kMaxRoots, Fault::limit_exceeded);
        out.fresh.push_back(index);
    }
    out.software = reader.text();
    return reader.finish();
}

void encode(const Offer& message, Bytes& out) {
    assert(!message.entries.empty() && message.entries.size() <= kMaxOfferEntries);
    assert(ids_fit(message.first_id, message.entries.size()));
    FrameWriter writer(FrameType::offer, out);
    writer.u64(message.first_id);
    writer.u16(static_cast<std::uint16_t>(message.entries.size()));
    for (const OfferEntry& entry : message.entries) {
        assert(entry.size <= kMaxFileBytes && entry.mode <= wire::kModeBits);
        writer.u64(entry.size);
        writer.timestamp(entry.mtime);
        writer.u32(entry.mode);
        writer.u64(entry.version);
        writer.path(entry.path);
    }
    writer.finish();
}

Fault decode(ByteView body, Offer& out) {
    BodyReader reader(body);
    out.first_id = reader.u64();
    const std::size_t count = reader.count(1, kMaxOfferEntries, kLeastOfferEntryBytes);
    reader.require(ids_fit(out.first_id, count), Fault::bad_value);
    out.entries.clear();
    out.entries.reserve(count);
    for (std::size_t i = 0; i < count && reader.ok(); ++i) {
        OfferEntry entry;
        entry.size = reader.u64();
        reader.require(entry.size <= kMaxFileBytes, Fault::limit_exceeded);
        entry.mtime = reader.timestamp();
        entry.mode = reader.mode();
        entry.version = reader.u64();
        entry.path = reader.path();
        out.entries.push_back(entry);
    }
    return reader.finish();
}

void encode(const Verdict& message, Bytes& out) {
    assert(message.count >= 1 && message.count <= kMaxOfferEntries);
    assert(message.wanted.size() == bitmap_bytes(message.count));
    assert(ids_fit(message.first_id, message.count));
    FrameWriter writer(FrameType::verdict, out);
    writer.u64(message.first_id);
    writer.u16(message.count);
    writer.bytes(message.wanted);
    // A caller that wants everything may have set all bits of the last byte.
    if (!message.wanted.empty())
        out.back() &= last_byte_mask(message.count);
    writer.finish();
}

Fault decode(ByteView body, Verdict& out) {
    BodyReader reader(body);
    out.first_id = reader.u64();
    out.count = reader.u16();
    reader.require(out.count >= 1, Fault::bad_value);
    reader.require(out.count <= kMaxOfferEntries, Fault::limit_exceeded);
    reader.require(ids_fit(out.first_id, out.count), Fault::bad_value);
    out.wanted = reader.bytes(bitmap_bytes(out.count));
    if (!out.wanted.empty()) {
        const std::byte unused = out.wanted.back() & ~last_byte_mask(out.count);
        reader.require(unused == std::byte{0}, Fault::reserved_not_zero);
    }
    return reader.finish();
}

void encode(const FileError& message, Bytes& out) {
    assert(message.error_number >= 0);
    FrameWriter writer(FrameType::file_error, out);
    writer.u8(static_cast<std::uint8_t>(message.fault));
    writer.i32(message.error_number);
    writer.path(message.path);
    writer.text(message.text);
    writer.finish();
}

Fault decode(ByteView body, FileError& out) {
    BodyReader reader(body);
    const std::uint8_t fault = reader.u8();
    reader.require(fault >= static_cast<std::uint8_t>(FileFault::io) &&
                       fault <= static_cast<std::uint8_t>(FileFault::corrupt),
                   Fault::bad_value);
    out.fault = FileFault{fault};
    out.error_number = reader.i32();
    reader.require(out.error_number >= 0, Fault::bad_value);
    // Empty where a directory record with an empty path, the destination itself, has failed.
    out.path = reader.path_or_empty();
    out.text = reader.text();
    return reader.finish();
}

void encode(const Present& message, Bytes& out) {
    assert(!message.ranges.empty() && message.ranges.size() <= kMaxRanges);
    FrameWriter writer(FrameType::present, out);
    writer.u64(message.id);
    writer.u16(static_cast<std::uint16_t>(message.ranges.size()));
    for (const Range& range : message.ranges) {
        writer.u64(range.offset);
        writer.u64(range.length);
    }
    writer.finish();
}

Fault decode(ByteView body, Present& out) {
    BodyReader reader(body);
    out.id = reader.u64();
    const std::size_t count = reader.count(1, kMaxRanges, 2 * sizeof(std::uint64_t));
    out.ranges.clear();
    out.ranges.reserve(count);
    for (std::size_t i = 0; i < count && reader.ok(); ++i) {
        Range range;
        range.offset = reader.u64();
        range.length = reader.u64();
        reader.require(range.length >= 1 && range.offset <= kMaxFileBytes &&
                           range.length <= kMaxFileBytes - range.offset,
                       Fault::bad_value);
        out.ranges.push_back(range);
    }
    return reader.finish();
}

void encode(const Digests& message, Bytes& out) {
    assert(!message.entries.empty() && message.entries.size() <= kMaxDigests);
    FrameWriter writer(FrameType::digests, out);
    writer.u16(static_cast<std::uint16_t>(message.entries.size()));
    for (const Digests::Entry& entry : message.entries) {
        writer.u64(entry.id);
        writer.bytes(entry.digest);
    }
    writer.finish();
}

Fault decode(ByteView body, Digests& out) {
    BodyReader reader(body);
    const std::size_t count = reader.count(1, kMaxDigests, sizeof(std::uint64_t) + kDigestBytes);
    out.entries.clear();
    out.entries.reserve(count);
    for (std::size_t i = 0; i < count && reader.ok(); ++i) {
        const std::uint64_t id = reader.u64();
        out.entries.push_back({id, reader.digest()});
    }
    return reader.finish();
}

void encode(const Ack& message, Bytes& out) {
    assert(!message.ids.empty() && message.ids.size() <= kMaxAcks);
    FrameWriter writer(FrameType::ack, out);
    writer.u16(static_cast<std::uint16_t>(message.ids.size()));
    for (const std::uint64_t id : message.ids)
        writer.u64(id);
    writer.finish();
}

Fault decode(ByteView body, Ack& out) {
    BodyReader reader(body);
    const std::size_t count = reader.count(1, kMaxAcks, sizeof(std::uint64_t));
    out.ids.clear();
    out.ids.reserve(count);
    for (std::size_t i = 0; i < count && reader.ok(); ++i)
        out.ids.push_back(reader.u64());
    return reader.finish();
}

void encode(const Again& message, Bytes& out) {
    FrameWriter writer(FrameType::again, out);
    writer.u64(message.id);
    writer.bytes(message.digest);
    writer.finish();
}

Fault decode(ByteView body, Again& out) {
    BodyReader reader(body);
    out.id = reader.u64();
    out.digest = reader.digest();
    return reader.finish();
}

void encode(const Drop& message, Bytes& out) {
    FrameWriter writer(FrameType::drop, out);
    writer.u32(message.connection);
    writer.finish();
}

Fault decode(ByteView body, Drop& out) {
    BodyReader reader(body);
    out.connection = reader.u32();
    return reader.finish();
}

void encode(const Lost& message, Bytes& out) {
    FrameWriter writer(FrameType::lost, out);
    writer.u32(message.connection);
    writer.finish();
}

Fault decode(ByteView body, Lost& out) {
    BodyReader reader(body);
    out.connection = reader.u32();
    return reader.finish();
}

void encode(const AllSent& message, Bytes& out) {
    FrameWriter writer(FrameType::all_sent, out);
    writer.u64(message.files);
    writer.u64(message.acknowledged);
    writer.u32(message.lost);
    writer.finish();
}

Fault decode(ByteView body, AllSent& out) {
    BodyReader reader(body);
    out.files = reader.u64();
    out.acknowledged = reader.u64();
    out.lost = reader.u32();
    return reader.finish();
}

void encode(const Finish& message, Bytes& out) {
    FrameWriter writer(FrameType::finish, out);
    writer.u64(message.files);
    writer.finish();
}

Fault decode(ByteView body, Finish& out) {
    BodyReader reader(body);
    out.files = reader.u64();
    return reader.finish();
}

void encode(const Done& message, Bytes& out) {
    FrameWriter writer(FrameType::done, out);
    for (const std::uint64_t value :
         {message.files, message.unchanged, message.directories, message.symlinks, message.failed,
          message.reused_files, message.reused_bytes, message.bytes_spliced, message.bytes_copied,
          message.bytes_inline, message.bytes_decompressed, message.cpu_us, message.system_calls,
          message.context_switches})
        writer.u64(value);
    writer.finish();
}

Fault decode(ByteView body, Done& out) {
    BodyReader reader(body);
    for (std::uint64_t* value :
         {&out.files, &out.unchanged, &out.directories, &out.symlinks, &out.failed,
          &out.reused_files, &out.reused_bytes, &out.bytes_spliced, &out.bytes_copied,
          &out.bytes_inline, &out.bytes_decompressed, &out.cpu_us, &out.system_calls,
          &out.context_switches})
        *value = reader.u64();
    return reader.finish();
}

void encode(const FileEnd& message, Bytes& out) {
    FrameWriter writer(FrameType::file_end, out);
    writer.u64(message.file_id);
    writer.finish();
}

Fault decode(ByteView body, FileEnd& out) {
    BodyReader reader(body);
    out.file_id = reader.u64();
    return reader.finish();
}

void encode_ping(Bytes& out) {
    FrameWriter writer(FrameType::ping, out);
    writer.finish();
}

void encode(const FileAbort& message, Bytes& out) {
    FrameWriter writer(FrameType::file_abort, out);
    writer.u64(message.file_id);
    writer.finish();
}

Fault decode(ByteView body, FileAbort& out) {
    BodyReader reader(body);
    out.file_id = reader.u64();
    return reader.finish();
}

void encode(const ErrorMessage& message, Bytes& out) {
    FrameWriter writer(FrameType::error, out);
    writer.u16(message.code);
    writer.text(message.text);
    writer.finish();
}

Fault decode(ByteView body, ErrorMessage& out) {
    BodyReader reader(body);
    out.code = reader.u16();
    out.text = reader.text();
    return reader.finish();
}

} // namespace sluice::proto
