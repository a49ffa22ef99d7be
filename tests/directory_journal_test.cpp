// Notes about directories come back as they were given, from memory and from a file.
#include "receiver/directory_journal.hpp"
#include "tests/support/temp_dir.hpp"

#include <catch2/catch.hpp>
#include <fcntl.h>
#include <thread>

using namespace sluice;
using namespace sluice::test;

namespace {

// A copy of a note that does not depend on the journal.
struct Kept {
    bool staged;
    bool set_mode;
    std::uint32_t mode;
    proto::Timestamp mtime;
    std::string path;
    friend bool operator==(const Kept&, const Kept&) = default;
};

// Notes whose paths have about `path_bytes` bytes; 5,000 of 300 bytes are more than a MiB.
Kept note(std::size_t number, std::size_t path_bytes) {
    Kept kept{number % 2 == 0,
              number % 3 == 0,
              static_cast<std::uint32_t>(number & 07777),
              {static_cast<std::int64_t>(number) - 100, static_cast<std::uint32_t>(number)},
              std::to_string(number)};
    kept.path.append(path_bytes, 'p');
    return kept;
}

int append(DirectoryJournal& journal, const Kept& kept) {
    return journal.append({kept.staged, kept.set_mode, kept.mode, kept.mtime, kept.path});
}

std::vector<Kept> read_all(const DirectoryJournal& journal) {
    std::vector<Kept> notes;
    CHECK(journal.for_each([&](const DirectoryNote& one) {
        notes.push_back({one.staged, one.set_mode, one.mode, one.mtime, std::string(one.path)});
    }) == 0);
    return notes;
}

UniqueFd open_directory(const TempDir& directory) {
    return UniqueFd::adopt(::open(directory.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

} // namespace

TEST_CASE("few notes stay in memory and come back in their order") {
    bool asked = false;
    DirectoryJournal journal([&] {
        asked = true;
        return -EIO;
    });
    CHECK(read_all(journal).empty());
    std::vector<Kept> expected;
    for (std::size_t number = 0; number < 100; ++number) {
        expected.push_back(note(number, number));
        REQUIRE(append(journal, expected.back()) == 0);
    }
    CHECK((read_all(journal) == expected));
    CHECK((read_all(journal) == expected)); // reading does not use them up
    CHECK_FALSE(asked);
}

TEST_CASE("more notes than a MiB go to a file and come back in their order") {
    const TempDir directory;
    const UniqueFd fd = open_directory(directory);
    DirectoryJournal journal([&] { return fd.get(); });
    std::vector<Kept> expected;
    for (std::size_t number = 0; number < 20'000; ++number) {
        expected.push_back(note(number, 300));
        REQUIRE(append(journal, expected.back()) == 0);
    }
    CHECK((read_all(journal) == expected));
    REQUIRE(directory.list().size() == 1);
    CHECK((directory.status(directory.list().front()).st_mode & 0777) == 0600);
    CHECK(append(journal, note(20'000, 0)) == 0); // goes on after reading
    expected.push_back(note(20'000, 0));
    CHECK((read_all(journal) == expected));
}

TEST_CASE("notes may have the longest paths, and empty ones") {
    const TempDir directory;
    const UniqueFd fd = open_directory(directory);
    DirectoryJournal journal([&] { return fd.get(); });
    std::vector<Kept> expected;
    for (std::size_t number = 0; number < 600; ++number) {
        expected.push_back(note(number, 4095 - 3));
        expected.back().path.resize(number % 2 == 0 ? 4095 : 0, 'x');
        REQUIRE(append(journal, expected.back()) == 0);
    }
    CHECK((read_all(journal) == expected));
}

TEST_CASE("notes come from several threads at once") {
    const TempDir directory;
    const UniqueFd fd = open_directory(directory);
    DirectoryJournal journal([&] { return fd.get(); });
    std::vector<std::thread> threads;
    for (std::size_t thread = 0; thread < 4; ++thread) {
        threads.emplace_back([&journal, thread] {
            for (std::size_t number = 0; number < 2'000; ++number) {
                static_cast<void>(append(journal, note(thread * 10'000 + number, 300)));
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    const std::vector<Kept> notes = read_all(journal);
    CHECK(notes.size() == 8'000);
    std::vector<std::size_t> next{0, 10'000, 20'000, 30'000};
    bool in_order = true;
    for (const Kept& kept : notes) { // each thread's own notes keep their order
        const std::size_t number = std::stoul(kept.path);
        in_order = in_order && kept == note(number, 300) && number == next[number / 10'000]++;
    }
    CHECK(in_order);
}
