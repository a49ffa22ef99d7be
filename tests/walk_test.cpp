#include "common/usage.hpp"
#include "sender/walk.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/support/walk_recorder.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <dirent.h>
#include <fcntl.h>
#include <string>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

using sluice::EntryKind;
using sluice::Filter;
using sluice::SourceEntry;
using sluice::test::make_chain;
using sluice::test::open_root;
using sluice::test::Paths;
using sluice::test::Recorder;
using sluice::test::TempDir;
using sluice::test::walk_all;

TEST_CASE("walk reports a tree below its own name, directories before their contents", "[walk]") {
    const TempDir temp;
    temp.write_file("src/a", "alpha");
    temp.write_file("src/sub/b", "");
    temp.write_file("src/sub/deep/c", "gamma");
    temp.make_dir("src/empty");
    temp.symlink("a", "src/link");
    const Recorder seen = walk_all(temp.path("src"));
    seen.check_no_trouble();
    CHECK(seen.paths() == Paths{"src/", "src/a", "src/empty/", "src/link", "src/sub/", "src/sub/b",
                                "src/sub/deep/", "src/sub/deep/c"});
    for (const SourceEntry& entry : seen.entries) {
        const auto slash = entry.wire_path.rfind('/');
        if (slash != std::string::npos) {
            CHECK(&seen.at(entry.wire_path.substr(0, slash)) < &entry);
        }
    }
    CHECK(seen.at("src").relative_path() == std::string("."));
    CHECK(seen.at("src/sub/b").relative_path() == std::string("sub/b"));
    CHECK(seen.at("src/sub/b").display_path() == temp.path("src/sub/b"));
    CHECK(seen.at("src").display_path() == temp.path("src"));
    CHECK(seen.at("src/link").link_target == "a");
    CHECK(seen.at("src/a").size == 5);
}

TEST_CASE("all files of a directory come before what its subdirectories hold", "[walk]") {
    const TempDir temp;
    for (int i = 0; i < 20; ++i) {
        temp.write_file("src/file" + std::to_string(i), "");
        temp.write_file("src/dir" + std::to_string(i) + "/inner", "");
    }
    const Recorder seen = walk_all(temp.path("src/"));
    const auto is_inner = [](const SourceEntry& e) { return e.wire_path.ends_with("/inner"); };
    const auto first = std::find_if(seen.entries.begin(), seen.entries.end(), is_inner);
    CHECK(std::count_if(seen.entries.begin(), first,
                        [](const SourceEntry& e) { return e.kind == EntryKind::file; }) == 20);
}

TEST_CASE("a trailing slash and the dot names mean the contents of a directory", "[walk]") {
    const TempDir temp;
    temp.write_file("src/sub/b", "beta");
    temp.symlink("src", "link");
    for (const char* argument : {"src/", "src//", "src/.", "src/sub/..", "link/"}) {
        INFO(argument);
        const Recorder seen = walk_all(temp.path(argument));
        seen.check_no_trouble();
        CHECK(seen.paths() == Paths{"/", "sub/", "sub/b"});
        CHECK(seen.at("").relative_path() == std::string("."));
        CHECK(seen.at("sub/b").relative_path() == std::string("sub/b"));
    }
    CHECK(walk_all(temp.path("src/")).at("sub/b").display_path() == temp.path("src/sub/b"));
    CHECK(open_root("/")->wire_name.empty());
    CHECK(open_root(".")->wire_name.empty());
    CHECK(open_root("..")->wire_name.empty());
}

