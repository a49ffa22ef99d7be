// Made-up sources: every byte depends on its offset only, however the file is read.
#include "sender/generated.hpp"
#include "sender/large_source.hpp"
#include "tests/support/tree.hpp"

#include <catch2/catch.hpp>
#include <fcntl.h>
#include <unistd.h>

using namespace sluice;

namespace {

constexpr std::uint64_t kPeriod = kGeneratedPeriodBytes;
constexpr std::uint64_t kMemory = kGeneratedMemoryBytes;

SourceFile open_generated(std::uint64_t bytes) {
    const auto root = std::make_shared<const SourceRoot>(generated_root());
    auto opened = SourceFile::open(generated_entry(root, bytes));
    REQUIRE(std::holds_alternative<SourceFile>(opened));
    return std::move(std::get<SourceFile>(opened));
}

// As the header says it, byte by byte.
std::byte expected_byte(std::uint64_t offset) {
    std::array<std::byte, 8> word{};
    generate(offset % kPeriod / 8 * 8, word);
    return word[offset % 8];
}

bool reads_right(const SourceFile& file, std::uint64_t offset, std::size_t length) {
    std::vector<std::byte> bytes(length);
    if (file.read(offset, bytes) != static_cast<std::int64_t>(length)) {
        return false;
    }
    for (std::size_t index = 0; index < length; ++index) {
        if (bytes[index] != expected_byte(offset + index)) {
            return false;
        }
    }
    return true;
}

} // namespace

TEST_CASE("made-up content is splitmix64 seeded with zero") {
    std::array<std::byte, 20> bytes{};
    generate(0, bytes);
    // The first outputs as its authors' program gives them, least significant byte first.
    const std::array<unsigned, 20> expected{0xaf, 0xcd, 0x1d, 0x7b, 0x39, 0xa8, 0x20,
                                            0xe2, 0xf4, 0x65, 0xb9, 0xa1, 0x6a, 0x9e,
                                            0x78, 0x6e, 0x4f, 0x45, 0x09, 0x80};
    for (std::size_t index = 0; index < bytes.size(); ++index) {
        INFO(index);
        CHECK(std::to_integer<unsigned>(bytes[index]) == expected[index]);
    }
}

TEST_CASE("a made-up source reads the same wherever a read begins and ends") {
    const SourceFile file = open_generated(2 * kMemory + 5);
    CHECK(file.size() == 2 * kMemory + 5);
    CHECK(reads_right(file, 0, 1000));
    CHECK(reads_right(file, 7, 13));
    CHECK(reads_right(file, kPeriod - 3, 6));
    CHECK(reads_right(file, 2 * kPeriod - 1, 2));
    CHECK(reads_right(file, kPeriod - 100, kPeriod + 200));
    CHECK(reads_right(file, kMemory - 100, 200));
    CHECK(reads_right(file, 2 * kMemory - 10, 15));
}

TEST_CASE("a made-up source ends where it says") {
    const std::uint64_t size = GENERATE(0U, 1U, 7U, 8U, 70'000U, kPeriod, kMemory, kMemory + 1);
    const SourceFile file = open_generated(size);
    std::vector<std::byte> bytes(100);
    CHECK(file.read(size, bytes) == 0);
    CHECK(file.read(size + 5, bytes) == 0);
    const std::uint64_t last = std::min<std::uint64_t>(size, 3);
    CHECK(file.read(size - last, bytes) == static_cast<std::int64_t>(last));
    CHECK_FALSE(file.changed());
}

TEST_CASE("segments of a made-up source lie in its memory without a gap") {
    const std::uint64_t size = std::uint64_t{64} << 30;
    const SourceFile file = open_generated(size);
    const auto check = [&](std::uint64_t offset, std::uint64_t end) {
        INFO(offset);
        const SourceFile::Segment segment = file.segment_at(offset);
        CHECK(segment.end == end);
        CHECK_FALSE(segment.hole);
        CHECK(file.position(offset) + (segment.end - offset) <= kMemory);
    };
    check(0, kMemory);
    check(1, kMemory);
    check(kMemory - 1, kMemory);
    check(kMemory, 2 * kMemory);
    check(size - 1, size);
    const SourceFile odd = open_generated(kMemory + 3);
    CHECK(odd.segment_at(kMemory + 1).end == kMemory + 3);
}

TEST_CASE("a made-up source takes the memory of its bytes, 8 MiB at most") {
    for (const std::uint64_t size : {std::uint64_t{5}, kMemory, 100 * kMemory}) {
        auto file = make_generated_file(size);
        REQUIRE(file);
        CHECK(::lseek(file->get(), 0, SEEK_END) ==
              static_cast<off_t>(std::min<std::uint64_t>(size, kMemory)));
        CHECK(::write(file->get(), "x", 1) < 0); // sealed
    }
}

TEST_CASE("what a receiver has of a made-up source need not be sent") {
    const auto root = std::make_shared<const SourceRoot>(generated_root());
    SourceEntry entry = generated_entry(root, 3 * kPeriod);
    entry.present = std::make_shared<std::vector<proto::Range>>();
    entry.present->push_back({0, kPeriod + 11});
    auto opened = SourceFile::open(entry);
    const LargeSource source(entry, std::move(std::get<SourceFile>(opened)), 1);
    CHECK(source.present_bytes() == kPeriod + 11);
    CHECK(source.missing(0, 3 * kPeriod) == proto::Range{kPeriod + 11, 2 * kPeriod - 11});
}
