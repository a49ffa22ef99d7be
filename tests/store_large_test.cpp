// Files that arrive as extents, in any order, from several connections, or not at all.
#include "tests/support/extent_source.hpp"
#include "tests/support/scratch_file.hpp"
#include "tests/support/store_session.hpp"

#include <atomic>
#include <iostream>
#include <thread>

using namespace sluice;
using namespace sluice::test;
using proto::Fault;

namespace {

constexpr std::uint64_t kSize = 100'000;

void check_stored(const TempDir& directory, const std::string& name, const ExtentSource& source) {
    CHECK((directory.read_file(name) == source.content()));
    const struct stat status = directory.status(name);
    CHECK((status.st_mode & 07777) == 0640);
    CHECK(status.st_mtim.tv_sec == kStoredTime);
    CHECK(status.st_mtim.tv_nsec == 7);
}

std::string some_place(const StoreRoot& root) {
    root.directory.make_dir("old");
    root.directory.write_file("old/replaced", "old content");
    return GENERATE("old/replaced", "old/added", "new/staged", "top");
}

} // namespace

TEST_CASE("a file appears when all of it has come and its end has come, and not before") {
    const StoreRoot root;
    const std::string path = some_place(root);
    StoreSession session(root);
    const ExtentSource source(7, path, kSize);
    CHECK(source.send(session, 0, 60'000) == "");
    CHECK(source.send(session, 60'000, 40'000) == "");
    CHECK((!root.directory.exists(path) || root.directory.read_file(path) == "old content"));
    CHECK(session.store().counts().files == 0);
    CHECK(source.end(session) == "");
    CHECK(session.store().counts().files == 1);
    CHECK(session.store().counts().settled == 1);
    CHECK(session.publish().empty());
    check_stored(root.directory, path, source);
    CHECK_FALSE(root.directory.exists(".sluice"));
}

TEST_CASE("extents may come in any order and overlap") {
    const StoreRoot root;
    const std::string path = some_place(root);
    const std::uint64_t seed = test_seed();
    std::cout << "SLUICE_TEST_SEED=" << seed << '\n';
    std::mt19937_64 random(seed);
    StoreSession session(root);
    const ExtentSource source(7, path, kSize);
    std::vector<std::pair<std::uint64_t, std::uint64_t>> extents;
    for (std::uint64_t offset = 0; offset < kSize; offset += 1'000) {
        extents.emplace_back(offset,
                             std::min<std::uint64_t>(1'000 + random() % 2'000, kSize - offset));
    }
    std::shuffle(extents.begin(), extents.end(), random);
    for (const auto& [offset, length] : extents) {
        CHECK(source.send(session, offset, length) == "");
    }
    CHECK(source.end(session) == "");
    CHECK(session.publish().empty());
    check_stored(root.directory, path, source);
}

TEST_CASE("the end of a file of which something is missing, or under way, is a fault") {
    const StoreRoot root;
    const std::string path = some_place(root);
    StoreSession session(root);
    const ExtentSource source(7, path, kSize);
    CHECK(source.send(session, 0, 10) == "");
    CHECK(source.send(session, 20, kSize - 20) == "");
    const auto end = [&] { return session.store().end_file(7, session.directories()).fault; };
    CHECK(end() == Fault::bad_value);
    CHECK(source.send(session, 10, 10) == "");
    const auto again = source.begin(session.store(), session.directories(), 0, 10);
    REQUIRE(again.file != nullptr);
    CHECK(end() == Fault::bad_value); // all is there, but it is being written
    session.store().extent_lost(*again.file);
    CHECK(end() == Fault::none);
    CHECK(session.publish().empty());
    check_stored(root.directory, path, source);
}

TEST_CASE("holes read as zeros, at the beginning, in the middle and at the end") {
    const StoreRoot root;
    const std::string path = some_place(root);
    constexpr std::uint64_t kHole = std::uint64_t{5} << 30;
    constexpr std::uint64_t kWhole = 2 * kHole + 10;
    StoreSession session(root);
    const auto part = [&](std::uint64_t offset, std::uint64_t length, proto::Encoding encoding) {
        const proto::Extent extent{1,    1, offset,   length, kWhole, {kStoredTime, 0},
                                   0640, 1, encoding, path};
        const auto begun = session.store().begin_extent(extent, session.directories());
        REQUIRE(begun.file != nullptr);
        if (encoding == proto::Encoding::raw) {
            REQUIRE(::pwrite(begun.file->fd.get(), "0123456789", length,
                             static_cast<off_t>(offset)) == static_cast<ssize_t>(length));
        }
        CHECK(StoreSession::text(session.store().extent_done(*begun.file, offset, length, {})) ==
              "");
    };
    part(0, kHole, proto::Encoding::hole);
    part(kHole, 10, proto::Encoding::raw);
    part(kHole + 10, kHole, proto::Encoding::hole);
    CHECK(session.store().end_file(1, session.directories()).fault == Fault::none);
    CHECK(session.publish().empty());
    const struct stat status = root.directory.status(path);
    CHECK(static_cast<std::uint64_t>(status.st_size) == kWhole);
    CHECK(status.st_blocks < 1'000);
    const auto file = UniqueFd::adopt(::open(root.directory.path(path).c_str(), O_RDONLY));
    char read[14] = {};
    REQUIRE(::pread(file.get(), read, sizeof read, static_cast<off_t>(kHole - 2)) == 14);
    CHECK(std::string_view(read, sizeof read) == std::string_view("\0\0"
                                                                  "0123456789"
                                                                  "\0\0",
                                                                  14));
}

TEST_CASE("a hole reads as zeros also where an extent that was lost has written something") {
    const StoreRoot root;
    const std::string path = some_place(root);
    StoreSession session(root);
    const ExtentSource source(7, path, kSize);
    const auto lost = source.begin(session.store(), session.directories(), 0, kSize);
    REQUIRE(lost.file != nullptr);
    session.store().extent_lost(*lost.file);
    const auto hole = session.store().begin_extent(source.extent(0, kSize, proto::Encoding::hole),
                                                   session.directories());
    REQUIRE(hole.file != nullptr);
    CHECK_FALSE(session.store().hole_done(*hole.file, 0, kSize));
    CHECK(source.end(session) == "");
    CHECK(session.publish().empty());
    CHECK((root.directory.read_file(path) == std::string(kSize, '\0')));
}

TEST_CASE("an aborted file never appears, and frees what it took") {
    const StoreRoot root;
    const std::string path = some_place(root);
    StoreSession session(root);
    const ExtentSource source(7, path, kSize);
    CHECK(source.send(session, 0, 60'000) == "");
    CHECK(session.store().abort_file(7) == Fault::none);
    CHECK(session.store().counts().settled == 0);
    CHECK(session.store().abort_file(7) == Fault::none); // nothing more happens
    CHECK(session.store().abort_file(8) == Fault::none); // nor for one that never was
    CHECK_FALSE(session.store().has_unfinished_files());
    CHECK(session.publish().empty());
    CHECK((!root.directory.exists(path) || root.directory.read_file(path) == "old content"));
}

TEST_CASE("a file aborted while an extent is being written goes when that extent is over") {
    const StoreRoot root;
    const std::string path = some_place(root);
    const bool lost = GENERATE(true, false);
    StoreSession session(root);
    const ExtentSource source(7, path, kSize);
    const auto begun = source.begin(session.store(), session.directories(), 0, 1'000);
    CHECK(session.store().abort_file(7) == Fault::none);
    CHECK(begun.file->dead); // and still there
    if (lost) {
        session.store().extent_lost(*begun.file);
    } else {
        CHECK(StoreSession::text(session.store().extent_done(*begun.file, 0, 1'000, {})) == "");
    }
    CHECK(session.store().counts().settled == 0); // its end was never announced
    CHECK_FALSE(session.store().has_unfinished_files());
    CHECK(session.publish().empty());
    CHECK((!root.directory.exists(path) || root.directory.read_file(path) == "old content"));
}

TEST_CASE("extents of an aborted file that come later are dropped") {
    const StoreRoot root;
    const std::string path = some_place(root);
    StoreSession session(root);
    const ExtentSource source(7, path, kSize);
    const bool before = GENERATE(true, false); // something of it had come
    if (before) {
        CHECK(source.send(session, 0, 1'000) == "");
    }
    CHECK(session.store().abort_file(7) == Fault::none);
    const auto begun =
        session.store().begin_extent(source.extent(1'000, 500), session.directories());
    REQUIRE(begun.fault == Fault::none);
    REQUIRE(begun.file != nullptr);
    CHECK(begun.file->dead);
    session.store().extent_lost(*begun.file);
    CHECK_FALSE(session.store().has_unfinished_files());
    CHECK(session.publish().empty());
    CHECK((!root.directory.exists(path) || root.directory.read_file(path) == "old content"));
}

TEST_CASE("what a lost extent brought does not count") {
    const StoreRoot root;
    const std::string path = some_place(root);
    StoreSession session(root);
    const ExtentSource source(7, path, kSize);
    CHECK(source.send(session, 0, 50'000) == "");
    const auto lost = source.begin(session.store(), session.directories(), 50'000, 50'000);
    session.store().extent_lost(*lost.file);
    CHECK(session.store().end_file(7, session.directories()).fault == Fault::bad_value);
    CHECK(session.store().counts().files == 0);
    CHECK(session.store().has_unfinished_files());
    session.abandon();
    CHECK((!root.directory.exists(path) || root.directory.read_file(path) == "old content"));
    CHECK_FALSE(root.directory.exists(".sluice"));
}

TEST_CASE("extents of one file that contradict each other are a fault") {
    const StoreRoot root;
    StoreSession session(root);
    const ExtentSource source(7, "file", kSize);
    CHECK(source.send(session, 0, 10) == "");
    const proto::Extent good = source.extent(10, 10);
    std::vector<proto::Extent> bad(5, good);
    bad[0].file_size += 1;
    bad[1].path = "other";
    bad[2].mode = 0600;
    bad[3].mtime.seconds += 1;
    bad[4].version += 1;
    for (std::size_t which = 0; which < bad.size(); ++which) {
        INFO("0 size, 1 path, 2 mode, 3 time, 4 version: " << which);
        CHECK(session.store().begin_extent(bad[which], session.directories()).fault ==
              Fault::bad_value);
    }
    session.abandon();
}

TEST_CASE("the end of a file that is not known, has ended, or was aborted, is a fault") {
    const StoreRoot root;
    StoreSession session(root);
    const auto end = [&] { return session.store().end_file(7, session.directories()).fault; };
    const ExtentSource source(7, "new/file", kSize);
    CHECK(end() == Fault::bad_value);
    const auto begun = source.begin(session.store(), session.directories(), 0, kSize);
    REQUIRE(begun.file != nullptr);
    const bool aborted = GENERATE(true, false);
    if (aborted) {
        CHECK(session.store().abort_file(7) == Fault::none);
        CHECK(end() == Fault::bad_value);
    }
    CHECK_FALSE(session.store().extent_done(*begun.file, 0, kSize, {}));
    CHECK(end() == (aborted ? Fault::bad_value : Fault::none));
    CHECK(end() == Fault::bad_value);
    CHECK(session.store().counts().settled == (aborted ? 0 : 1));
    session.abandon();
    CHECK(root.directory.list().empty());
}

TEST_CASE("no more files are open at a time than the limit, nor more pieces kept") {
    const StoreRoot root;
    StoreSession session(root);
    Fault fault = Fault::none;
    std::uint64_t id = 0;
    for (; id < 10'000 && fault == Fault::none; ++id) {
        const ExtentSource source(id, "new/" + std::to_string(id), 10);
        fault = session.store().begin_extent(source.extent(0, 1), session.directories()).fault;
    }
    CHECK(fault == Fault::limit_exceeded);
    CHECK(id == proto::kMaxOpenFiles + 1);
    session.abandon();

    StoreSession pieces(root);
    const ExtentSource source(1, "file", kSize);
    fault = Fault::none;
    std::uint64_t piece = 0;
    for (; piece < 50'000 && fault == Fault::none; ++piece) {
        const proto::Extent one = source.extent(piece * 2, 1, proto::Encoding::hole);
        const auto begun = pieces.store().begin_extent(one, pieces.directories());
        fault = begun.fault;
        if (begun.file != nullptr) {
            static_cast<void>(pieces.store().extent_done(*begun.file, one.offset, 1, {}));
        }
    }
    CHECK(fault == Fault::limit_exceeded);
    CHECK(piece < 10'000);
    pieces.abandon();
}

TEST_CASE("a file that cannot be made is dead from its first extent and settles with its end") {
    const StoreRoot root;
    root.directory.write_file("f", "in the way");
    StoreSession session(root);
    const ExtentSource source(7, "new/a", kSize);
    CHECK(session.file("new/f", "in the way, staged") == "");
    const ExtentSource below(8, "new/f/below", kSize);
    const auto begun = below.begin(session.store(), session.directories(), 0, 1'000);
    REQUIRE(begun.file != nullptr);
    CHECK(begun.problem);
    CHECK(begun.file->dead);
    CHECK(StoreSession::text(session.store().extent_done(*begun.file, 0, 1'000, {})) == "");
    CHECK(below.end(session) == ""); // was reported already
    CHECK(session.store().counts().settled == 2);
    CHECK(session.store().counts().files == 1);
    CHECK(session.publish().empty());
    CHECK(root.directory.read_file("f") == "in the way");
}

TEST_CASE("two large files of one name leave one of them, whole") {
    const StoreRoot root;
    const std::string path = some_place(root);
    StoreSession session(root);
    const ExtentSource first(1, path, kSize);
    const ExtentSource second(2, path, kSize + 5);
    CHECK(first.send(session, 0, 1'000) == "");
    CHECK(second.send(session, 0, kSize + 5) == "");
    CHECK(second.end(session) == "");
    const bool abort = GENERATE(true, false);
    if (abort) {
        CHECK(session.store().abort_file(1) == Fault::none);
    } else {
        CHECK(first.send(session, 1'000, kSize - 1'000) == "");
        CHECK(first.end(session) == "");
    }
    CHECK(session.publish().empty());
    REQUIRE(root.directory.exists(path));
    const std::string content = root.directory.read_file(path);
    CHECK((content == second.content() || (!abort && content == first.content())));
}

TEST_CASE("several connections write one file, and it is published once") {
    const StoreRoot root;
    const std::string path = some_place(root);
    StoreSession session(root);
    const ExtentSource source(7, path, kSize);
    std::atomic<std::uint64_t> next{0};
    std::atomic<int> problems{0};
    std::vector<std::thread> threads;
    for (int thread = 0; thread < 4; ++thread) {
        threads.emplace_back([&] {
            DirectoryCache cache(8);
            for (;;) {
                const std::uint64_t offset = next.fetch_add(100);
                if (offset >= kSize) {
                    return;
                }
                const auto begun = source.begin(session.store(), cache, offset, 100);
                problems += begun.fault != Fault::none || begun.problem ? 1 : 0;
                if (begun.file != nullptr) {
                    problems += session.store().extent_done(*begun.file, offset, 100, {}) ? 1 : 0;
                }
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    CHECK(problems == 0);
    CHECK(source.end(session) == "");
    CHECK(session.store().counts().files == 1);
    CHECK(session.publish().empty());
    check_stored(root.directory, path, source);
}
