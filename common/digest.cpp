#include "common/digest.hpp"

#include "common/usage.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <iterator>
#include <limits>
#include <new>
#include <unistd.h>

#ifdef SLUICE_XXHASH_DISPATCH
// The distribution's library is built for the oldest processor; these use AVX2 or AVX-512 where
// the processor has it (0.012 s/GB in place of 0.051). Redefines XXH3_128bits and _update.
#include <xxh_x86dispatch.h>
#else
#include <xxhash.h>
#endif

namespace sluice {
namespace {

// CPU time to hash pages from the page cache in ranges of 8 MiB, s/GB (medians of 3; Linux 6.18.44,
// ext4, EPYC with AVX-512, one thread; the hash alone takes 0.012). What counts is the size of the
// folios, and that depends on who filled the cache and how.
//
//   written in pieces of              4 MiB  1 MiB  256K   64K    4K     by splice(2) from TCP
//   mmap, windows of 8 MiB            0.032  0.041  0.048  0.086  0.134  0.054
//   mmap, MAP_POPULATE                0.030  0.078  0.082  0.093  0.142  0.085
//   pread, buffer of 32 KiB           0.056  0.056  0.060  0.067  0.080  0.063
//   pread, 256 KiB                    0.043  0.045  0.048  0.052  0.074  0.048
//   pread, 1 MiB                      0.043  0.045  0.048  0.052  0.071  0.051
//
// Mapping wins only over folios of 2 MiB, and then little; and it raises SIGBUS where somebody
// truncates the file. So: pread, and of the sizes that do equally well the one with the fewest
// calls.
constexpr std::size_t kReadBytes = std::size_t{1} << 20;

// The first call of libxxhash that needs it chooses by processor, and leaves others that come in
// meanwhile with half a table (0.8.1): so it happens once and alone. Short inputs do not need it.
void choose_implementation() noexcept {
    [[maybe_unused]] static const bool chosen = [] {
        const std::array<std::byte, 1024> input{};
        static_cast<void>(XXH3_128bits(input.data(), input.size()));
        return true;
    }();
}

Digest canonical(const XXH128_hash_t& hash) noexcept {
    XXH128_canonical_t bytes;
    XXH128_canonicalFromHash(&bytes, hash);
    Digest digest;
    static_assert(sizeof bytes.digest == sizeof digest);
    std::memcpy(digest.data(), bytes.digest, digest.size());
    return digest;
}

} // namespace

Digest digest_of(std::span<const std::byte> bytes) noexcept {
    choose_implementation();
    return canonical(XXH3_128bits(bytes.data(), bytes.size()));
}

std::string to_hex(const Digest& digest) {
    std::string text;
    for (const std::byte byte : digest) {
        fmt::format_to(std::back_inserter(text), "{:02x}", std::to_integer<unsigned>(byte));
    }
    return text;
}

void Digester::Deleter::operator()(XXH3_state_s* state) const noexcept {
    XXH3_freeState(state);
}

Digester::Digester() : state_(XXH3_createState()) {
    if (!state_) {
        throw std::bad_alloc();
    }
    choose_implementation();
    reset();
}

Digester::~Digester() = default;

void Digester::add(std::span<const std::byte> bytes) noexcept {
    if (!bytes.empty()) { // a null pointer is an error to libxxhash
        XXH3_128bits_update(state_.get(), bytes.data(), bytes.size());
    }
}

Digest Digester::finish() const noexcept {
    return canonical(XXH3_128bits_digest(state_.get()));
}

void Digester::reset() noexcept {
    XXH3_128bits_reset(state_.get());
}

RangeDigest read_range(int file, std::uint64_t offset, std::uint64_t length, ByteSink& sink) {
    // pread(2) knows no offsets beyond; no file has bytes there.
    constexpr auto kMaxOffset = static_cast<std::uint64_t>(std::numeric_limits<off_t>::max());
    offset = std::min(offset, kMaxOffset);
    length = std::min(length, kMaxOffset - offset);

    thread_local const auto buffer = std::make_unique_for_overwrite<std::byte[]>(kReadBytes);
    RangeDigest range;
    while (range.length < length) {
        const auto wanted =
            static_cast<std::size_t>(std::min<std::uint64_t>(kReadBytes, length - range.length));
        count_system_call();
        const ssize_t got =
            ::pread(file, buffer.get(), wanted, static_cast<off_t>(offset + range.length));
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            range.error_number = got < 0 ? errno : 0;
            break;
        }
        sink.add({buffer.get(), static_cast<std::size_t>(got)});
        range.length += static_cast<std::uint64_t>(got);
    }
    return range;
}

RangeDigest digest_range(int file, std::uint64_t offset, std::uint64_t length) {
    thread_local Digester digester;
    digester.reset();
    RangeDigest range = read_range(file, offset, length, digester);
    range.digest = digester.finish();
    return range;
}

} // namespace sluice
