// Names that are resolved below a directory and nowhere else, and the removal of trees.
#include "common/beneath.hpp"
#include "common/hardening.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/support/unprivileged.hpp"

#include <catch2/catch.hpp>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>

using namespace sluice;
using namespace sluice::test;

namespace {

// A root with a place outside of it.
struct Place {
    TempDir directory{TempDir::quick_base()};
    UniqueFd root;

    Place() {
        directory.make_dir("root");
        directory.write_file("outside/file", "somebody's");
        root = UniqueFd::adopt(
            ::open(directory.path("root").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        REQUIRE(root);
    }
    [[nodiscard]] int error_of_opening(const std::string& path) const {
        return open_beneath(root.get(), path, O_RDONLY).error_number;
    }
};

// `depth` directories in each other below root/deep.
void make_deep(const Place& place, int depth) {
    UniqueFd at = UniqueFd::adopt(::dup(place.root.get()));
    for (int level = 0; level < depth; ++level) {
        REQUIRE(::mkdirat(at.get(), level == 0 ? "deep" : "d", 0755) == 0);
        UniqueFd next = UniqueFd::adopt(
            ::openat(at.get(), level == 0 ? "deep" : "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        REQUIRE(next);
        at = std::move(next);
    }
    REQUIRE(UniqueFd::adopt(::openat(at.get(), "file", O_WRONLY | O_CREAT | O_CLOEXEC, 0600)));
}

} // namespace

TEST_CASE("names below the root are opened, close-on-exec") {
    const Place place;
    place.directory.write_file("root/a/b/file", "content");
    const Opened opened = open_beneath(place.root.get(), "a/b/file", O_RDONLY);
    REQUIRE(opened.ok());
    CHECK((::fcntl(opened.fd.get(), F_GETFD) & FD_CLOEXEC) != 0);
    CHECK(place.error_of_opening("a/b/missing") == ENOENT);
    CHECK(place.error_of_opening("a/b/file/x") == ENOTDIR);
    const Opened made = open_beneath(place.root.get(), "a/new", O_WRONLY | O_CREAT | O_EXCL, 0640);
    CHECK(made.ok());
    CHECK(place.directory.exists("root/a/new"));
    CHECK(open_beneath(place.root.get(), "a/new", O_WRONLY | O_CREAT | O_EXCL, 0640).error_number ==
          EEXIST);
}

TEST_CASE("dots that lead out of the root, and absolute names, are refused") {
    const Place place;
    place.directory.make_dir("root/a");
    for (const char* const path :
         {"..", "../outside/file", "a/../../outside/file", "../root/a", "/etc/passwd", "/"}) {
        INFO(path);
        CHECK(place.error_of_opening(path) == EXDEV);
        CHECK(open_directory_beneath(place.root.get(), path).error_number == EXDEV);
        CHECK_FALSE(make_directories_beneath(place.root.get(), path, 0755).ok());
    }
    CHECK(place.error_of_opening("") == ENOENT);
}

TEST_CASE("symbolic links are refused, wherever they are and wherever they lead") {
    const Place place;
    place.directory.write_file("root/real/file", "content");
    place.directory.symlink("real", "root/inside");
    place.directory.symlink("real/file", "root/to-file");
    place.directory.symlink("../outside", "root/outside");
    place.directory.symlink("/", "root/absolute");
    place.directory.symlink("nowhere", "root/dangling");
    place.directory.symlink("loop", "root/loop");
    for (const char* const path :
         {"inside/file", "inside", "to-file", "outside/file", "outside", "absolute/etc/passwd",
          "absolute", "dangling", "dangling/x", "loop", "loop/x", "real/../inside/file"}) {
        INFO(path);
        CHECK(place.error_of_opening(path) == ELOOP);
        CHECK_FALSE(open_directory_beneath(place.root.get(), path).ok());
        CHECK_FALSE(make_directories_beneath(place.root.get(), path, 0755).ok());
        CHECK_FALSE(
            make_directories_beneath(place.root.get(), std::string(path) + "/sub", 0755).ok());
    }
    CHECK(open_beneath(place.root.get(), "dangling", O_WRONLY | O_CREAT, 0600).error_number ==
          ELOOP);
    CHECK_FALSE(place.directory.exists("root/nowhere"));
    CHECK(place.directory.list("outside").size() == 1);
    CHECK(place.directory.list("root/real").size() == 1);
}

TEST_CASE("a directory that is a symbolic link is told from one that is a file") {
    const Place place;
    place.directory.make_dir("root/real");
    place.directory.symlink("real", "root/link");
    place.directory.write_file("root/file", "");
    CHECK(open_directory_beneath(place.root.get(), "link").error_number == ELOOP);
    CHECK(open_directory_beneath(place.root.get(), "file").error_number == ENOTDIR);
}

TEST_CASE("the magic links of /proc are refused") {
    const auto self = UniqueFd::adopt(::open("/proc/self", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    REQUIRE(self);
    const Place place;
    const std::string number = std::to_string(place.root.get());
    for (const std::string& path :
         {std::string("root"), std::string("cwd"), std::string("exe"), "fd/" + number,
          "fd/" + number + "/file", std::string("root/etc/passwd")}) {
        INFO(path);
        CHECK(open_beneath(self.get(), path, O_RDONLY).error_number == ELOOP);
    }
}

TEST_CASE("an empty path opens the root itself anew") {
    const Place place;
    const Opened again = open_directory_beneath(place.root.get(), "");
    REQUIRE(again.ok());
    CHECK(again.fd.get() != place.root.get());
    CHECK(::faccessat(again.fd.get(), "../outside", F_OK, 0) == 0);
}

TEST_CASE("missing directories are made on the way, those that exist are kept") {
    const Place place;
    place.directory.make_dir("root/a");
    place.directory.set_mode("root/a", 0700);
    CHECK(make_directories_beneath(place.root.get(), "a/b/c/d", 0750).ok());
    CHECK((place.directory.status("root/a").st_mode & 0777) == 0700);
    CHECK((place.directory.status("root/a/b").st_mode & 0777) == 0750);
    CHECK(make_directories_beneath(place.root.get(), "a/b/c/d", 0700).ok());
    CHECK((place.directory.status("root/a/b/c/d").st_mode & 0777) == 0750);
    place.directory.write_file("root/a/file", "");
    CHECK(make_directories_beneath(place.root.get(), "a/file", 0755).error_number == ENOTDIR);
    CHECK(make_directories_beneath(place.root.get(), "a/file/x/y", 0755).error_number == ENOTDIR);
}

TEST_CASE("the longest path of the shortest names can be made and removed") {
    const Place place;
    std::string path = "deep";
    while (path.size() + 2 <= 4095) {
        path += "/d";
    }
    const Opened made = make_directories_beneath(place.root.get(), path, 0755);
    CHECK(made.error_number == 0);
    CHECK(remove_tree(place.root.get(), "deep") == 0);
    CHECK(place.directory.list("root").empty());
}

TEST_CASE("a path is split at its last slash") {
    CHECK(split_path("a/b/c").parent == "a/b");
    CHECK(split_path("a/b/c").name == "c");
    CHECK(split_path("c").parent.empty());
    CHECK(split_path("c").name == "c");
    CHECK(split_path("").name.empty());
}

TEST_CASE("a tree is removed with everything in it, and nothing that links in it lead to") {
    const Place place;
    place.directory.write_file("root/tree/a/b/file", "content");
    place.directory.make_dir("root/tree/empty");
    place.directory.symlink("../../outside", "root/tree/link");
    place.directory.symlink("../../../outside/file", "root/tree/a/link");
    place.directory.symlink("/", "root/tree/a/root");
    REQUIRE(::mkfifo(place.directory.path("root/tree/fifo").c_str(), 0600) == 0);
    CHECK(remove_tree(place.root.get(), "tree") == 0);
    CHECK(place.directory.list("root").empty());
    CHECK(place.directory.read_file("outside/file") == "somebody's");
}

TEST_CASE("a name that is a link or a file is removed itself, and a missing one is no error") {
    const Place place;
    place.directory.symlink("../outside", "root/link");
    place.directory.write_file("root/file", "");
    CHECK(remove_tree(place.root.get(), "link") == 0);
    CHECK(remove_tree(place.root.get(), "file") == 0);
    CHECK(remove_tree(place.root.get(), "missing") == 0);
    CHECK(place.directory.list("root").empty());
    CHECK(place.directory.exists("outside/file"));
}

TEST_CASE("directories that their owner may not read, write or enter are removed all the same") {
    const TempDir directory;
    directory.set_mode("", 0777);
    const std::string base = directory.path();
    const bool hidden = GENERATE(false, true); // /proc/self belongs to root then
    const std::string trouble = as_nobody([&] {
        const TempDir mine(base);
        if (hidden) {
            expect(bool(hide_process()), "hide_process");
            expect(UniqueFd::adopt(::open("/proc/self/environ", O_RDONLY | O_CLOEXEC)).get() < 0,
                   "the process is not hidden");
        }
        const auto root =
            UniqueFd::adopt(::open(mine.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        for (const mode_t mode : {0U, 0111U, 0222U, 0444U, 0555U, 0333U, 0666U}) {
            const std::string name = "tree" + std::to_string(mode);
            mine.write_file(name + "/a/b/file", "");
            mine.symlink("/", name + "/a/link");
            for (const char* const inner : {"/a/b", "/a", ""}) {
                mine.set_mode(name + inner, mode);
            }
            const int error = remove_tree(root.get(), name);
            expect(error == 0, name + ": errno " + std::to_string(error));
            expect(!mine.exists(name), name + " is still there");
        }
    });
    CHECK(trouble == "");
}

TEST_CASE("what cannot be removed is reported, and the rest is removed") {
    if (::geteuid() != 0) {
        std::cout << "skipped: needs root\n";
        return;
    }
    const Place place;
    place.directory.write_file("root/tree/foreign/file", "root's");
    place.directory.set_mode("", 0755);
    place.directory.set_mode("root", 0777);
    place.directory.set_mode("root/tree", 0777);
    const std::string trouble = as_nobody([&] {
        const std::string tree = place.directory.path("root/tree");
        for (const char* const name : {"/a", "/z"}) {
            expect(::mkdir((tree + name).c_str(), 0755) == 0, "mkdir");
        }
        expect(remove_tree(place.root.get(), "tree") != 0, "no error");
    });
    CHECK(trouble == "");
    CHECK(place.directory.list("root/tree") == std::vector<std::string>{"foreign"});
    CHECK(place.directory.exists("root/tree/foreign/file"));
}

TEST_CASE("a tree deeper than any path is removed") {
    const Place place;
    make_deep(place, 5'000);
    CHECK(remove_tree(place.root.get(), "deep") == 0);
    CHECK(place.directory.list("root").empty());
    if (place.directory.exists("root/deep")) { // TempDir must not fail as well
        place.directory.rename("root/deep", "outside/deep");
    }
}

TEST_CASE("a deep tree is removed with the few descriptors that are to be had") {
    const Place place;
    make_deep(place, 2'000);
    rlimit before{};
    REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
    const rlimit tight{256, before.rlim_max};
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &tight) == 0);
    const int error = remove_tree(place.root.get(), "deep");
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
    CHECK(error == 0);
    CHECK(place.directory.list("root").empty());
    static_cast<void>(remove_tree(place.root.get(), "deep"));
}
