// Made-up content for benchmarks without a disk: one file of any size that takes a few MiB of
// memory. It is the same MiB over and over; within that, and so for zstd, which never looks at more
// than a block at once, there is nothing to find.
//
// The byte at an offset depends on nothing but the offset, so that two pushes of one size send the
// same file, and one that broke off can be gone on with. Word i (64 bits, little-endian) is the
// output i of splitmix64 seeded with zero (Steele, Lea and Flood: Fast Splittable Pseudorandom
// Number Generators, OOPSLA 2014), where i starts again after kGeneratedPeriodBytes.
#pragma once

#include "common/result.hpp"
#include "common/unique_fd.hpp"
#include "sender/walk.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace sluice {

// Short: where many senders start at once, making it up is half of what a start costs.
inline constexpr std::uint64_t kGeneratedPeriodBytes = std::uint64_t{1} << 20;
// What is in memory. The largest extent, so that hardly one has to be cut at its end.
inline constexpr std::uint64_t kGeneratedMemoryBytes = std::uint64_t{8} << 20;
static_assert(kGeneratedMemoryBytes % kGeneratedPeriodBytes == 0);
// Of the file on the wire. Other content of the same size must have other ones, or receivers would
// take it for what they have.
inline constexpr proto::Timestamp kGeneratedTime{0, 0};
inline constexpr std::uint64_t kGeneratedVersion = 2;
inline constexpr std::uint32_t kGeneratedMode = 0644;

// The bytes from `offset` on, a multiple of 8.
void generate(std::uint64_t offset, std::span<std::byte> out) noexcept;

// A sealed file in memory with the first `bytes` of it, kGeneratedMemoryBytes at most. Kind
// some_files.
[[nodiscard]] Result<UniqueFd> make_generated_file(std::uint64_t bytes);

// What stands for it among the sources.
[[nodiscard]] SourceRoot generated_root();
[[nodiscard]] SourceEntry generated_entry(std::shared_ptr<const SourceRoot> root,
                                          std::uint64_t bytes);

} // namespace sluice
