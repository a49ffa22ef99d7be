#include "proto/batch.hpp"

#include "proto/path_rules.hpp"
#include "proto/wire.hpp"

#include <algorithm>
#include <cassert>

namespace sluice::proto {

namespace {

using wire::load_le;
using wire::store_le;

// Offsets of the fields in a record header.
constexpr std::size_t kKindAt = 0;
constexpr std::size_t kReservedAt = 1;
constexpr std::size_t kPathLengthAt = 2;
constexpr std::size_t kContentLengthAt = 4;
constexpr std::size_t kModeAt = 8;
constexpr std::size_t kNanosecondsAt = 12;
constexpr std::size_t kSecondsAt = 16;
static_assert(kSecondsAt + sizeof(std::int64_t) == kRecordHeaderBytes);

// Writes the header and the path at the start of `space`; returns how long they are.
std::size_t write_head(std::span<std::byte> space, const Record& record, RecordKind kind,
                       std::size_t content_bytes) noexcept {
    assert(record.mode <= wire::kModeBits);
    assert(record.mtime.nanoseconds < wire::kNanosecondsPerSecond);
    std::byte* const at = space.data();
    at[kKindAt] = static_cast<std::byte>(kind);
    at[kReservedAt] = std::byte{0};
    store_le(at + kPathLengthAt, static_cast<std::uint16_t>(record.path.size()));
    store_le(at + kContentLengthAt, static_cast<std::uint32_t>(content_bytes));
    store_le(at + kModeAt, record.mode);
    store_le(at + kNanosecondsAt, record.mtime.nanoseconds);
    store_le(at + kSecondsAt, static_cast<std::uint64_t>(record.mtime.seconds));
    std::ranges::copy(wire::as_byte_view(record.path), at + kRecordHeaderBytes);
    return kRecordHeaderBytes + record.path.size();
}

Fault check_lengths(RecordKind kind, std::size_t path_bytes, std::size_t content_bytes) noexcept {
    if (path_bytes > kMaxPathBytes)
        return Fault::path_too_long;
    switch (kind) {
    case RecordKind::directory: return content_bytes == 0 ? Fault::none : Fault::bad_value;
    case RecordKind::symlink:
        if (content_bytes == 0)
            return Fault::bad_value;
        return content_bytes <= kMaxLinkTargetBytes ? Fault::none : Fault::limit_exceeded;
    case RecordKind::file:
        return content_bytes <= kMaxInlineFileBytes ? Fault::none : Fault::limit_exceeded;
    }
    return Fault::bad_value;
}

Fault check_names(const Record& record) noexcept {
    const bool destination_itself = record.kind == RecordKind::directory && record.path.empty();
    if (!destination_itself) {
        if (const Fault fault = check_path(record.path); fault != Fault::none)
            return fault;
    }
    if (record.kind == RecordKind::symlink &&
        wire::as_text(record.content).find('\0') != std::string_view::npos)
        return Fault::path_has_nul;
    return Fault::none;
}

} // namespace

bool BatchWriter::fits(std::size_t path_bytes, std::size_t content_bytes) const noexcept {
    const std::size_t free = buffer_.size() - used_;
    return path_bytes <= kMaxPathBytes && content_bytes <= kMaxInlineFileBytes &&
           kRecordHeaderBytes + path_bytes + content_bytes <= free;
}

void BatchWriter::append(const Record& record) noexcept {
    assert(fits(record.path.size(), record.content.size()));
    assert(check_lengths(record.kind, record.path.size(), record.content.size()) == Fault::none);
    reserved_ = 0;
    const std::span<std::byte> space = buffer_.subspan(used_);
    const std::size_t head = write_head(space, record, record.kind, record.content.size());
    std::ranges::copy(record.content, space.subspan(head).begin());
    used_ += head + record.content.size();
}

std::span<std::byte> BatchWriter::reserve_file(const Record& record,
                                               std::size_t content_bytes) noexcept {
    assert(fits(record.path.size(), content_bytes));
    const std::span<std::byte> space = buffer_.subspan(used_);
    const std::size_t head = write_head(space, record, RecordKind::file, content_bytes);
    reserved_ = head + content_bytes;
    return space.subspan(head, content_bytes);
}

void BatchWriter::commit_file() noexcept {
    assert(reserved_ != 0);
    used_ += reserved_;
    reserved_ = 0;
}

Fault BatchReader::next(Record& out) noexcept {
    if (rest_.size() < kRecordHeaderBytes)
        return Fault::message_truncated;
    const std::byte* const at = rest_.data();
    const auto kind = std::to_integer<std::uint8_t>(at[kKindAt]);
    if (kind < static_cast<std::uint8_t>(RecordKind::directory) ||
        kind > static_cast<std::uint8_t>(RecordKind::file))
        return Fault::bad_value;
    if (at[kReservedAt] != std::byte{0})
        return Fault::reserved_not_zero;
    out.kind = RecordKind{kind};
    out.mode = load_le<std::uint32_t>(at + kModeAt);
    out.mtime.nanoseconds = load_le<std::uint32_t>(at + kNanosecondsAt);
    out.mtime.seconds = static_cast<std::int64_t>(load_le<std::uint64_t>(at + kSecondsAt));
    if (out.mode > wire::kModeBits || out.mtime.nanoseconds >= wire::kNanosecondsPerSecond)
        return Fault::bad_value;

    const std::size_t path_bytes = load_le<std::uint16_t>(at + kPathLengthAt);
    const std::size_t content_bytes = load_le<std::uint32_t>(at + kContentLengthAt);
    if (const Fault fault = check_lengths(out.kind, path_bytes, content_bytes);
        fault != Fault::none)
        return fault;
    // Both lengths are below their limits by now, so that the sum cannot overflow.
    if (path_bytes + content_bytes > rest_.size() - kRecordHeaderBytes)
        return Fault::message_truncated;
    out.path = wire::as_text(rest_.subspan(kRecordHeaderBytes, path_bytes));
    out.content = rest_.subspan(kRecordHeaderBytes + path_bytes, content_bytes);
    if (const Fault fault = check_names(out); fault != Fault::none)
        return fault;
    rest_ = rest_.subspan(kRecordHeaderBytes + path_bytes + content_bytes);
    return Fault::none;
}

} // namespace sluice::proto
