// Resume journals for tests: a place for one, and things to put into it.
#pragma once

#include "receiver/resume_journal.hpp"
#include "tests/support/temp_dir.hpp"

#include <catch2/catch.hpp>
#include <cstdint>
#include <fcntl.h>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sluice::test {

using Files = std::vector<PartialFile>;

// A directory with a journal in it, in memory where that is possible: these tests write many.
struct Place {
    TempDir directory{TempDir::quick_base()};
    UniqueFd fd =
        UniqueFd::adopt(::open(directory.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));

    [[nodiscard]] ResumeJournal create(const Files& carried_over = {}) const;
    [[nodiscard]] std::optional<LoadedJournal> load() const { return load_journal(fd.get()); }
    // Of a journal that must be there.
    [[nodiscard]] Files files() const {
        std::optional<LoadedJournal> loaded = load();
        REQUIRE(loaded);
        return loaded->files;
    }
    [[nodiscard]] std::string bytes() const { return directory.read_file(kResumeJournalName); }
    void put(std::string_view bytes) const { directory.write_file(kResumeJournalName, bytes); }
};

inline JournalHeader header() {
    JournalHeader header{"0b1c-boot", {}};
    header.run.fill(std::byte{0x5a});
    return header;
}

inline ResumeJournal Place::create(const Files& carried_over) const {
    Result<ResumeJournal> made = ResumeJournal::create(fd.get(), header(), carried_over);
    REQUIRE(made);
    return std::move(made).value();
}

inline Digest some_digest(std::uint64_t seed) {
    return digest_of(std::as_bytes(std::span(&seed, 1)));
}

inline PartialFile file(const std::string& name, std::uint64_t size, Files::size_type pieces = 0) {
    PartialFile made{"dir/" + name, size, {-5, 999'999'999}, 77, 4711, "work-" + name, false, {}};
    for (std::uint64_t i = 0; i < pieces; ++i) {
        made.pieces.push_back({i * 10, 10, std::nullopt});
    }
    return made;
}

inline std::uint64_t begin(ResumeJournal& journal, const PartialFile& file) {
    const Result<std::uint64_t> number = journal.begin_file(file);
    REQUIRE(number);
    return *number;
}

// A journal with a bit of everything, and what it says up to each of its records.
struct Step {
    std::size_t bytes; // length of the journal
    Files files;
};
inline std::vector<Step> write_example(const Place& place) {
    std::vector<Step> steps;
    Files now;
    const auto note = [&] { steps.push_back({place.bytes().size(), now}); };
    ResumeJournal journal = place.create();
    note();
    now.push_back(file("a", 100));
    const std::uint64_t a = begin(journal, now[0]);
    note();
    const auto piece = [&](std::uint64_t number, std::size_t index, PartialFile::Piece one) {
        REQUIRE(journal.add_piece(number, one.offset, one.length, one.digest) == 0);
        now[index].pieces.push_back(one);
        note();
    };
    piece(a, 0, {50, 50, some_digest(1)});
    now.push_back(file("b", UINT64_C(1) << 40));
    now[1].staged = true;
    const std::uint64_t b = begin(journal, now[1]);
    note();
    piece(b, 1, {UINT64_C(1) << 39, 4096, std::nullopt});
    piece(a, 0, {0, 20, some_digest(2)});
    REQUIRE(journal.end_file(a) == 0);
    now.erase(now.begin());
    note();
    piece(b, 0, {0, 1, some_digest(3)});
    return steps;
}

} // namespace sluice::test
