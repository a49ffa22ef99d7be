// What is common to all frames: the preamble, and the table of frame types.
#include "proto/messages.hpp"
#include "proto/wire.hpp"

#include <algorithm>
#include <cstring>
#include <string_view>
#include <xxhash.h>

namespace sluice::proto {

namespace {

constexpr std::string_view kMagic = "sluice";
constexpr std::size_t kVersionAt = 6;
constexpr std::size_t kRoleAt = 8;
constexpr std::size_t kReservedAt = 9;

constexpr std::size_t string_bytes(std::size_t length) {
    return sizeof(std::uint16_t) + length;
}

constexpr std::size_t kIdBytes = sizeof(std::uint64_t);
constexpr std::size_t kCountBytes = sizeof(std::uint16_t);
constexpr std::size_t kTextBytes = string_bytes(kMaxTextBytes);
constexpr std::size_t kPathBytes = string_bytes(kMaxPathBytes);

constexpr std::size_t kWelcomeBytes = kTokenBytes + 2 * sizeof(std::uint32_t) + kCountBytes +
                                      kMaxRoots * sizeof(std::uint16_t) + kTextBytes;
constexpr std::size_t kVerdictBytes = kIdBytes + kCountBytes + (kMaxOfferEntries + 7) / 8;
constexpr std::size_t kFileErrorBytes = 1 + sizeof(std::int32_t) + kPathBytes + kTextBytes;
constexpr std::size_t kPresentBytes = kIdBytes + kCountBytes + kMaxRanges * sizeof(Range);
constexpr std::size_t kDigestsBytes = kCountBytes + kMaxDigests * (kIdBytes + kDigestBytes);
constexpr std::size_t kAckBytes = kCountBytes + kMaxAcks * kIdBytes;
constexpr std::size_t kAgainBytes = kIdBytes + kDigestBytes;
constexpr std::size_t kConnectionBytes = sizeof(std::uint32_t);
constexpr std::size_t kFinishBytes = sizeof(std::uint64_t);
constexpr std::size_t kAllSentBytes = 2 * sizeof(std::uint64_t) + sizeof(std::uint32_t);
constexpr std::size_t kDoneBytes = 14 * sizeof(std::uint64_t);
constexpr std::size_t kJoinBytes = kTokenBytes + kConnectionBytes + sizeof(std::uint16_t);
constexpr std::size_t kBatchBytes = kBatchHeaderBytes - kFrameHeaderBytes + kMaxBatchBytes;
constexpr std::size_t kBlockBytes = kBlockHeaderBytes - kFrameHeaderBytes + kMaxBlockBytes;
// Id, file, offset, length, size, version; seconds and nanoseconds; mode; encoding.
constexpr std::size_t kExtentBytes = 6 * sizeof(std::uint64_t) + 12 + 4 + 1 + kPathBytes;
constexpr std::size_t kErrorBytes = sizeof(std::uint16_t) + kTextBytes;

// A header is length, type and flags, a check of these, and the digest. The first eight bytes are
// the seed with which the body is hashed, so that the digest covers them, too.
constexpr std::size_t kCheckAt = 6;
constexpr std::size_t kDigestAt = 8;
static_assert(kDigestAt + kDigestBytes == kFrameHeaderBytes);

std::uint16_t header_check(const std::byte* header) noexcept {
    return static_cast<std::uint16_t>(XXH3_64bits(header, kCheckAt));
}

Digest frame_digest(const std::byte* header, ByteView body) noexcept {
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(
        &canonical,
        XXH3_128bits_withSeed(body.data(), body.size(), wire::load_le<std::uint64_t>(header)));
    Digest digest;
    static_assert(sizeof canonical == sizeof digest);
    std::memcpy(digest.data(), &canonical, sizeof digest);
    return digest;
}

} // namespace

std::array<std::byte, kPreambleBytes> encode_preamble(const Preamble& preamble) {
    std::array<std::byte, kPreambleBytes> bytes{};
    std::ranges::copy(wire::as_byte_view(kMagic), bytes.begin());
    wire::store_le(bytes.data() + kVersionAt, preamble.version);
    bytes[kRoleAt] = static_cast<std::byte>(preamble.role);
    return bytes;
}

Fault decode_preamble(std::span<const std::byte, kPreambleBytes> bytes, Preamble& out) {
    if (wire::as_text(bytes.first<kMagic.size()>()) != kMagic)
        return Fault::bad_magic;
    out.version = wire::load_le<std::uint16_t>(bytes.data() + kVersionAt);
    // What follows the version is the business of that version.
    if (out.version != kVersion)
        return Fault::unsupported_version;
    const auto role = std::to_integer<std::uint8_t>(bytes[kRoleAt]);
    if (role > static_cast<std::uint8_t>(Role::data))
        return Fault::bad_role;
    out.role = Role{role};
    const bool zero = std::ranges::all_of(bytes.subspan<kReservedAt>(),
                                          [](std::byte byte) { return byte == std::byte{0}; });
    return zero ? Fault::none : Fault::reserved_not_zero;
}

void seal_frame(std::span<std::byte> frame) noexcept {
    wire::store_le(frame.data() + kCheckAt, header_check(frame.data()));
    std::ranges::copy(frame_digest(frame.data(), frame.subspan(kFrameHeaderBytes)),
                      frame.begin() + kDigestAt);
}

void sign_frames(std::span<std::byte> frames, const FrameCode& code) {
    while (!frames.empty()) {
        const std::size_t length = kFrameHeaderBytes + wire::load_le<std::uint32_t>(frames.data());
        const auto frame = frames.first(length);
        wire::store_le(frame.data() + kCheckAt, header_check(frame.data()));
        std::ranges::copy(code(frame.first(kDigestAt), frame.subspan(kFrameHeaderBytes)),
                          frame.begin() + kDigestAt);
        frames = frames.subspan(length);
    }
}

bool header_is_intact(std::span<const std::byte, kFrameHeaderBytes> header) noexcept {
    return wire::load_le<std::uint16_t>(header.data() + kCheckAt) == header_check(header.data());
}

bool frame_is_intact(std::span<const std::byte, kFrameHeaderBytes> header, ByteView body) noexcept {
    return std::ranges::equal(frame_digest(header.data(), body), header.subspan<kDigestAt>());
}

bool frame_is_intact(std::span<const std::byte, kFrameHeaderBytes> header, ByteView body,
                     const FrameCode& code) {
    const Digest expected = code(header.first<kDigestAt>(), body);
    std::byte difference{};
    for (std::size_t index = 0; index < expected.size(); ++index)
        difference |= expected[index] ^ header[kDigestAt + index];
    return difference == std::byte{};
}

std::size_t max_body_bytes(FrameType type) noexcept {
    switch (type) {
    case FrameType::open: return kMaxOpenBytes;
    case FrameType::offer: return kMaxOfferBytes;
    case FrameType::finish: return kFinishBytes;
    case FrameType::digests: return kDigestsBytes;
    case FrameType::file_end:
    case FrameType::file_abort: return kIdBytes;
    case FrameType::drop: return kConnectionBytes;
    case FrameType::all_sent: return kAllSentBytes;
    case FrameType::welcome: return kWelcomeBytes;
    case FrameType::verdict: return kVerdictBytes;
    case FrameType::file_error: return kFileErrorBytes;
    case FrameType::done: return kDoneBytes;
    case FrameType::present: return kPresentBytes;
    case FrameType::ack: return kAckBytes;
    case FrameType::again: return kAgainBytes;
    case FrameType::lost: return kConnectionBytes;
    case FrameType::join: return kJoinBytes;
    case FrameType::batch: return kBatchBytes;
    case FrameType::extent: return kExtentBytes;
    case FrameType::block: return kBlockBytes;
    case FrameType::ping: return 0;
    case FrameType::error: return kErrorBytes;
    }
    return 0;
}

bool allowed_on(FrameType type, Role role) noexcept {
    switch (type) {
    case FrameType::open:
    case FrameType::offer:
    case FrameType::finish:
    case FrameType::digests:
    case FrameType::file_end:
    case FrameType::file_abort:
    case FrameType::drop:
    case FrameType::all_sent:
    case FrameType::welcome:
    case FrameType::verdict:
    case FrameType::file_error:
    case FrameType::done:
    case FrameType::present:
    case FrameType::ack:
    case FrameType::again:
    case FrameType::lost:
    case FrameType::ping: return role == Role::control;
    case FrameType::join:
    case FrameType::batch:
    case FrameType::extent:
    case FrameType::block: return role == Role::data;
    case FrameType::error: return true;
    }
    return false;
}

} // namespace sluice::proto
