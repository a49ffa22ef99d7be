// Whole transfers between the real programs: what arrives is what was sent.
#include "tests/e2e/checks.hpp"
#include "tests/support/programs.hpp"
#include "tests/support/tree.hpp"

#include <array>
#include <catch2/catch.hpp>
#include <cstdint>
#include <fcntl.h>
#include <iostream>
#include <memory>
#include <string>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

using namespace sluice::test;

namespace {

constexpr std::size_t kInlineLimit = std::size_t{64} << 10;
constexpr std::size_t kExtentBytes = std::size_t{8} << 20;

// Sizes at which something changes in how a file travels.
constexpr std::array<std::size_t, 8> kSizes = {0,
                                               1,
                                               kInlineLimit - 1,
                                               kInlineLimit,
                                               kInlineLimit + 1,
                                               kExtentBytes - 1,
                                               kExtentBytes,
                                               kExtentBytes + 1};

// Two directories, and a receiver that serves one of them.
struct Pair {
    TempDir source;
    TempDir destination;
    ReceiverProcess receiver;

    explicit Pair(std::vector<std::string> options = {})
        : receiver(destination.path(), std::move(options)) {}

    // Pushes; the test fails unless that succeeds. What the sender printed to stderr.
    std::string push(std::vector<std::string> arguments, const std::string& path = "") {
        const Finished sent = send(receiver, std::move(arguments), path);
        INFO(sent.err);
        REQUIRE(sent.code == 0);
        return sent.err;
    }
};

void make_tree(const TempDir& at, const std::string& top) {
    for (const std::size_t size : kSizes) {
        at.write_file(top + "/sizes/" + std::to_string(size), random_bytes(size, size));
    }
    at.write_file(top + "/a/b/c/deep", "deep\n");
    at.make_dir(top + "/empty/emptier");
    at.symlink("b/c/deep", top + "/a/relative");
    at.symlink("/nowhere/to/be/found", top + "/a/absolute");
    at.symlink("b", top + "/a/to-directory");
    at.symlink("..", top + "/a/b/up");
    for (int count = 0; count < 300; ++count) {
        const std::string number = std::to_string(count);
        at.write_file(top + "/many/" + number, "file number " + number);
    }
}

} // namespace

TEST_CASE("a tree arrives as it is, over any number of streams") {
    const std::string streams = GENERATE("1", "2", "8");
    Pair pair;
    make_tree(pair.source, "tree");
    pair.push({"-P", streams, pair.source.path("tree")});
    CHECK(differences(describe_tree(pair.source), describe_tree(pair.destination), {true, false}) ==
          "");
}

TEST_CASE("nothing of the work area stays after a transfer") {
    Pair pair;
    make_tree(pair.source, "tree");
    pair.push({pair.source.path("tree")});
    CHECK_FALSE(pair.destination.exists(".sluice"));
}

TEST_CASE("names may hold any bytes") {
    Pair pair;
    const std::vector<std::string> names = {"two words",   "new\nline",
                                            "-dash",       "\xff\xfe not utf-8",
                                            "\x01\x7f",    "quote'\"s",
                                            "back\\slash", "\xc3\xa9",
                                            "*?[a]",       "...",
                                            " ",           "a,b",
                                            ".hidden",     std::string(255, 'n'),
                                            "~",           "$HOME `x` ${y}",
                                            ".sluice.not", "sluice:host:"};
    for (const std::string& name : names) {
        pair.source.write_file("tree/" + name, name);
        pair.source.write_file("tree/in/" + name + "/" + name, name);
        pair.source.symlink(name, "tree/links/" + name);
    }
    pair.push({pair.source.path("tree")});
    CHECK(differences(describe_tree(pair.source, "tree"),
                      describe_tree(pair.destination, "tree")) == "");
}

TEST_CASE("a source may have any name") {
    Pair pair;
    const std::string name =
        GENERATE("two words", "new\nline", "\xff", "a,b", "x:y", "-dash", "[z]", " ");
    pair.source.write_file(name, "content of " + name);
    pair.push({"--", pair.source.path(name)});
    CHECK(differences(describe_tree(pair.source), describe_tree(pair.destination), {true, false}) ==
          "");
}

