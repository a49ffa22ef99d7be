// Open directories, most recently used first.
#include "receiver/directory_cache.hpp"
#include "tests/support/temp_dir.hpp"

#include <catch2/catch.hpp>
#include <fcntl.h>
#include <sys/stat.h>

using namespace sluice;
using namespace sluice::test;

namespace {

struct Root {
    TempDir directory{TempDir::quick_base()};
    UniqueFd fd =
        UniqueFd::adopt(::open(directory.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
};

bool is_open(int fd) {
    return ::fcntl(fd, F_GETFD) >= 0;
}

// Whether `fd` is this directory.
bool is(int fd, const TempDir& directory, std::string_view name) {
    struct stat here {};
    const struct stat there = directory.status(name);
    return fd >= 0 && ::fstat(fd, &here) == 0 && here.st_dev == there.st_dev &&
           here.st_ino == there.st_ino;
}

} // namespace

TEST_CASE("a cached directory is the one that was asked for, and opened once") {
    const Root root;
    root.directory.make_dir("a/b");
    root.directory.make_dir("c");
    DirectoryCache cache(4);
    const int first = cache.get(1, root.fd.get(), "a/b", 0);
    CHECK(is(first, root.directory, "a/b"));
    CHECK(is(cache.get(1, root.fd.get(), "c", 0), root.directory, "c"));
    CHECK(cache.get(1, root.fd.get(), "a/b", 0) == first);
    CHECK(is(cache.get(1, root.fd.get(), "", 0), root.directory, ""));
}

TEST_CASE("missing directories are made only when a mode is given") {
    const Root root;
    DirectoryCache cache(4);
    CHECK(cache.get(1, root.fd.get(), "new/sub", 0) == -ENOENT);
    CHECK_FALSE(root.directory.exists("new"));
    CHECK(is(cache.get(1, root.fd.get(), "new/sub", 0700), root.directory, "new/sub"));
    CHECK((root.directory.status("new/sub").st_mode & 0777) == 0700);
    CHECK((root.directory.status("new").st_mode & 0777) == 0700);
}

TEST_CASE("what cannot be opened is an errno and leaves the cache usable") {
    const Root root;
    root.directory.make_dir("real");
    root.directory.symlink("real", "link");
    root.directory.write_file("file", "");
    DirectoryCache cache(4);
    for (const mode_t mode : {0U, 0755U}) {
        CHECK(cache.get(1, root.fd.get(), "link", mode) < 0);
        CHECK(cache.get(1, root.fd.get(), "link/sub", mode) == -ELOOP);
        CHECK(cache.get(1, root.fd.get(), "file", mode) == -ENOTDIR);
        CHECK(cache.get(1, root.fd.get(), "file/sub", mode) == -ENOTDIR);
    }
    CHECK_FALSE(root.directory.exists("real/sub"));
    CHECK(is(cache.get(1, root.fd.get(), "real", 0), root.directory, "real"));
}

TEST_CASE("no more directories stay open than the capacity, the least recently used go first") {
    const Root root;
    DirectoryCache cache(3);
    const int a = cache.get(1, root.fd.get(), "a", 0755);
    const int b = cache.get(1, root.fd.get(), "b", 0755);
    const int c = cache.get(1, root.fd.get(), "c", 0755);
    CHECK(cache.get(1, root.fd.get(), "a", 0) == a); // b is the oldest now
    const UniqueFd guard = UniqueFd::adopt(::dup(root.fd.get()));
    const int d = cache.get(1, root.fd.get(), "d", 0755);
    CHECK(is_open(a));
    CHECK(is_open(c));
    CHECK(is(d, root.directory, "d"));
    CHECK_FALSE((is_open(b) && is(b, root.directory, "b")));
    // Not only once: a thousand directories take no more than three descriptors.
    const int before = ::dup(root.fd.get());
    ::close(before);
    for (int number = 0; number < 1'000; ++number) {
        REQUIRE(cache.get(1, root.fd.get(), "n" + std::to_string(number), 0755) >= 0);
    }
    const int after = ::dup(root.fd.get());
    ::close(after);
    CHECK(after <= before + 3);
}

TEST_CASE("an evicted directory is opened anew") {
    const Root root;
    DirectoryCache cache(1);
    for (int round = 0; round < 3; ++round) {
        CHECK(is(cache.get(1, root.fd.get(), "a", 0755), root.directory, "a"));
        CHECK(is(cache.get(1, root.fd.get(), "b", 0755), root.directory, "b"));
    }
}

TEST_CASE("owners and bases are told apart") {
    const Root one;
    const Root two;
    one.directory.make_dir("a");
    two.directory.make_dir("a");
    DirectoryCache cache(8);
    const int first = cache.get(1, one.fd.get(), "a", 0);
    CHECK(is(first, one.directory, "a"));
    CHECK(is(cache.get(1, two.fd.get(), "a", 0), two.directory, "a"));
    const int other = cache.get(2, one.fd.get(), "a", 0);
    CHECK(other != first);
    CHECK(is(other, one.directory, "a"));
    // Nor do digits run together: owner 1 with base 23 is not owner 12 with base 3.
    CHECK(is(cache.get(11, one.fd.get(), "a", 0), one.directory, "a"));
}

TEST_CASE("forgetting an owner closes its directories and no others") {
    const Root root;
    DirectoryCache cache(8);
    const int a = cache.get(1, root.fd.get(), "a", 0755);
    const int b = cache.get(2, root.fd.get(), "b", 0755);
    const int c = cache.get(1, root.fd.get(), "c", 0755);
    cache.forget(1);
    CHECK_FALSE(is_open(a));
    CHECK_FALSE(is_open(c));
    CHECK(is_open(b));
    CHECK(cache.get(2, root.fd.get(), "b", 0) == b);
    cache.forget(3);
    CHECK(is_open(b));
    CHECK(is(cache.get(1, root.fd.get(), "a", 0), root.directory, "a"));
}
