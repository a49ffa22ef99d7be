// zstd (libzstd) for blocks that are complete in memory: each call makes or reads exactly one zstd
// frame. One object per thread; it keeps its working memory between calls.
#pragma once

#include "common/result.hpp"

#include <cstddef>
#include <memory>
#include <span>

struct ZSTD_CCtx_s;
struct ZSTD_DCtx_s;

namespace sluice {

inline constexpr int kDefaultCompressionLevel = 3;
[[nodiscard]] int min_compression_level() noexcept;
[[nodiscard]] int max_compression_level() noexcept;

class Compressor {
public:
    // level: min_compression_level()..max_compression_level().
    explicit Compressor(int level = kDefaultCompressionLevel);
    ~Compressor();
    Compressor(const Compressor&) = delete;
    Compressor& operator=(const Compressor&) = delete;

    // For the frames that follow.
    void set_level(int level) noexcept;
    // Compresses `raw` into `out` and returns the length of the frame; 0 where it would not fit (so
    // pass an out of raw.size() - 1 bytes to insist on a gain), or where zstd fails for want of
    // memory.
    [[nodiscard]] std::size_t compress(std::span<const std::byte> raw, std::span<std::byte> out);

private:
    struct Deleter {
        void operator()(ZSTD_CCtx_s* context) const noexcept;
    };
    std::unique_ptr<ZSTD_CCtx_s, Deleter> context_; // none: there was no memory for one
};

class Decompressor {
public:
    Decompressor();
    ~Decompressor();
    Decompressor(const Decompressor&) = delete;
    Decompressor& operator=(const Decompressor&) = delete;

    // Decompresses the one frame in `frame` into exactly `raw`. False where it is damaged, is
    // shorter or longer than announced, needs a window beyond the block, or is followed by
    // anything; never writes past `raw`.
    [[nodiscard]] bool decompress(std::span<const std::byte> frame, std::span<std::byte> raw);

private:
    struct Deleter {
        void operator()(ZSTD_DCtx_s* context) const noexcept;
    };
    std::unique_ptr<ZSTD_DCtx_s, Deleter> context_;
};

// Whether a sample of a file looks worth compressing: it shrinks by at least an eighth at the
// fastest level. Already-compressed data does not.
[[nodiscard]] bool looks_compressible(std::span<const std::byte> sample);

} // namespace sluice
