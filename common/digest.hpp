// Digests of bytes in memory and in files: XXH3-128, which finds damage but keeps off no attacker.
// Functions may be called from any thread; an object belongs to one thread at a time.
#pragma once

#include "common/byte_sink.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

struct XXH3_state_s;

namespace sluice {

// In canonical (big-endian) form, as xxhsum -H2 prints it.
using Digest = std::array<std::byte, 16>;

[[nodiscard]] Digest digest_of(std::span<const std::byte> bytes) noexcept;
// 32 lower-case digits.
[[nodiscard]] std::string to_hex(const Digest& digest);

// For bytes that pass through a buffer: the digest of all that was added since the last reset().
class Digester final : public ByteSink {
public:
    Digester();
    ~Digester() override;

    void add(std::span<const std::byte> bytes) noexcept override;
    // Changes nothing: more may be added.
    [[nodiscard]] Digest finish() const noexcept;
    void reset() noexcept;

private:
    struct Deleter {
        void operator()(XXH3_state_s* state) const noexcept;
    };
    std::unique_ptr<XXH3_state_s, Deleter> state_;
};

struct RangeDigest {
    Digest digest{};
    // Bytes hashed. Less than asked for: the file ends earlier, or a read failed; the digest is of
    // what there was before that.
    std::uint64_t length = 0;
    int error_number = 0; // errno of the read that failed
};

// Hashes the file bytes [offset, offset + length). The file is borrowed and need not stay as it is
// meanwhile: bytes that change are hashed old or new. Keeps a buffer of 1 MiB per thread.
[[nodiscard]] RangeDigest digest_range(int file, std::uint64_t offset, std::uint64_t length);

// The same for anything else that takes bytes; the digest stays empty.
[[nodiscard]] RangeDigest read_range(int file, std::uint64_t offset, std::uint64_t length,
                                     ByteSink& sink);

} // namespace sluice
