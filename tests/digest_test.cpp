#include "common/digest.hpp"
#include "tests/support/scratch_file.hpp"
#include "tests/support/temp_dir.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <catch2/catch.hpp>
#include <iostream>
#include <limits>
#include <string_view>
#include <thread>

using namespace sluice;
using namespace sluice::test;

namespace {

using Bytes = std::vector<std::byte>;

constexpr std::size_t kMiB = std::size_t{1} << 20;

Bytes bytes_of(std::string_view text) {
    const auto bytes = std::as_bytes(std::span(text));
    return {bytes.begin(), bytes.end()};
}

} // namespace

TEST_CASE("digests are those that xxhsum prints") {
    CHECK(to_hex(digest_of({})) == "99aa06d3014798d86001c324468d497f");
    CHECK(to_hex(digest_of(bytes_of("a"))) == "a96faf705af16834e6c632b61e964e1f");
    CHECK(to_hex(digest_of(bytes_of("abc"))) == "06b05ab6733a618578af5f94892f3950");
}

TEST_CASE("a digester that nothing was added to has the digest of nothing") {
    Digester digester;
    CHECK(digester.finish() == digest_of({}));
    digester.add({});
    CHECK(digester.finish() == digest_of({}));
}

TEST_CASE("a digester agrees with the digest of the whole, however the bytes are split") {
    const std::uint64_t seed = test_seed();
    std::cout << "SLUICE_TEST_SEED=" << seed << '\n';
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    const Bytes content = noise_bytes(100'000, seed);
    Digester digester;
    for (int round = 0; round < 200; ++round) {
        // from the short inputs that have code of their own to many blocks of libxxhash
        const auto whole = std::span(content).first(random() % (round % 2 == 0 ? 600 : 100'000));
        const std::size_t longest = 1 + random() % (round % 3 == 0 ? 40 : 20'000);
        digester.reset();
        for (std::size_t done = 0; done < whole.size();) {
            const std::size_t next = std::min(random() % (longest + 1), whole.size() - done);
            digester.add(whole.subspan(done, next));
            done += next;
            if (random() % 8 == 0) {
                REQUIRE(digester.finish() == digest_of(whole.first(done)));
            }
        }
        REQUIRE(digester.finish() == digest_of(whole));
    }
}

TEST_CASE("a range of a file has the digest of the same bytes in memory") {
    const Bytes content = noise_bytes(13 * kMiB + 12'345);
    const ScratchFile file(content);
    constexpr std::array<std::size_t, 9> kOffsets = {
        0, 1, 4095, 4096, 2 * kMiB - 1, 2 * kMiB, 2 * kMiB + 1, 4 * kMiB + 7, 13 * kMiB + 12'344};
    constexpr std::array<std::size_t, 9> kLengths = {
        0, 1, 100'000, 256 << 10, 2 * kMiB, 2 * kMiB + 1, 4 * kMiB - 1, 8 * kMiB, 9 * kMiB + 3};
    for (const std::size_t offset : kOffsets) {
        for (const std::size_t length : kLengths) {
            CAPTURE(offset, length);
            const std::size_t there = std::min(length, content.size() - offset);
            const RangeDigest range = digest_range(file.fd(), offset, length);
            REQUIRE(range.error_number == 0);
            REQUIRE(range.length == there);
            REQUIRE(range.digest == digest_of(std::span(content).subspan(offset, there)));
        }
    }
    CHECK(file.position() == 0);
}

TEST_CASE("a range beyond the end of the file is empty, also at the largest offsets") {
    const ScratchFile file(noise_bytes(5000));
    constexpr std::uint64_t kMax = std::numeric_limits<std::uint64_t>::max();
    for (const std::uint64_t offset :
         {std::uint64_t{5000}, std::uint64_t{1} << 40, kMax / 2, kMax}) {
        CAPTURE(offset);
        const RangeDigest range = digest_range(file.fd(), offset, kMax);
        CHECK(range.digest == digest_of({}));
        CHECK(range.length == 0);
        // some file systems have files of 2^63-1 bytes, ext4 refuses pread there
        CHECK((range.error_number == 0 || offset > kMax / 4));
    }
    CHECK(digest_range(file.fd(), 0, kMax).length == 5000);
}

TEST_CASE("a hole is hashed as zeros") {
    const ScratchFile file;
    REQUIRE(::ftruncate(file.fd(), 9 * kMiB) == 0);
    const RangeDigest range = digest_range(file.fd(), 1, 9 * kMiB);
    CHECK(range.length == 9 * kMiB - 1);
    CHECK(range.digest == digest_of(Bytes(9 * kMiB - 1)));
}

TEST_CASE("a read that fails is reported with its errno") {
    CHECK(digest_range(-1, 0, 4 * kMiB).error_number == EBADF);
    CHECK(digest_range(-1, 0, 10).length == 0);
    const UniqueFd directory = UniqueFd::adopt(::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    CHECK(digest_range(directory.get(), 0, 4 * kMiB).error_number == EISDIR);
    const UniqueFd write_only = ScratchFile(Bytes(4 * kMiB)).reopen(O_WRONLY);
    CHECK(digest_range(write_only.get(), 0, 4 * kMiB).error_number == EBADF);
}

TEST_CASE("a file that is truncated while it is read is hashed up to where it ends") {
    const std::uint64_t seed = test_seed();
    std::cout << "SLUICE_TEST_SEED=" << seed << '\n';
    CAPTURE(seed);
    constexpr int kRounds = 300;
    constexpr std::size_t kLength = 8 * kMiB;
    const Bytes zeros(kLength);
    const ScratchFile file(zeros);
    std::atomic<int> begun{0}; // rounds of the reader
    std::atomic<int> cut{0};   // rounds of the truncater
    std::thread truncater([&] {
        std::mt19937_64 random(seed);
        for (int round = 1; round <= kRounds; ++round) {
            while (begun < round) {
                std::this_thread::yield();
            }
            for (std::uint64_t spins = random() % 30'000; spins > 0; --spins) {
                static_cast<void>(begun.load()); // about as long as the hashing takes
            }
            // a third of them inside the last page
            const std::size_t length = kLength - 1 - random() % (round % 3 == 0 ? 4000 : kLength);
            cut = ::ftruncate(file.fd(), static_cast<off_t>(length)) == 0 ? round : kRounds + 1;
        }
    });
    int wrong = 0;
    for (int round = 1; round <= kRounds; ++round) {
        begun = round;
        const RangeDigest range = digest_range(file.fd(), 0, kLength);
        const bool right = range.error_number == 0 && range.length <= kLength &&
                           range.digest == digest_of(std::span(zeros).first(range.length));
        while (cut < round) {
            std::this_thread::yield();
        }
        const bool restored = ::ftruncate(file.fd(), kLength) == 0;
        wrong += right && restored ? 0 : 1;
    }
    truncater.join();
    CHECK(wrong == 0);
    CHECK(cut == kRounds);
}