TEST_CASE("a single file is reported by its name, opened from the directory that holds it",
          "[walk]") {
    const TempDir temp;
    temp.write_file("dir/file", "12345678", 0640);
    temp.set_mtime("dir/file", 1'600'000'000, 123'456'789);
    const Recorder seen = walk_all(temp.path("dir/file"));
    seen.check_no_trouble();
    REQUIRE(seen.paths() == Paths{"file"});
    const SourceEntry& entry = seen.entries.front();
    CHECK(entry.kind == EntryKind::file);
    CHECK(entry.size == 8);
    CHECK(entry.mode == 0640);
    CHECK(entry.mtime == sluice::proto::Timestamp{1'600'000'000, 123'456'789});
    CHECK(entry.display_path() == temp.path("dir/file"));
    struct stat status {};
    CHECK(::fstatat(entry.root->directory.get(), entry.relative_path(), &status, 0) == 0);
    CHECK(status.st_size == 8);
}

TEST_CASE("a link given as an argument is sent as a link", "[walk]") {
    const TempDir temp;
    temp.make_dir("dir");
    temp.symlink("dir", "to-dir");
    temp.symlink("nowhere", "dangling");
    const Recorder seen = walk_all(temp.path("to-dir"));
    REQUIRE(seen.paths() == Paths{"to-dir"});
    CHECK(seen.entries.front().kind == EntryKind::symlink);
    CHECK(seen.entries.front().link_target == "dir");
    CHECK(walk_all(temp.path("dangling")).at("dangling").link_target == "nowhere");
    CHECK_FALSE(sluice::open_source(temp.path("dangling/")));
}

TEST_CASE("walk carries names of any bytes", "[walk]") {
    const TempDir temp;
    const std::vector<std::string> names = {"with space",
                                            "new\nline",
                                            "not\xff\xfeUTF-8",
                                            "-rf",
                                            "\\back",
                                            "quo\"te",
                                            "*",
                                            "\x1b[31m",
                                            "...",
                                            ".x",
                                            "tab\t",
                                            "\xe6\x97\xa5",
                                            "~",
                                            std::string(255, 'n')};
    Paths expected;
    for (const std::string& name : names) {
        const std::string rest = name.substr(0, 254);
        const std::string directory = std::string("d").append(rest);
        const std::string link = std::string("l").append(rest);
        temp.write_file("src/" + name, name);
        temp.make_dir("src/" + directory);
        temp.symlink(name, "src/" + link);
        expected.insert(expected.end(), {name, directory + "/", link});
    }
    expected.push_back("/");
    std::sort(expected.begin(), expected.end());
    const Recorder seen = walk_all(temp.path("src/"));
    seen.check_no_trouble();
    CHECK(seen.paths() == expected);
    CHECK(seen.at("lnew\nline").link_target == "new\nline");
}

TEST_CASE("walk goes 500 directories deep", "[walk]") {
    const TempDir temp;
    temp.make_dir("src");
    make_chain(temp.path("src"), "d", 500);
    const Recorder seen = walk_all(temp.path("src"));
    seen.check_no_trouble();
    CHECK(seen.entries.size() == 502);
    CHECK(seen.entries.back().wire_path.ends_with("/d/d/end"));
}

TEST_CASE("links are reported and never followed", "[walk]") {
    const TempDir temp;
    temp.symlink(".", "src/self");
    temp.symlink("..", "src/sub/up");
    temp.symlink("loop2", "src/loop1");
    temp.symlink("loop1", "src/loop2");
    temp.symlink("/", "src/root");
    const Recorder seen = walk_all(temp.path("src"));
    seen.check_no_trouble();
    CHECK(seen.paths() == Paths{"src/", "src/loop1", "src/loop2", "src/root", "src/self",
                                "src/sub/", "src/sub/up"});
    for (const SourceEntry& entry : seen.entries) {
        CHECK((entry.kind == EntryKind::symlink) == !entry.link_target.empty());
    }
}

TEST_CASE("a link target of the greatest length arrives whole", "[walk]") {
    const TempDir temp;
    const std::string target(4095, 't');
    if (::symlink(target.c_str(), temp.path("link").c_str()) != 0) {
        WARN("skipped: this file system does not take a link target of 4095 bytes");
        return;
    }
    CHECK(walk_all(temp.path("link")).at("link").link_target == target);
}

TEST_CASE("a file with holes is marked as sparse, a full and an empty one are not", "[walk]") {
    const TempDir temp;
    temp.make_hole("src/hole", 10 << 20);
    temp.write_file("src/full", std::string(1 << 20, 'x'));
    temp.write_file("src/empty", "");
    // With delayed allocation a file has all its blocks only when it is on the disk.
    const int full = ::open(temp.path("src/full").c_str(), O_RDONLY | O_CLOEXEC);
    REQUIRE(full >= 0);
    CHECK(::fsync(full) == 0);
    ::close(full);
    const Recorder seen = walk_all(temp.path("src"));
    CHECK(seen.at("src/hole").sparse);
    CHECK(seen.at("src/hole").size == 10 << 20);
    CHECK_FALSE(seen.at("src/full").sparse);
    CHECK_FALSE(seen.at("src/empty").sparse);
}

TEST_CASE("files of more than 4 GiB keep their size", "[walk]") {
    const TempDir temp;
    temp.make_hole("big", (off_t{5} << 30) + 1);
    CHECK(walk_all(temp.path("big")).at("big").size == (std::uint64_t{5} << 30) + 1);
}

TEST_CASE("set-id and sticky bits are dropped, permissions and times are kept", "[walk]") {
    const TempDir temp;
    temp.write_file("src/setid", "", 06751);
    temp.make_dir("src/sticky");
    temp.set_mode("src/sticky", 01773);
    temp.symlink("setid", "src/link");
    temp.set_mtime("src/link", 1'000'000'000, 1);
    temp.set_mtime("src/sticky", -5, 999'999'999); // before the epoch
    const Recorder seen = walk_all(temp.path("src"));
    CHECK(seen.at("src/setid").mode == 0751);
    CHECK(seen.at("src/sticky").mode == 0773);
    CHECK(seen.at("src/link").mtime == sluice::proto::Timestamp{1'000'000'000, 1});
    CHECK(seen.at("src/sticky").mtime == sluice::proto::Timestamp{-5, 999'999'999});
}

TEST_CASE("a walk can be repeated from the same root", "[walk]") {
    const TempDir temp;
    temp.write_file("src/a", "");
    const auto root = open_root(temp.path("src"));
    for (int i = 0; i < 2; ++i) {
        Recorder seen;
        CHECK(sluice::walk(root, {}, seen));
        CHECK(seen.paths() == Paths{"src/", "src/a"});
    }
}

TEST_CASE("the filter sees paths as on the wire and cuts off excluded directories", "[walk]") {
    const TempDir temp;
    temp.write_file("src/a.o", "");
    temp.write_file("src/a.c", "");
    temp.write_file("src/src/a.c", "");
    temp.write_file("src/build/deep/x", "");
    Filter filter;
    filter.exclude("/src/src/");
    filter.exclude("*.o");
    filter.exclude("build/");
    Recorder seen = walk_all(temp.path("src"), filter);
    seen.check_no_trouble();
    CHECK(seen.paths() == Paths{"src/", "src/a.c"});
    // Of the contents the same directory is "/src", and "/src/src" does not exist.
    CHECK(walk_all(temp.path("src/"), filter).paths() == Paths{"/", "a.c", "src/", "src/a.c"});

    Filter everything;
    everything.exclude("*");
    CHECK(walk_all(temp.path("src"), everything).entries.empty());
    CHECK(walk_all(temp.path("src/a.c"), everything).entries.empty());
    CHECK(walk_all(temp.path("src/"), everything).paths() == Paths{"/"}); // it has no name
}

namespace {

bool tells_types(const std::string& directory) {
    bool all = true;
    DIR* const stream = ::opendir(directory.c_str());
    REQUIRE(stream != nullptr);
    while (const dirent* entry = ::readdir(stream)) {
        all = all && entry->d_type != DT_UNKNOWN;
    }
    ::closedir(stream);
    return all;
}

} // namespace

TEST_CASE("an excluded entry costs no system call", "[walk]") {
    const TempDir temp;
    const auto cost = [&temp](const Filter& filter) {
        const auto before = sluice::thread_system_calls;
        walk_all(temp.path("src/"), filter);
        return sluice::thread_system_calls - before;
    };
    Filter filter;
    filter.exclude("skip*");
    temp.write_file("src/kept", "");
    const auto alone = cost(filter);
    for (int i = 0; i < 100; ++i) {
        temp.write_file("src/skip" + std::to_string(i), "");
        temp.make_dir("src/skip-dir" + std::to_string(i));
    }
    if (!tells_types(temp.path("src"))) {
        WARN("this file system does not tell the types of directory entries");
        return;
    }
    CHECK(cost(filter) <= alone + 1); // one more read of the directory
    CHECK(cost({}) > alone + 200);
}
