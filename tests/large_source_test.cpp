// Which bytes of a large file have to be sent, and when all of them have arrived.
#include "sender/large_source.hpp"
#include "tests/support/large_sources.hpp"

#include <catch2/catch.hpp>
#include <fcntl.h>
#include <sys/stat.h>

using namespace sluice;
using proto::Range;

namespace {

constexpr std::uint64_t kSize = 1'000'000;

// Everything that has to be sent, in the order of the file.
std::vector<Range> all_missing(const LargeSource& source) {
    std::vector<Range> found;
    std::uint64_t offset = 0;
    for (;;) {
        const Range range = source.missing(offset, kSize);
        if (range.length == 0) {
            return found;
        }
        found.push_back(range);
        offset = range.offset + range.length;
    }
}

} // namespace

TEST_CASE("all of a file is sent of which the receiver has nothing") {
    test::LargeSources sources;
    const auto source = sources.make(kSize);
    CHECK(all_missing(*source) == std::vector<Range>{{0, kSize}});
    CHECK(source->missing(100, 300) == Range{100, 200});
    CHECK_FALSE(source->acknowledged(kSize - 1));
    CHECK(source->acknowledged(1));
}

TEST_CASE("what the receiver has of a file is not sent") {
    test::LargeSources sources;
    const auto source = sources.make(kSize, {{500'000, 100'000}, {0, 1000}, {1000, 50}});
    CHECK(all_missing(*source) == std::vector<Range>{{1050, 498'950}, {600'000, 400'000}});
    CHECK(source->missing(0, 500).length == 0);
    CHECK(source->missing(550'000, 700'000) == Range{600'000, 100'000});
    CHECK_FALSE(source->acknowledged(498'950));
    CHECK(source->acknowledged(400'000));
}

TEST_CASE("ranges that overlap count once") {
    test::LargeSources sources;
    const auto source =
        sources.make(kSize, {{100, 100}, {150, 100}, {100, 10}, {249, 1}, {260, 10}});
    CHECK(all_missing(*source) == std::vector<Range>{{0, 100}, {250, 10}, {270, kSize - 270}});
    CHECK(source->acknowledged(kSize - 160));
}

TEST_CASE("the end of a file is sent that the receiver has completely") {
    test::LargeSources sources;
    const auto source = sources.make(kSize, {{500'000, 500'000}, {0, 500'000}});
    CHECK(all_missing(*source) == std::vector<Range>{{kSize - 65'536, 65'536}});
    CHECK(source->acknowledged(65'536));
}

TEST_CASE("what the receiver has of another version of a file is of no use") {
    test::LargeSources sources;
    const auto source = sources.make(kSize, {{0, 500'000}}, 1);
    CHECK(all_missing(*source) == std::vector<Range>{{0, kSize}});
}

TEST_CASE("a source is either completed or withdrawn") {
    test::LargeSources sources;
    const auto withdrawn = sources.make(kSize);
    CHECK_FALSE(withdrawn->withdrawn());
    CHECK(withdrawn->withdraw());
    CHECK(withdrawn->withdrawn());
    CHECK_FALSE(withdrawn->withdraw());
    CHECK_FALSE(withdrawn->complete());
    const auto completed = sources.make(kSize);
    CHECK(completed->complete());
    CHECK_FALSE(completed->withdraw());
    CHECK_FALSE(completed->withdrawn());
}

TEST_CASE("a source that is written to has changed, also where its size and mtime are the same") {
    test::LargeSources sources;
    const auto source = sources.make(kSize);
    CHECK_FALSE(source->file().changed());
    struct stat before {};
    REQUIRE(::fstat(source->file().fd(), &before) == 0);
    const timespec times[2] = {before.st_atim, before.st_mtim};
    const std::string path = sources.dir().path(source->entry().wire_path);
    // The clock of ctime has ticks: one of them may be as long as 10 ms.
    struct stat now = before;
    while (now.st_ctim.tv_sec == before.st_ctim.tv_sec &&
           now.st_ctim.tv_nsec == before.st_ctim.tv_nsec) {
        REQUIRE(::utimensat(AT_FDCWD, path.c_str(), times, 0) == 0);
        REQUIRE(::stat(path.c_str(), &now) == 0);
    }
    CHECK(source->file().changed());
}
