// Named maxima of the wire format. Every length that a peer announces is compared with one of
// these before anything is allocated or read; PROTOCOL.md, "Limits", is the normative copy.
#pragma once

#include <cstddef>
#include <cstdint>

namespace sluice::proto {

inline constexpr std::uint16_t kVersion = 3;

inline constexpr std::size_t kPreambleBytes = 16;
// Length, type, flags, check; then the digest of all that and of the body.
inline constexpr std::size_t kFrameHeaderBytes = 24;
inline constexpr std::size_t kDigestBytes = 16; // XXH3-128
inline constexpr std::size_t kTokenBytes = 16;

// PATH_MAX counts the terminating NUL (limits.h); NAME_MAX does not.
inline constexpr std::size_t kMaxPathBytes = 4095;
inline constexpr std::size_t kMaxNameBytes = 255;
inline constexpr std::size_t kMaxLinkTargetBytes = 4095;
inline constexpr std::size_t kMaxTextBytes = 1024;

// A file up to this size travels inside a batch; a longer one as extents.
inline constexpr std::size_t kMaxInlineFileBytes = std::size_t{64} << 10;
// Uncompressed length of the records of one batch.
inline constexpr std::size_t kMaxBatchBytes = std::size_t{128} << 10;
// Uncompressed length of one block of a compressed extent.
inline constexpr std::size_t kMaxBlockBytes = std::size_t{128} << 10;
// File bytes that one extent covers.
inline constexpr std::uint64_t kMaxExtentBytes = std::uint64_t{64} << 20;
// Largest file that can be described: what off_t can address.
inline constexpr std::uint64_t kMaxFileBytes = INT64_MAX;

inline constexpr std::size_t kMaxOfferEntries = 1024;
inline constexpr std::size_t kMaxOfferBytes = std::size_t{64} << 10;
inline constexpr std::size_t kMaxRoots = 256;
// Elements of the control frames that carry lists.
inline constexpr std::size_t kMaxDigests = 64;
inline constexpr std::size_t kMaxAcks = 1024;
inline constexpr std::size_t kMaxRanges = 4096;
// Files of a session of which extents were sent, but neither FileEnd nor FileAbort: each takes a
// descriptor of the receiver.
inline constexpr std::size_t kMaxOpenFiles = 1024;
// Raw extents of a session that are complete and not acknowledged: each takes memory.
inline constexpr std::size_t kMaxUnacknowledged = 4096;
inline constexpr std::size_t kMaxOpenBytes = std::size_t{64} << 10;
inline constexpr std::uint16_t kMaxStreams = 64;
// Data connections that a sender opens before the Welcome: until their Join they and the control
// connection take room among those of strangers.
inline constexpr std::uint16_t kMaxStreamsBeforeWelcome = 8;

static_assert(kMaxInlineFileBytes + kMaxPathBytes + 64 <= kMaxBatchBytes,
              "the largest inline file must fit into an empty batch");
static_assert(kMaxPathBytes + 64 <= kMaxOfferBytes, "the longest path must fit into an offer");

} // namespace sluice::proto
