// What the writer and the reader of a resume journal share. Private to them; the format is
// described in receiver/resume_journal.hpp.
#pragma once

#include "common/digest.hpp"
#include "proto/limits.hpp"
#include "proto/path_rules.hpp"
#include "receiver/resume_journal.hpp"

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

namespace sluice::resume_format {

using Bytes = std::vector<std::byte>;
using ByteView = std::span<const std::byte>;

inline constexpr std::string_view kMagic = "sluicerj";
inline constexpr std::uint32_t kVersion = 1;
inline constexpr std::size_t kPreambleBytes = 16;

inline constexpr std::size_t kRecordHeaderBytes = 16;
inline constexpr std::size_t kKindAt = 4;
inline constexpr std::size_t kCheckAt = 8;
inline constexpr std::size_t kCheckBytes = 8;

inline constexpr std::uint32_t kNanosecondsPerSecond = 1'000'000'000;

enum class Kind : std::uint8_t { header = 1, begin = 2, piece = 3, end = 4 };

template <std::unsigned_integral T>
void store_le(std::byte* at, T value) noexcept {
    for (std::size_t i = 0; i < sizeof(T); ++i) {
        at[i] = static_cast<std::byte>((std::uint64_t{value} >> (8 * i)) & 0xffU);
    }
}

template <std::unsigned_integral T>
T load_le(const std::byte* at) noexcept {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < sizeof(T); ++i) {
        value |= std::to_integer<std::uint64_t>(at[i]) << (8 * i);
    }
    return static_cast<T>(value);
}

inline std::array<std::byte, kPreambleBytes> preamble() noexcept {
    std::array<std::byte, kPreambleBytes> bytes{};
    std::memcpy(bytes.data(), kMagic.data(), kMagic.size());
    store_le(bytes.data() + kMagic.size(), kVersion);
    return bytes;
}

// The check of a record in whose bytes it is zero.
inline void store_check(std::span<std::byte> record) noexcept {
    const Digest digest = digest_of(record);
    std::memcpy(record.data() + kCheckAt, digest.data(), kCheckBytes);
}

// What a reader accepts. The journal lies where only the receiver itself can write; but names that
// come from a file are not trusted any more than those that come from a peer.
[[nodiscard]] inline bool acceptable(const PartialFile& file) noexcept {
    return proto::check_path(file.path) == proto::Fault::none &&
           proto::check_path(file.stored_path) == proto::Fault::none &&
           file.size <= proto::kMaxFileBytes && file.mtime.nanoseconds < kNanosecondsPerSecond;
}

} // namespace sluice::resume_format
