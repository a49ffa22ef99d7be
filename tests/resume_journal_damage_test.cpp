// Resume journals that are cut off, damaged, or made by someone else.
#include "tests/support/resume_place.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <iterator>
#include <string>
#include <sys/stat.h>
#include <vector>

using namespace sluice;
using namespace sluice::test;

namespace {

// The record format once more, so that a journal of another mind can be made.
std::string le(std::uint64_t value, std::size_t bytes) {
    std::string text;
    for (std::size_t i = 0; i < bytes; ++i) {
        text += static_cast<char>(value >> (8 * i) & 0xff);
    }
    return text;
}
std::string record(unsigned kind, const std::string& body) {
    const std::string start = le(body.size(), 4) + le(kind, 4);
    const std::string whole = start + le(0, 8) + body;
    const Digest digest = digest_of(std::as_bytes(std::span(whole)));
    return start + std::string(reinterpret_cast<const char*>(digest.data()), 8) + body;
}
std::string preamble(std::uint32_t version = 1) {
    return "sluicerj" + le(version, 4) + le(0, 4);
}
std::string header_record() {
    return record(1, std::string(16, '\x5a') + le(9, 1) + "0b1c-boot");
}
std::string begin_record(std::uint64_t number, const std::string& path,
                         const std::string& stored_path, std::uint64_t size = 100,
                         std::uint32_t nanoseconds = 7) {
    return record(2, le(number, 8) + le(size, 8) + le(3, 8) + le(nanoseconds, 4) + le(9, 8) +
                         le(4711, 8) + le(1, 1) + le(path.size(), 2) + path +
                         le(stored_path.size(), 2) + stored_path);
}
std::string piece_record(std::uint64_t number, std::uint64_t offset, std::uint64_t length) {
    return record(3, le(number, 8) + le(offset, 8) + le(length, 8));
}

} // namespace

TEST_CASE("a resume journal cut off anywhere says what was said until then") {
    const Place place;
    const std::vector<Step> steps = write_example(place);
    const std::string whole = place.bytes();
    REQUIRE(whole.size() == steps.back().bytes);
    for (std::size_t length = 0; length <= whole.size(); ++length) {
        CAPTURE(length);
        place.put(whole.substr(0, length));
        const std::optional<LoadedJournal> loaded = place.load();
        const auto beyond = std::find_if(steps.begin(), steps.end(),
                                         [&](const Step& step) { return step.bytes > length; });
        REQUIRE(loaded.has_value() == (beyond != steps.begin()));
        if (loaded) {
            REQUIRE((loaded->files == std::prev(beyond)->files));
        }
    }
}

TEST_CASE("a bit that flips in a resume journal hides its record and what follows, no more") {
    const Place place;
    const std::vector<Step> steps = write_example(place);
    const std::string whole = place.bytes();
    for (std::size_t bit = 0; bit < whole.size() * 8; ++bit) {
        CAPTURE(bit);
        std::string damaged = whole;
        damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << bit % 8));
        place.put(damaged);
        const std::optional<LoadedJournal> loaded = place.load();
        const auto hit = std::find_if(steps.begin(), steps.end(),
                                      [&](const Step& step) { return step.bytes > bit / 8; });
        REQUIRE(loaded.has_value() == (hit != steps.begin()));
        if (loaded) {
            REQUIRE((loaded->header == header()));
            REQUIRE((loaded->files == std::prev(hit)->files));
        }
    }
}

