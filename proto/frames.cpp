// What is common to all frames: the preamble, and the table of frame types.
#include "proto/messages.hpp"
#include "proto/wire.hpp"

#include <algorithm>
#include <string_view>

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

constexpr std::size_t kWelcomeBytes =
    kTokenBytes + kCountBytes + kMaxRoots * sizeof(std::uint16_t) + kTextBytes;
constexpr std::size_t kVerdictBytes = kIdBytes + kCountBytes + (kMaxOfferEntries + 7) / 8;
constexpr std::size_t kFileErrorBytes = 1 + sizeof(std::int32_t) + kPathBytes + kTextBytes;
constexpr std::size_t kFinishBytes = kCountBytes + sizeof(std::uint64_t);
constexpr std::size_t kDoneBytes = 12 * sizeof(std::uint64_t);
constexpr std::size_t kJoinBytes = kTokenBytes + sizeof(std::uint16_t);
constexpr std::size_t kBatchBytes = kBatchHeaderBytes - kFrameHeaderBytes + kMaxBatchBytes;
constexpr std::size_t kBlockBytes = kBlockHeaderBytes - kFrameHeaderBytes + kMaxBlockBytes;
// Identity, offset, length, size; seconds and nanoseconds; mode; encoding.
constexpr std::size_t kExtentBytes = 4 * sizeof(std::uint64_t) + 12 + 4 + 1 + kPathBytes;
constexpr std::size_t kErrorBytes = sizeof(std::uint16_t) + kTextBytes;

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

std::size_t max_body_bytes(FrameType type) noexcept {
    switch (type) {
    case FrameType::open: return kMaxOpenBytes;
    case FrameType::offer: return kMaxOfferBytes;
    case FrameType::finish: return kFinishBytes;
    case FrameType::welcome: return kWelcomeBytes;
    case FrameType::verdict: return kVerdictBytes;
    case FrameType::file_error: return kFileErrorBytes;
    case FrameType::done: return kDoneBytes;
    case FrameType::join: return kJoinBytes;
    case FrameType::batch: return kBatchBytes;
    case FrameType::extent: return kExtentBytes;
    case FrameType::block: return kBlockBytes;
    case FrameType::file_end: return kIdBytes;
    case FrameType::stream_end: return 0;
    case FrameType::file_abort: return kIdBytes;
    case FrameType::error: return kErrorBytes;
    }
    return 0;
}

bool allowed_on(FrameType type, Role role) noexcept {
    switch (type) {
    case FrameType::open:
    case FrameType::offer:
    case FrameType::finish:
    case FrameType::welcome:
    case FrameType::verdict:
    case FrameType::file_error:
    case FrameType::done: return role == Role::control;
    case FrameType::join:
    case FrameType::batch:
    case FrameType::extent:
    case FrameType::block:
    case FrameType::file_end:
    case FrameType::stream_end: return role == Role::data;
    case FrameType::file_abort:
    case FrameType::error: return true;
    }
    return false;
}

} // namespace sluice::proto