TEST_CASE("modes of files and directories are kept") {
    Pair pair;
    for (const mode_t mode : {0400U, 0444U, 0600U, 0640U, 0644U, 0755U, 0700U, 0777U}) {
        const std::string name = std::to_string(mode);
        pair.source.write_file("tree/" + name, "small", mode);
        pair.source.write_file("tree/large-" + name, random_bytes(kInlineLimit + 1, mode), mode);
        if ((mode & 0500U) == 0500U) {
            pair.source.write_file("tree/dir-" + name + "/inside", "x");
            pair.source.set_mode("tree/dir-" + name, mode);
        }
    }
    if (::geteuid() == 0) { // others could not read it
        pair.source.write_file("tree/none", "x", 0);
    }
    pair.push({pair.source.path("tree")});
    CHECK(differences(describe_tree(pair.source, "tree"),
                      describe_tree(pair.destination, "tree")) == "");
}

TEST_CASE("directories that cannot be written to arrive with what is in them") {
    Pair pair;
    const bool into_existing = GENERATE(false, true);
    if (into_existing) {
        pair.destination.write_file("tree/foreign", "x");
    }
    pair.source.write_file("tree/locked/file", "x", 0444);
    pair.source.write_file("tree/locked/below/file", random_bytes(kInlineLimit + 1, 1));
    pair.source.set_mode("tree/locked/below", 0500);
    pair.source.set_mode("tree/locked", 0555);
    pair.source.make_dir("tree/closed");
    pair.source.set_mode("tree/closed", ::geteuid() == 0 ? 0000 : 0500);
    pair.push({pair.source.path("tree")});
    if (into_existing) {
        pair.destination.remove("tree/foreign");
        CHECK(differences(describe_tree(pair.source, "tree/locked"),
                          describe_tree(pair.destination, "tree/locked")) == "");
        CHECK((pair.destination.status("tree/closed").st_mode & 07777U) ==
              (pair.source.status("tree/closed").st_mode & 07777U));
    } else {
        CHECK(differences(describe_tree(pair.source, "tree"),
                          describe_tree(pair.destination, "tree")) == "");
    }
    for (const TempDir* const root : {&pair.source, &pair.destination}) { // so that it can go
        root->set_mode("tree/locked", 0755);
        root->set_mode("tree/locked/below", 0755);
    }
}

TEST_CASE("set-id bits are dropped") {
    Pair pair;
    pair.source.write_file("tree/program", "x", 06755);
    pair.source.write_file("tree/large", random_bytes(kInlineLimit + 1, 1), 04755);
    pair.source.make_dir("tree/dir");
    pair.source.set_mode("tree/dir", 02775);
    pair.push({pair.source.path("tree")});
    CHECK((pair.destination.status("tree/program").st_mode & 07777U) == 0755);
    CHECK((pair.destination.status("tree/large").st_mode & 07777U) == 0755);
    CHECK((pair.destination.status("tree/dir").st_mode & 07777U) == 0775);
}

