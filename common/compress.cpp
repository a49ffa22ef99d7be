#include "common/compress.hpp"

#include <cstdint>
#include <new>
#include <vector>
#include <zstd.h>

namespace sluice {
namespace {

constexpr int kSampleLevel = 1; // the fastest of zstd's regular levels

// The parts of a zstd frame header (RFC 8878, 3.1.1.1) that libzstd's stable functions do not tell.
constexpr std::uint32_t kFrameMagic = 0xFD2FB528;
constexpr unsigned kSingleSegment = 0x20;
constexpr unsigned kDictionaryId = 0x03;

unsigned byte_at(std::span<const std::byte> bytes, std::size_t index) noexcept {
    return std::to_integer<unsigned>(bytes[index]);
}

// Whether a decoder of this frame needs no dictionary and no more window than `content_bytes`. A
// frame of known size whose window is not smaller than its content has the single-segment flag.
bool header_is_modest(std::span<const std::byte> frame, std::uint64_t content_bytes) noexcept {
    if (frame.size() < 6) {
        return false;
    }
    const std::uint32_t magic = byte_at(frame, 0) | byte_at(frame, 1) << 8 |
                                byte_at(frame, 2) << 16 | byte_at(frame, 3) << 24;
    const unsigned descriptor = byte_at(frame, 4);
    if (magic != kFrameMagic || (descriptor & kDictionaryId) != 0) {
        return false;
    }
    if ((descriptor & kSingleSegment) != 0) {
        return true;
    }
    const unsigned window = byte_at(frame, 5);
    const std::uint64_t base = std::uint64_t{1} << (10 + (window >> 3));
    return base + base / 8 * (window & 7) <= content_bytes;
}

} // namespace

int min_compression_level() noexcept {
    return ZSTD_minCLevel();
}
int max_compression_level() noexcept {
    return ZSTD_maxCLevel();
}

void Compressor::Deleter::operator()(ZSTD_CCtx_s* context) const noexcept {
    ZSTD_freeCCtx(context);
}

Compressor::Compressor(int level) : context_(ZSTD_createCCtx()) {
    // Cannot fail. The size is known to compress2, which therefore writes it into the frame and
    // never makes a window larger than the block.
    if (context_) {
        ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_checksumFlag, 0);
    }
    set_level(level);
}

Compressor::~Compressor() = default;

void Compressor::set_level(int level) noexcept {
    if (context_) { // cannot fail either: zstd clamps the level
        ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_compressionLevel, level);
    }
}

std::size_t Compressor::compress(std::span<const std::byte> raw, std::span<std::byte> out) {
    if (!context_) {
        return 0;
    }
    const std::size_t length =
        ZSTD_compress2(context_.get(), out.data(), out.size(), raw.data(), raw.size());
    return ZSTD_isError(length) != 0U ? 0 : length;
}

void Decompressor::Deleter::operator()(ZSTD_DCtx_s* context) const noexcept {
    ZSTD_freeDCtx(context);
}

Decompressor::Decompressor() : context_(ZSTD_createDCtx()) {
    if (!context_) {
        throw std::bad_alloc();
    }
}

Decompressor::~Decompressor() = default;

bool Decompressor::decompress(std::span<const std::byte> frame, std::span<std::byte> raw) {
    // ZSTD_decompressDCtx() would also take several frames, skippable ones among them, and frames
    // that do not announce their size.
    if (!header_is_modest(frame, raw.size()) ||
        ZSTD_getFrameContentSize(frame.data(), frame.size()) != raw.size() ||
        ZSTD_findFrameCompressedSize(frame.data(), frame.size()) != frame.size()) {
        return false;
    }
    const std::size_t length =
        ZSTD_decompressDCtx(context_.get(), raw.data(), raw.size(), frame.data(), frame.size());
    return ZSTD_isError(length) == 0U && length == raw.size();
}

bool looks_compressible(std::span<const std::byte> sample) {
    // One a thread: a context allocates more than half a megabyte on its first use.
    thread_local Compressor compressor(kSampleLevel);
    thread_local std::vector<std::byte> scratch;
    scratch.resize(sample.size() - sample.size() / 8);
    return compressor.compress(sample, scratch) > 0;
}

} // namespace sluice