TEST_CASE("zeros at the end of a resume journal, as after a crash, are no records") {
    const Place place;
    const std::vector<Step> steps = write_example(place);
    place.put(place.bytes() + std::string(100'000, '\0'));
    CHECK((place.files() == steps.back().files));
}

TEST_CASE("what is no resume journal of this version is none at all") {
    const Place place;
    CHECK_FALSE(place.load());
    const std::string good = preamble() + header_record() + begin_record(1, "p", "s");
    place.put(good);
    REQUIRE(place.files().size() == 1);
    CHECK((place.load()->header == header()));
    const std::vector<std::string> foreign{
        "",
        "sluicerj",
        preamble(),
        preamble(0) + good.substr(16),
        preamble(2) + good.substr(16),
        "Sluicerj" + good.substr(8),
        good.substr(0, 12) + '\x01' + good.substr(13),
        preamble() + begin_record(1, "p", "s"),       // no header
        preamble() + record(1, std::string(15, 'r')), // short
        preamble() + record(1, std::string(16, 'r') + le(3, 1) + "id"),
        preamble() + record(1, std::string(16, 'r') + le(1, 1) + "id"),
        preamble() + record(1, std::string(16, 'r') + le(65, 1) + std::string(65, 'i')),
    };
    for (const std::string& bytes : foreign) {
        CAPTURE(bytes);
        place.put(bytes);
        CHECK_FALSE(place.load());
    }
}

TEST_CASE("a resume journal is not followed through a link, nor waited for at a pipe") {
    const Place place;
    place.directory.write_file("elsewhere", preamble() + header_record());
    place.directory.symlink("elsewhere", kResumeJournalName);
    CHECK_FALSE(place.load());
    place.directory.remove(kResumeJournalName);
    REQUIRE(::mkfifo(place.directory.path(kResumeJournalName).c_str(), 0600) == 0);
    CHECK_FALSE(place.load());
    place.directory.remove(kResumeJournalName);
    place.directory.make_dir(kResumeJournalName);
    CHECK_FALSE(place.load());
    CHECK_FALSE(load_journal(-1));
}

TEST_CASE("a record of a resume journal that is too long ends it, even with a good check") {
    const Place place;
    const std::string good = preamble() + header_record() + begin_record(1, "p", "s");
    const std::string more = begin_record(2, "q", "t");
    place.put(good + record(4, std::string(kMaxRecordBodyBytes + 1, '\0')) + more);
    CHECK(place.files().size() == 1);
    for (const std::uint64_t length : {UINT64_C(0xffffffff), UINT64_C(0x80000000)}) {
        place.put(good + le(length, 4) + more.substr(4));
        CHECK(place.files().size() == 1);
    }
}

TEST_CASE("a record of a resume journal that makes no sense ends it") {
    const Place place;
    const std::string good = preamble() + header_record() + begin_record(1, "p", "s");
    const std::string more = begin_record(2, "q", "t");
    place.put(good + more);
    REQUIRE(place.files().size() == 2);
    const std::string end = le(1, 8);
    for (const std::string& bad :
         {record(0, ""), record(5, ""), record(0x104, end), header_record(), record(4, ""),
          record(4, end + 'x'), record(3, le(1, 8) + le(0, 8)), record(2, le(1, 8)),
          record(3, le(1, 8) + le(0, 8) + le(1, 8) + std::string(15, 'd')),
          record(3, le(1, 8) + le(0, 8) + le(1, 8) + std::string(17, 'd'))}) {
        std::string bytes = good;
        bytes += bad;
        bytes += more;
        place.put(bytes);
        const Files files = place.files();
        REQUIRE(files.size() == 1);
        CHECK(files[0].path == "p");
        CHECK(files[0].pieces.empty());
    }
}

TEST_CASE("a resume journal cannot name a file that a peer could not name") {
    const Place place;
    const std::string start = preamble() + header_record();
    for (const char* const path : {"", "/etc/passwd", "../up", "a/../../b", ".sluice/x", "a//b"}) {
        CAPTURE(path);
        for (const std::string& bad : {begin_record(1, path, "s"), begin_record(1, "p", path)}) {
            place.put(start + bad + piece_record(1, 0, 5) + begin_record(2, "q", "t"));
            const Files files = place.files();
            REQUIRE(files.size() == 1);
            CHECK(files[0].path == "q");
            CHECK(files[0].pieces.empty());
        }
        ResumeJournal journal = place.create();
        PartialFile refused = file("f", 10);
        refused.path = path;
        CHECK(journal.begin_file(refused).error().error_number == EINVAL);
        begin(journal, file("g", 10)); // and goes on
        CHECK(place.files().size() == 1);
    }
    place.put(start + begin_record(1, "p", "s", UINT64_C(1) << 63) +
              begin_record(2, "p", "s", 1, 1'000'000'000) + begin_record(3, "q", "t"));
    CHECK(place.files().size() == 1);
}

TEST_CASE("a number that begins again in a resume journal means the new file only") {
    const Place place;
    const std::string start =
        preamble() + header_record() + begin_record(1, "p", "s") + piece_record(1, 0, 5);
    place.put(start + begin_record(1, "q", "t") + piece_record(1, 20, 5));
    const Files files = place.files();
    REQUIRE(files.size() == 1);
    CHECK(files[0].path == "q");
    CHECK((files[0].pieces == std::vector<PartialFile::Piece>{{20, 5, std::nullopt}}));
    place.put(start + begin_record(1, "../q", "t") + piece_record(1, 20, 5));
    CHECK(place.files().empty());
}
