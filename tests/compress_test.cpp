#include "common/compress.hpp"
#include "tests/support/scratch_file.hpp"

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <iostream>
#include <string_view>

using namespace sluice;
using namespace sluice::test;

namespace {

using Bytes = std::vector<std::byte>;

constexpr std::byte kCanary{0xA5};

Bytes text(std::size_t length) {
    constexpr std::string_view kLine = "GET /index.html HTTP/1.1 200 4711 ";
    Bytes bytes(length);
    for (std::size_t i = 0; i < length; ++i) {
        const bool counts = i % kLine.size() == kLine.size() - 2;
        bytes[i] = static_cast<std::byte>(counts ? "0123456"[i * i % 7] : kLine[i % kLine.size()]);
    }
    return bytes;
}

Bytes compressed(const Bytes& raw, int level = kDefaultCompressionLevel) {
    Bytes frame(raw.size() + 1000);
    frame.resize(Compressor(level).compress(raw, frame));
    return frame;
}

// Decompresses into exactly `length` bytes between canaries, which must survive.
bool decompresses(const Bytes& frame, std::size_t length, Bytes* out = nullptr) {
    Bytes room(length + 64, kCanary);
    Decompressor decompressor;
    const bool good = decompressor.decompress(frame, std::span(room).subspan(32, length));
    const auto is_canary = [](std::byte byte) { return byte == kCanary; };
    CHECK(std::all_of(room.begin(), room.begin() + 32, is_canary));
    CHECK(std::all_of(room.end() - 32, room.end(), is_canary));
    if (out != nullptr) {
        const auto first = room.begin() + 32;
        out->assign(first, first + static_cast<std::ptrdiff_t>(length));
    }
    return good;
}

Bytes from(std::initializer_list<int> values) {
    Bytes bytes;
    for (const int value : values) {
        bytes.push_back(static_cast<std::byte>(value));
    }
    return bytes;
}

Bytes operator+(Bytes left, const Bytes& right) {
    left.insert(left.end(), right.begin(), right.end());
    return left;
}

// magic, then the given rest of the header
Bytes header(std::initializer_list<int> rest) {
    return from({0x28, 0xB5, 0x2F, 0xFD}) + from(rest);
}

} // namespace