TEST_CASE("modification times of files, directories and links are kept to the nanosecond") {
    Pair pair;
    pair.source.write_file("tree/dir/sub/small", "x");
    pair.source.write_file("tree/large", random_bytes(kInlineLimit + 1, 1));
    pair.source.write_file("tree/old", "x");
    pair.source.write_file("tree/late", "x");
    pair.source.symlink("old", "tree/link");
    const time_t in_1960 = -315'000'000;
    const time_t in_2100 = 4'102'444'800;
    pair.source.set_mtime("tree/old", in_1960, 999'999'999);
    pair.source.set_mtime("tree/late", in_2100, 1);
    pair.source.set_mtime("tree/large", 1'000'000'000, 123'456'789);
    pair.source.set_mtime("tree/link", 1'234'567'890, 987'654'321);
    pair.source.set_mtime("tree/dir/sub/small", 0, 0);
    pair.source.set_mtime("tree/dir/sub", 1'111'111'111, 111);
    pair.source.set_mtime("tree/dir", in_1960, 222);
    pair.source.set_mtime("tree", 1'333'333'333, 333);
    SECTION("in a new tree") {}
    SECTION("in a tree that is there") {
        pair.destination.make_dir("tree/dir/sub");
    }
    pair.push({pair.source.path("tree")});
    CHECK(differences(describe_tree(pair.source, "tree"),
                      describe_tree(pair.destination, "tree")) == "");
}

TEST_CASE("a sparse file above 4 GiB keeps its holes") {
    Pair pair;
    constexpr off_t kSize = (off_t{5} << 30) + 12'345;
    pair.source.make_hole("sparse", kSize);
    const int file = ::open(pair.source.path("sparse").c_str(), O_WRONLY | O_CLOEXEC);
    REQUIRE(file >= 0);
    const std::string data = random_bytes(200'000, 7);
    for (const off_t at : {off_t{4096}, off_t{1} << 31, (off_t{1} << 32) + 1}) {
        REQUIRE(::pwrite(file, data.data(), data.size(), at) == static_cast<ssize_t>(data.size()));
    }
    ::close(file);
    if (pair.source.status("sparse").st_blocks * 512 >= kSize) {
        std::cout << "skipped: no sparse files here\n";
        return;
    }
    pair.push({pair.source.path("sparse")});
    CHECK(pair.destination.status("sparse").st_size == kSize);
    CHECK(pair.destination.status("sparse").st_blocks * 512 < 4'000'000);
    CHECK(differences(describe_tree(pair.source), describe_tree(pair.destination), {true, false}) ==
          "");
}

TEST_CASE("a second push sends nothing and touches nothing") {
    Pair pair;
    make_tree(pair.source, "tree");
    pair.push({pair.source.path("tree")});
    const Tree before = describe_tree(pair.destination, "tree");
    const std::string summary = pair.push({pair.source.path("tree")});
    CHECK(contains(summary, "nothing to send"));
    CHECK(contains(summary, "309 files unchanged"));
    CHECK(touched(before, describe_tree(pair.destination, "tree")) == "");
}

TEST_CASE("after three files changed only those three are sent") {
    Pair pair;
    make_tree(pair.source, "tree");
    pair.push({pair.source.path("tree")});
    const Tree before = describe_tree(pair.destination, "tree");
    pair.source.set_mtime("tree/many/7", 1'000'000'000);                            // times
    pair.source.write_file("tree/many/8", "longer than it was before, by far");     // size
    pair.source.write_file("tree/sizes/8388608", random_bytes(kExtentBytes, 4242)); // content
    const std::string summary = pair.push({pair.source.path("tree")});
    CHECK(contains(summary, " in 3 files"));
    CHECK(contains(summary, "306 files unchanged"));
    const Tree after = describe_tree(pair.destination, "tree");
    CHECK(differences(describe_tree(pair.source, "tree"), after) == "");
    for (const auto& [path, node] : before) {
        const bool changed = path == "many/7" || path == "many/8" || path == "sizes/8388608";
        INFO(path);
        CHECK((node.status.st_ino != after.at(path).status.st_ino) == changed);
    }
}

TEST_CASE("a mode that changed is put right without sending the file") {
    Pair pair;
    pair.source.write_file("tree/file", "x", 0644);
    pair.push({pair.source.path("tree")});
    pair.source.set_mode("tree/file", 0600);
    CHECK(contains(pair.push({pair.source.path("tree")}), "nothing to send"));
    CHECK((pair.destination.status("tree/file").st_mode & 07777U) == 0600);
}

TEST_CASE("a push into an existing tree replaces files at one stroke and keeps foreign ones") {
    Pair pair;
    const std::string name = GENERATE("small", "large");
    const std::size_t size = name == "small" ? 100 : kExtentBytes + 1;
    pair.source.write_file("tree/" + name, random_bytes(size, 1));
    pair.source.write_file("tree/sub/new", "new");
    pair.destination.write_file("tree/" + name, "old content");
    pair.destination.write_file("tree/foreign", "not yours");
    pair.destination.write_file("tree/sub/foreign", "not yours");
    const Tree before = describe_tree(pair.destination, "tree");
    const int old = ::open(pair.destination.path("tree/" + name).c_str(), O_RDONLY | O_CLOEXEC);
    REQUIRE(old >= 0);

    pair.push({pair.source.path("tree")});
    std::array<char, 32> content{};
    const ssize_t got = ::read(old, content.data(), content.size());
    ::close(old);
    CHECK(std::string(content.data(), static_cast<std::size_t>(got)) == "old content");
    CHECK(pair.destination.read_file("tree/" + name) == random_bytes(size, 1));
    CHECK(pair.destination.read_file("tree/sub/new") == "new");
    for (const std::string foreign : {"foreign", "sub/foreign"}) {
        const Tree after = describe_tree(pair.destination, "tree");
        CHECK(difference(before.at(foreign), after.at(foreign), true) == "");
        CHECK(before.at(foreign).status.st_ino == after.at(foreign).status.st_ino);
    }
}

TEST_CASE("a file and a directory of the same name are reported, and the rest goes") {
    Pair pair;
    pair.source.write_file("tree/file", "x");
    pair.source.write_file("tree/large", random_bytes(kInlineLimit + 1, 1));
    pair.source.write_file("tree/dir/inside", "x");
    pair.source.symlink("target", "tree/link");
    pair.source.write_file("tree/good", "good");
    pair.source.write_file("tree/good-large", random_bytes(kInlineLimit + 1, 2));
    pair.destination.write_file("tree/file/in-the-way", "kept");
    pair.destination.write_file("tree/large/in-the-way", "kept");
    pair.destination.write_file("tree/link/in-the-way", "kept");
    pair.destination.write_file("tree/dir", "kept");
    const Finished sent = send(pair.receiver, {pair.source.path("tree")});
    INFO(sent.err);
    CHECK(sent.code == 23);
    for (const std::string path : {"tree/file", "tree/large", "tree/link", "tree/dir"}) {
        CHECK(contains(sent.err, path + ": not stored: "));
    }
    CHECK(contains(sent.err, "FAILED"));
    CHECK(pair.destination.read_file("tree/good") == "good");
    CHECK(pair.destination.read_file("tree/good-large") == random_bytes(kInlineLimit + 1, 2));
    CHECK(pair.destination.read_file("tree/dir") == "kept");
    for (const std::string path : {"tree/file", "tree/large", "tree/link"}) {
        CHECK(pair.destination.read_file(path + "/in-the-way") == "kept");
    }
    CHECK_FALSE(pair.destination.exists(".sluice"));
}

TEST_CASE("links are replaced and never followed") {
    Pair pair;
    const TempDir elsewhere;
    elsewhere.write_file("victim", "untouched");
    pair.source.write_file("tree/file", "new");
    pair.source.symlink("new-target", "tree/link");
    pair.source.write_file("tree/dir/inside", "x");
    pair.destination.symlink(elsewhere.path("victim"), "tree/file");
    pair.destination.symlink("old-target", "tree/link");
    pair.destination.symlink(elsewhere.path(), "tree/dir");
    const Finished sent = send(pair.receiver, {pair.source.path("tree")});
    INFO(sent.err);
    CHECK(sent.code == 23); // for tree/dir
    CHECK(pair.destination.read_file("tree/file") == "new");
    CHECK(S_ISREG(pair.destination.status("tree/file").st_mode));
    CHECK(pair.destination.read_link("tree/link") == "new-target");
    CHECK(elsewhere.read_file("victim") == "untouched");
    CHECK_FALSE(elsewhere.exists("inside"));
}

TEST_CASE("special files are left out with a warning") {
    Pair pair;
    pair.source.write_file("tree/file", "x");
    REQUIRE(::mkfifo(pair.source.path("tree/fifo").c_str(), 0600) == 0);
    const std::string summary = pair.push({pair.source.path("tree")});
    CHECK(contains(summary, "FIFO"));
    CHECK(contains(summary, "1 special files left out"));
    CHECK(pair.destination.exists("tree/file"));
    CHECK_FALSE(pair.destination.exists("tree/fifo"));
}

TEST_CASE("several sessions at a time into one directory do not disturb each other") {
    Pair pair;
    make_tree(pair.source, "tree");
    std::vector<std::unique_ptr<Process>> senders;
    for (int count = 0; count < 4; ++count) {
        senders.push_back(
            std::make_unique<Process>(send_command(pair.receiver, {pair.source.path("tree")})));
    }
    for (const auto& sender : senders) {
        INFO(sender->err());
        CHECK(sender->wait() == 0);
    }
    CHECK(differences(describe_tree(pair.source, "tree"),
                      describe_tree(pair.destination, "tree")) == "");
    eventually("the work area is gone", [&] { return !pair.destination.exists(".sluice"); });
}
