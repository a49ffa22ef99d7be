#include "proto/wire.hpp"

#include "proto/path_rules.hpp"

#include <algorithm>
#include <cassert>

namespace sluice::proto::wire {

namespace {

// Longest prefix of at most kMaxTextBytes that does not end inside a UTF-8 sequence. Text need
// not be UTF-8, so it steps back over three continuation bytes at most.
std::string_view cut_text(std::string_view text) noexcept {
    if (text.size() <= kMaxTextBytes)
        return text;
    std::size_t length = kMaxTextBytes;
    for (int steps = 0; steps < 3; ++steps) {
        if ((static_cast<unsigned char>(text[length]) & 0xc0U) != 0x80U)
            break;
        --length;
    }
    return text.substr(0, length);
}

} // namespace

FrameWriter::FrameWriter(FrameType type, Bytes& out) : out_(out), start_(out.size()), type_(type) {
    u32(0); // the length, known in finish()
    u8(static_cast<std::uint8_t>(type));
    u8(0);  // flags
    u16(0); // check and digest, set when the frame is sealed
    bytes(Digest{});
}

std::byte* FrameWriter::grow(std::size_t count) {
    const std::size_t at = out_.size();
    out_.resize(at + count);
    return out_.data() + at;
}

void FrameWriter::bytes(ByteView value) {
    out_.insert(out_.end(), value.begin(), value.end());
}

void FrameWriter::timestamp(const Timestamp& value) {
    assert(value.nanoseconds < kNanosecondsPerSecond);
    i64(value.seconds);
    u32(value.nanoseconds);
}

void FrameWriter::string(std::string_view value) {
    assert(value.size() <= UINT16_MAX);
    u16(static_cast<std::uint16_t>(value.size()));
    bytes(as_byte_view(value));
}

void FrameWriter::path(std::string_view value, [[maybe_unused]] std::size_t max_bytes) {
    assert(value.size() <= max_bytes);
    string(value);
}

void FrameWriter::text(std::string_view value) {
    string(cut_text(value));
}

void FrameWriter::finish(std::size_t bytes_elsewhere) {
    const std::size_t length = out_.size() - start_ - kFrameHeaderBytes + bytes_elsewhere;
    assert(length <= max_body_bytes(type_));
    store_le(out_.data() + start_, static_cast<std::uint32_t>(length));
    if (bytes_elsewhere == 0)
        seal_frame(std::span(out_).subspan(start_));
}

Digest BodyReader::digest() noexcept {
    Digest value{};
    std::ranges::copy(bytes(kDigestBytes), value.begin());
    return value;
}

ByteView BodyReader::bytes(std::size_t count) noexcept {
    if (count > rest_.size())
        fail(Fault::message_truncated);
    if (!ok())
        return {};
    const ByteView taken = rest_.first(count);
    rest_ = rest_.subspan(count);
    return taken;
}

Token BodyReader::token() noexcept {
    Token token{};
    std::ranges::copy(bytes(kTokenBytes), token.begin());
    return token;
}

Timestamp BodyReader::timestamp() noexcept {
    Timestamp value;
    value.seconds = i64();
    value.nanoseconds = u32();
    require(value.nanoseconds < kNanosecondsPerSecond, Fault::bad_value);
    return value;
}

std::uint32_t BodyReader::mode() noexcept {
    const std::uint32_t value = u32();
    require(value <= kModeBits, Fault::bad_value);
    return value;
}

std::string_view BodyReader::string(std::size_t max_bytes, Fault too_long) noexcept {
    const std::size_t length = u16();
    require(length <= max_bytes, too_long);
    return as_text(bytes(length));
}

std::string_view BodyReader::text() noexcept {
    return string(kMaxTextBytes, Fault::limit_exceeded);
}

std::string_view BodyReader::path() noexcept {
    const std::string_view value = string(kMaxPathBytes, Fault::path_too_long);
    if (ok())
        fail(check_path(value));
    return value;
}

std::string_view BodyReader::path_or_empty() noexcept {
    const std::string_view value = string(kMaxPathBytes, Fault::path_too_long);
    if (ok() && !value.empty())
        fail(check_path(value));
    return value;
}

std::size_t BodyReader::count(std::size_t least, std::size_t most,
                              std::size_t element_bytes) noexcept {
    const std::size_t value = u16();
    require(value >= least, Fault::bad_value);
    require(value <= most, Fault::limit_exceeded);
    require(value <= rest_.size() / element_bytes, Fault::message_truncated);
    return ok() ? value : 0;
}

void BodyReader::fail(Fault fault) noexcept {
    if (fault_ != Fault::none || fault == Fault::none)
        return;
    fault_ = fault;
    rest_ = {};
}

Fault BodyReader::finish() const noexcept {
    if (fault_ != Fault::none)
        return fault_;
    return rest_.empty() ? Fault::none : Fault::trailing_bytes;
}

} // namespace sluice::proto::wire