TEST_CASE("a block comes back from its frame, at every size and level") {
    const std::size_t length =
        GENERATE(0U, 1U, 2U, 255U, 256U, 65'791U, 65'792U, 300'000U, std::size_t{4} << 20);
    const int level = GENERATE(-5, 1, 3, 19);
    CAPTURE(length, level);
    const Bytes raw = text(length);
    const Bytes frame = compressed(raw, level);
    REQUIRE_FALSE(frame.empty());
    Bytes back;
    CHECK(decompresses(frame, length, &back));
    CHECK((back == raw));
}

TEST_CASE("every level that the library offers works, also the extremes") {
    const Bytes raw = text(10'000);
    for (const int level : {min_compression_level(), 0, max_compression_level()}) {
        Bytes back;
        CHECK(decompresses(compressed(raw, level), raw.size(), &back));
        CHECK((back == raw));
    }
    CHECK(min_compression_level() < 0);
    CHECK(max_compression_level() >= 19);
}

TEST_CASE("one compressor and one decompressor serve many blocks, also after failures") {
    Compressor compressor(kDefaultCompressionLevel);
    Decompressor decompressor;
    for (std::size_t length = 1; length < 200'000; length = length * 3 + 1) {
        const Bytes noise = noise_bytes(length);
        Bytes frame(length);
        CHECK(compressor.compress(noise, std::span(frame).first(length - 1)) == 0);
        const Bytes raw = text(length);
        frame.resize(length + 100);
        frame.resize(compressor.compress(raw, frame));
        Bytes back(length);
        CHECK_FALSE(decompressor.decompress(std::span(frame).first(frame.size() - 1), back));
        CHECK(decompressor.decompress(frame, back));
        CHECK((back == raw));
    }
}

TEST_CASE("what does not shrink is not compressed") {
    const Bytes noise = noise_bytes(100'000);
    Bytes out(noise.size() - 1);
    CHECK(Compressor(kDefaultCompressionLevel).compress(noise, out) == 0);
    CHECK(Compressor(kDefaultCompressionLevel).compress(noise, {}) == 0);
}

TEST_CASE("a frame of the wrong announced length is refused") {
    const Bytes raw = text(10'000);
    const Bytes frame = compressed(raw);
    CHECK_FALSE(decompresses(frame, raw.size() - 1));
    CHECK_FALSE(decompresses(frame, raw.size() + 1));
    CHECK_FALSE(decompresses(frame, 0));
}

TEST_CASE("a frame that is truncated at any byte is refused") {
    const Bytes frame = compressed(text(2000));
    for (std::size_t length = 0; length < frame.size(); ++length) {
        const Bytes cut(frame.begin(), frame.begin() + static_cast<std::ptrdiff_t>(length));
        CHECK_FALSE(decompresses(cut, 2000));
    }
}

TEST_CASE("a frame that is followed by anything is refused") {
    const Bytes frame = compressed(text(2000));
    CHECK_FALSE(decompresses(frame + from({0}), 2000));
    CHECK_FALSE(decompresses(frame + frame, 2000));
    CHECK_FALSE(decompresses(frame + frame, 4000));
    CHECK_FALSE(decompresses(frame + compressed({}), 2000));
    // a skippable frame of no content, behind, before and alone
    const Bytes skippable = from({0x50, 0x2A, 0x4D, 0x18, 0, 0, 0, 0});
    CHECK_FALSE(decompresses(frame + skippable, 2000));
    CHECK_FALSE(decompresses(skippable + frame, 2000));
    CHECK_FALSE(decompresses(skippable, 0));
}

TEST_CASE("a flipped bit anywhere never makes the decoder write past the block") {
    const Bytes raw = text(3000) + noise_bytes(500);
    const Bytes frame = compressed(raw);
    for (std::size_t bit = 0; bit < frame.size() * 8; ++bit) {
        Bytes damaged = frame;
        damaged[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
        static_cast<void>(decompresses(damaged, raw.size()));
    }
}

TEST_CASE("random bytes behind a valid header never make the decoder write past the block") {
    const std::uint64_t seed = test_seed();
    std::cout << "SLUICE_TEST_SEED=" << seed << '\n';
    CAPTURE(seed);
    for (std::uint64_t round = 0; round < 3000; ++round) {
        // single segment, two bytes of size: 256 + 0x0100
        const Bytes frame = header({0x60, 0x00, 0x01}) + noise_bytes(round % 300, seed + round);
        static_cast<void>(decompresses(frame, 512));
    }
}

TEST_CASE("a frame that expands beyond its announced size is refused") {
    const Bytes zeros(std::size_t{8} << 20);
    Bytes bomb = compressed(zeros);
    REQUIRE(bomb.size() < 2000);
    CHECK_FALSE(decompresses(bomb, 1000));
    // Says 1000 (single segment, two bytes: 256 + 744) in front of blocks of 8 MiB in all.
    const std::size_t header_bytes = 4 + 1 + 1 + 4; // with a window byte or an 8-byte size: other
    REQUIRE(bomb.size() > header_bytes);
    const bool single = (std::to_integer<unsigned>(bomb[4]) & 0x20U) != 0;
    const std::size_t skip = single ? header_bytes - 1 : header_bytes;
    bomb.erase(bomb.begin(), bomb.begin() + static_cast<std::ptrdiff_t>(skip));
    CHECK_FALSE(decompresses(header({0x60, 0xE8, 0x02}) + bomb, 1000));
    // One run-length block that claims 128 KiB.
    CHECK_FALSE(decompresses(header({0x60, 0xE8, 0x02, 0x03, 0x00, 0x10, 0x00}), 1000));
}

TEST_CASE("a frame that does not announce its size, or asks for a dictionary, is refused") {
    // window byte, no size; then one last raw block of one byte
    CHECK_FALSE(decompresses(header({0x00, 0x00, 0x09, 0x00, 0x00, 'x'}), 1));
    // single segment, size 1, dictionary 7
    CHECK_FALSE(decompresses(header({0x21, 0x07, 0x01, 0x09, 0x00, 0x00, 'x'}), 1));
    CHECK(decompresses(header({0x20, 0x01, 0x09, 0x00, 0x00, 'x'}), 1));
}

TEST_CASE("a frame whose window is larger than its block is refused") {
    // size 300 (two bytes: 256 + 44), one last run-length block of 300; window 1 KiB, 128 MiB, max
    for (const int window : {0x00, 0x88, 0xFF}) {
        const Bytes frame = header({0x40, window, 0x2C, 0x00, 0x63, 0x09, 0x00, 'x'});
        CHECK_FALSE(decompresses(frame, 300));
    }
    // The same with a window of 1 KiB in a block of 1024 is what an encoder may write.
    CHECK(decompresses(header({0x40, 0x00, 0x00, 0x03, 0x03, 0x20, 0x00, 'x'}), 1024));
}

TEST_CASE("text and zeros look compressible, but noise, compressed data and nothing do not") {
    CHECK(looks_compressible(text(65'536)));
    CHECK(looks_compressible(Bytes(65'536)));
    CHECK_FALSE(looks_compressible(noise_bytes(65'536)));
    CHECK_FALSE(looks_compressible(noise_bytes(65'536)));
    CHECK(looks_compressible(text(4096)));
    CHECK_FALSE(looks_compressible({}));
    Bytes letters = noise_bytes(65'536); // six bits of eight
    for (std::byte& letter : letters) {
        letter &= std::byte{0x3F};
    }
    CHECK(looks_compressible(letters));
    const Bytes frame = compressed(letters);
    REQUIRE_FALSE(frame.empty());
    CHECK_FALSE(looks_compressible(frame));
}
