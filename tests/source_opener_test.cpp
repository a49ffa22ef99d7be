// Opening the files of a walk with few look-ups, and reading ahead of need.
#include "common/unique_fd.hpp"
#include "common/usage.hpp"
#include "sender/source_opener.hpp"
#include "tests/support/temp_dir.hpp"

#include <catch2/catch.hpp>
#include <cerrno>
#include <fcntl.h>
#include <filesystem>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

using namespace sluice;

namespace {

// Also where there is no telling.
bool in_memory(const std::string& path) {
    const UniqueFd file = UniqueFd::adopt(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    char byte = 0;
    const iovec one{&byte, 1};
    return ::preadv2(file.get(), &one, 1, 0, RWF_NOWAIT) >= 0 || errno != EAGAIN;
}

class Sources {
public:
    Sources() {
        for (const char* const name : {"a/b/one", "a/b/two", "a/c/one", "top"}) {
            std::filesystem::create_directories(
                std::filesystem::path(dir_.path() + "/" + name).parent_path());
            dir_.write_file(name, name);
        }
        auto root = open_source(dir_.path() + "/");
        REQUIRE(root);
        root_ = std::make_shared<const SourceRoot>(std::move(*root));
    }

    [[nodiscard]] SourceEntry entry(const std::string& path, std::uint32_t directory) const {
        SourceEntry entry;
        entry.root = root_;
        entry.wire_path = path;
        entry.directory = directory;
        entry.size = path.size();
        return entry;
    }
    [[nodiscard]] const test::TempDir& dir() const { return dir_; }

private:
    test::TempDir dir_;
    std::shared_ptr<const SourceRoot> root_;
};

std::string content(const std::variant<SourceFile, SourceProblem>& opened) {
    const auto* const file = std::get_if<SourceFile>(&opened);
    if (file == nullptr) {
        return std::string("problem: ") + std::get<SourceProblem>(opened).what;
    }
    std::string text(static_cast<std::size_t>(file->size()), '\0');
    CHECK(file->read(0, std::as_writable_bytes(std::span(text))) ==
          static_cast<std::int64_t>(text.size()));
    return text;
}

} // namespace

TEST_CASE("every file is the one of that path, whatever was opened before") {
    const Sources sources;
    SourceOpener opener;
    for (const bool more : {false, true, true, false}) {
        CHECK(content(opener.open(sources.entry("a/b/one", 3), more)) == "a/b/one");
        CHECK(content(opener.open(sources.entry("a/b/two", 3), more)) == "a/b/two");
        CHECK(content(opener.open(sources.entry("a/c/one", 4), more)) == "a/c/one");
        CHECK(content(opener.open(sources.entry("top", 1), more)) == "top");
    }
    // The same number in another walk is another directory.
    const Sources others;
    others.dir().write_file("a/c/two", "of the others");
    CHECK(content(opener.open(sources.entry("a/b/one", 3), true)) == "a/b/one");
    CHECK(content(opener.open(others.entry("a/c/two", 3), true)) == "of the others");
}

TEST_CASE("what cannot be opened has the same reason with a directory at hand as without") {
    const Sources sources;
    for (const bool more : {false, true}) {
        SourceOpener opener;
        CHECK(content(opener.open(sources.entry("a/b/none", 3), more)) ==
              "problem: vanished before it was sent");
        CHECK(content(opener.open(sources.entry("gone/one", 9), more)) ==
              "problem: vanished before it was sent");
        CHECK(content(opener.open(sources.entry("a/b", 2), more)) ==
              "problem: is no longer a regular file");
        CHECK(content(opener.open(sources.entry("top/one", 9), more)) == "problem: cannot open");
        CHECK(content(opener.open(sources.entry("a/b/two", 3), more)) == "a/b/two");
    }
}

TEST_CASE("a read that has to wait for the medium says so, and reading ahead spares others that") {
    const Sources sources;
    const std::string path = sources.dir().path() + "/a/b/two";
    const int file = ::open(path.c_str(), O_RDONLY);
    REQUIRE(file >= 0);
    ::fsync(file); // what is dirty cannot be dropped
    ::posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
    ::close(file);
    SourceOpener opener;
    auto opened = opener.open(sources.entry("a/b/two", 3), true);
    auto& source = std::get<SourceFile>(opened);
    if (in_memory(path)) {
        std::puts("skipped: this file system keeps in memory what it was told to drop");
        return;
    }
    opener.read_ahead(std::vector<SourceEntry>{sources.entry("a/b/one", 3), //
                                               sources.entry("a/b/none", 3),
                                               sources.entry("a/b/two", 3)});
    std::string text(source.size(), '\0');
    const auto memory = std::as_writable_bytes(std::span(text));
    CHECK(source.read_small(memory) == static_cast<std::int64_t>(text.size()));
    CHECK(text == "a/b/two"); // perhaps without waiting: the disk may have been quick
    CHECK(in_memory(path));

    auto again = opener.open(sources.entry("a/b/two", 3), true);
    CHECK(std::get<SourceFile>(again).read_small(memory) == static_cast<std::int64_t>(text.size()));
    CHECK_FALSE(std::get<SourceFile>(again).waited());
}
