// --fsync: nothing that the receiver has confirmed may be lost with the machine. The receiver's
// system calls are replayed into a model of a disk that forgets whatever was not synced.
#include "common/sanitized.hpp"
#include "tests/e2e/checks.hpp"
#include "tests/support/disk_model.hpp"
#include "tests/support/programs.hpp"
#include "tests/support/tree.hpp"

#include <iostream>

using namespace sluice;
using namespace sluice::test;

namespace {

constexpr const char* kCalls =
    "trace=open,openat,openat2,close,mkdirat,symlinkat,renameat,renameat2,unlinkat,write,pwrite64,"
    "ftruncate,splice,fchmod,utimensat,fsync,fdatasync,syncfs,sendto";

bool possible() {
    if (kSanitized) {
        std::cout << "skipped: sanitizers make system calls of their own\n";
        return false;
    }
    if (run({"strace", "-f", "-o", "/dev/null", "true"}).code != 0) {
        std::cout << "skipped: strace is missing or may not trace here\n";
        return false;
    }
    return true;
}

struct Replayed {
    std::vector<std::string> early;    // names that came before what they lead to
    std::vector<std::string> unsynced; // when the sender was told that all is done
    std::size_t files = 0;
};

// Pushes `source` with these options to PATH below a directory, in which `present` is already, and
// replays what the receiver did up to its last word.
Replayed push_and_replay(const TempDir& directory, const std::string& source,
                         const std::string& path, const std::vector<std::string>& options) {
    const std::string target = directory.path("target");
    const std::string trace = directory.path("trace");
    {
        ReceiverProcess receiver(
            ReceiverProcess::Command{{"strace", "-f", "-y", "-s", "4096", "-e", kCalls, "-o", trace,
                                      kRecvProgram, "--once", "--port", "0", target}});
        std::vector<std::string> arguments = options;
        arguments.push_back(source);
        const Finished sent = send(receiver, arguments, path);
        INFO(sent.err);
        REQUIRE(sent.code == 0);
        REQUIRE(receiver.process().wait() == 0);
    }
    const std::vector<std::string> calls = read_trace(trace);
    std::size_t last_word = calls.size();
    while (last_word > 0 && calls[last_word - 1].find("sendto(") == std::string::npos) {
        --last_word;
    }
    REQUIRE(last_word > 0);
    DiskModel disk(target);
    for (std::size_t at = 0; at < last_word; ++at) {
        disk.apply(calls[at]);
    }
    return {disk.early_names(), disk.unsynced(), disk.visible_files()};
}

void make_source(const TempDir& directory) {
    directory.write_file("source/small", "small");
    directory.write_file("source/empty", "");
    directory.write_file("source/below/this/deep", "deep");
    directory.write_file("source/large", std::string(std::size_t{20} << 20, 'x'));
    std::filesystem::create_symlink("small", directory.path("source/link"));
    std::filesystem::create_directories(directory.path("target"));
}

} // namespace

TEST_CASE("what a new tree holds is on the disk before its name, and all of it before success") {
    if (!possible()) {
        return;
    }
    const TempDir directory;
    make_source(directory);
    const auto replayed = push_and_replay(directory, directory.path("source"), "", {"--fsync"});
    CHECK(replayed.early == std::vector<std::string>{});
    CHECK(replayed.unsynced == std::vector<std::string>{});
    CHECK(replayed.files == 5);
}

TEST_CASE("the same holds for a destination that has yet to be made") {
    if (!possible()) {
        return;
    }
    const TempDir directory;
    make_source(directory);
    const auto replayed =
        push_and_replay(directory, directory.path("source/"), "new/place", {"--fsync"});
    CHECK(replayed.early == std::vector<std::string>{});
    CHECK(replayed.unsynced == std::vector<std::string>{});
    CHECK(replayed.files == 5);
}

TEST_CASE("the same holds for files that are renamed into place one by one") {
    if (!possible()) {
        return;
    }
    const TempDir directory;
    make_source(directory);
    const auto replayed =
        push_and_replay(directory, directory.path("source/"), "", {"--fsync", "--publish", "file"});
    CHECK(replayed.early == std::vector<std::string>{});
    CHECK(replayed.unsynced == std::vector<std::string>{});
    CHECK(replayed.files == 5);
}

TEST_CASE("the same holds for a single file") {
    if (!possible()) {
        return;
    }
    const TempDir directory;
    make_source(directory);
    const auto replayed =
        push_and_replay(directory, directory.path("source/large"), "renamed", {"--fsync"});
    CHECK(replayed.early == std::vector<std::string>{});
    CHECK(replayed.unsynced == std::vector<std::string>{});
    CHECK(replayed.files == 1);
}

TEST_CASE("without --fsync the model finds fault with all of that") {
    if (!possible()) {
        return;
    }
    const TempDir directory;
    make_source(directory);
    const auto tree = push_and_replay(directory, directory.path("source"), "", {});
    CHECK(tree.early == std::vector<std::string>{"source"});
    CHECK(tree.unsynced.size() >= 5);
    const auto file = push_and_replay(directory, directory.path("source/large"), "renamed", {});
    CHECK(file.early == std::vector<std::string>{"renamed"});
    CHECK(file.unsynced.size() >= 2);
}
