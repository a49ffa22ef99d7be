// Named maxima of the wire format. Every length that a peer announces is compared with one of
// these before anything is allocated or read; PROTOCOL.md, "Limits", is the normative copy.
#pragma once

#include <cstddef>
#include <cstdint>

namespace sluice::proto {

inline constexpr std::uint16_t kVersion = 1;

inline constexpr std::size_t kPreambleBytes = 16;
inline constexpr std::size_t kFrameHeaderBytes = 8;
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
inline constexpr std::size_t kMaxOpenBytes = std::size_t{64} << 10;
inline constexpr std::uint16_t kMaxStreams = 64;

static_assert(kMaxInlineFileBytes + kMaxPathBytes + 64 <= kMaxBatchBytes,
              "the largest inline file must fit into an empty batch");
static_assert(kMaxPathBytes + 64 <= kMaxOfferBytes, "the longest path must fit into an offer");

} // namespace sluice::proto
