// What the tree walk does about what it cannot send, and about trees that are large or change.
#include "common/usage.hpp"
#include "proto/limits.hpp"
#include "sender/walk.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/support/walk_recorder.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <functional>
#include <malloc.h>
#include <memory>
#include <string>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

using Catch::Matchers::Contains;
using sluice::EntryKind;
using sluice::Error;
using sluice::ErrorKind;
using sluice::Filter;
using sluice::SourceEntry;
using sluice::SourceRoot;
using sluice::test::make_chain;
using sluice::test::open_root;
using sluice::test::Paths;
using sluice::test::Recorder;
using sluice::test::TempDir;
using sluice::test::walk_all;
using sluice::test::walk_into;

namespace {

// Sets the soft limit on descriptors and sets it back.
class DescriptorLimit {
public:
    explicit DescriptorLimit(rlim_t limit) {
        REQUIRE(::getrlimit(RLIMIT_NOFILE, &before_) == 0);
        const rlimit lowered{limit, before_.rlim_max};
        REQUIRE(::setrlimit(RLIMIT_NOFILE, &lowered) == 0);
    }
    ~DescriptorLimit() { ::setrlimit(RLIMIT_NOFILE, &before_); }
    DescriptorLimit(const DescriptorLimit&) = delete;
    DescriptorLimit& operator=(const DescriptorLimit&) = delete;

private:
    rlimit before_{};
};

// Runs `body` in a child that is not root; `body` returns whether all is well.
bool run_unprivileged(const std::function<bool()>& body) {
    constexpr uid_t kNobody = 65534;
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        const bool dropped = ::geteuid() != 0 || ::setresuid(kNobody, kNobody, kNobody) == 0;
        ::_exit(dropped && body() ? 0 : 1);
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

// Counts and forgets, and watches the heap.
class Counter : public sluice::WalkSink {
public:
    bool found(SourceEntry) override {
        const std::size_t now = ::mallinfo2().uordblks;
        lowest = std::min(lowest, now);
        highest = std::max(highest, now);
        return ++count < stop_at;
    }
    void failed(Error) override { ++failures; }
    void skipped(std::string) override { ++failures; }

    std::size_t count = 0;
    std::size_t stop_at = SIZE_MAX;
    std::size_t failures = 0;
    std::size_t lowest = SIZE_MAX;
    std::size_t highest = 0;
};

} // namespace

TEST_CASE("a source that cannot be opened is an error that names it", "[walk]") {
    const TempDir temp;
    temp.write_file("file", "");
    for (const std::string& argument :
         {std::string(), temp.path("missing"), temp.path("missing/x"), temp.path("file/"),
          temp.path("file/x"), temp.path("file/."), std::string("a\0b", 3),
          temp.path(std::string(256, 'x')), std::string(5000, 'y')}) {
        const auto root = sluice::open_source(argument);
        REQUIRE_FALSE(root);
        CHECK(root.error().kind == ErrorKind::some_files);
        CHECK_THAT(root.error().message, Contains("cannot open \""));
        CHECK(root.error().message.find('\n') == std::string::npos);
    }
}

TEST_CASE("paths longer than the protocol carries fail, all others go on", "[walk]") {
    const TempDir temp;
    temp.make_dir("src");
    make_chain(temp.path("src"), std::string(200, 'd'), 30);
    temp.write_file("src/" + std::string(200, 'd') + "/z/file", "");
    temp.make_dir("src/other");
    const Recorder seen = walk_all(temp.path("src"));
    REQUIRE(seen.errors.size() == 1);
    CHECK(seen.errors.front().kind == ErrorKind::some_files);
    CHECK_THAT(seen.errors.front().message, Contains("cannot send \"") && Contains("too long"));
    CHECK(seen.find("src/other") != nullptr);
    CHECK(seen.find("src/" + std::string(200, 'd') + "/z/file") != nullptr);
    for (const SourceEntry& entry : seen.entries) {
        CHECK(entry.wire_path.size() <= sluice::proto::kMaxPathBytes);
    }
    CHECK(seen.entries.size() == 1 + 20 + 1 + 2); // 3 + 20 * 201 <= 4095
}

TEST_CASE("special files are skipped with one line that says what they are", "[walk]") {
    const TempDir temp;
    temp.write_file("src/file", "");
    REQUIRE(::mkfifo(temp.path("src/pi\npe").c_str(), 0644) == 0);
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    REQUIRE(fd >= 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string socket_path = temp.path("src/sock");
    REQUIRE(socket_path.size() < sizeof(address.sun_path));
    std::copy(socket_path.begin(), socket_path.end(), address.sun_path);
    const void* const generic = &address;
    REQUIRE(::bind(fd, static_cast<const sockaddr*>(generic), sizeof(address)) == 0);
    ::close(fd);

    Recorder seen = walk_all(temp.path("src"));
    CHECK(seen.paths() == Paths{"src/", "src/file"});
    CHECK(seen.errors.empty());
    std::sort(seen.skips.begin(), seen.skips.end());
    REQUIRE(seen.skips.size() == 2);
    CHECK(seen.skips[0] == '"' + temp.path("src/pi\\npe") + "\" is a FIFO and was not sent");
    CHECK(seen.skips[1] == '"' + temp.path("src/sock") + "\" is a socket and was not sent");

    CHECK(walk_all(temp.path("src/sock")).skips.size() == 1); // as an argument, too
    CHECK_THAT(walk_all("/dev/null").skips.at(0), Contains("is a device"));
    Filter filter;
    filter.exclude("*");
    CHECK(walk_all(temp.path("src/"), filter).skips.empty());
}

TEST_CASE("what cannot be read is reported and the walk goes on", "[walk]") {
    const TempDir temp;
    temp.write_file("src/closed/x", "");
    temp.write_file("src/listable/y", "");
    temp.write_file("src/open/z", "");
    temp.write_file("src/file", "", 0000); // found all the same: only opening it will fail
    temp.set_mode("", 0755);
    temp.set_mode("src/closed", 0000);
    temp.set_mode("src/listable", 0444);
    const bool passed = run_unprivileged([&temp] {
        auto root = sluice::open_source(temp.path("src"));
        Recorder seen;
        if (!root || !sluice::walk(std::make_shared<SourceRoot>(*std::move(root)), {}, seen)) {
            return false;
        }
        std::string closed_message;
        for (const Error& error : seen.errors) {
            if (error.kind != ErrorKind::some_files || error.error_number != EACCES) {
                return false;
            }
            closed_message += error.message + '\n';
        }
        return seen.paths() ==
                   Paths{"src/", "src/file", "src/listable/", "src/open/", "src/open/z"} &&
               seen.errors.size() == 2 &&
               closed_message.find("cannot open directory \"" + temp.path("src/closed") +
                                   "\": Permission denied\n") != std::string::npos;
    });
    temp.set_mode("src/closed", 0755);
    temp.set_mode("src/listable", 0755);
    CHECK(passed);
}

TEST_CASE("a file below a directory that may be searched but not read can be sent", "[walk]") {
    const TempDir temp;
    temp.write_file("dir/file", "x");
    temp.set_mode("", 0755);
    temp.set_mode("dir", 0111);
    const bool passed = run_unprivileged([&temp] {
        auto root = sluice::open_source(temp.path("dir/file"));
        Recorder seen;
        return root && sluice::walk(std::make_shared<SourceRoot>(*std::move(root)), {}, seen) &&
               seen.paths() == Paths{"file"};
    });
    temp.set_mode("dir", 0755);
    CHECK(passed);
}

TEST_CASE("entries that vanish during the walk are reported as changed sources", "[walk]") {
    const TempDir temp;
    for (const char* name : {"a", "b", "c", "d"}) {
        temp.write_file(std::string("src/") + name, "");
        temp.make_dir(std::string("src/dir-") + name);
    }
    Recorder seen;
    seen.on_found = [&](const SourceEntry& entry) {
        // All names have been read by now; those that are left go away under the walk's feet.
        if (entry.kind == EntryKind::file) {
            for (const std::string& name : temp.list("src")) {
                if ("src/" + name != entry.wire_path) {
                    temp.remove("src/" + name);
                }
            }
        }
        return true;
    };
    CHECK(walk_into(seen, temp.path("src")));
    CHECK(seen.entries.size() == 2); // the directory and the first file
    CHECK(seen.errors.size() == 3 + 4);
    for (const Error& error : seen.errors) {
        CHECK(error.kind == ErrorKind::source_changed);
        CHECK_THAT(error.message, Contains("vanished before it was sent"));
    }
}

TEST_CASE("a directory that becomes a link is not followed", "[walk]") {
    const TempDir temp;
    temp.write_file("elsewhere/secret", "");
    temp.write_file("src/file", "");
    temp.make_dir("src/dir");
    Recorder seen;
    seen.on_found = [&temp](const SourceEntry& entry) {
        if (entry.kind == EntryKind::file) {
            temp.remove("src/dir");
            temp.symlink("../elsewhere", "src/dir");
        }
        return true;
    };
    CHECK(walk_into(seen, temp.path("src")));
    CHECK(seen.paths() == Paths{"src/", "src/file"});
    REQUIRE(seen.errors.size() == 1);
    CHECK(seen.errors.front().kind == ErrorKind::source_changed);
}

TEST_CASE("a single source that is replaced by a directory is reported as changed", "[walk]") {
    const TempDir temp;
    temp.write_file("file", "");
    const auto root = open_root(temp.path("file"));
    temp.remove("file");
    Recorder seen;
    CHECK(sluice::walk(root, {}, seen));
    temp.make_dir("file");
    CHECK(sluice::walk(root, {}, seen));
    CHECK(seen.entries.empty());
    REQUIRE(seen.errors.size() == 2);
    CHECK(seen.errors[0].kind == ErrorKind::source_changed);
    CHECK(seen.errors[1].kind == ErrorKind::source_changed);
}

TEST_CASE("the walk stops when the sink says so, wherever that is", "[walk]") {
    const TempDir temp;
    temp.write_file("src/a", "");
    temp.write_file("src/sub/b", "");
    temp.symlink("a", "src/sub/c");
    const std::size_t all = walk_all(temp.path("src")).entries.size();
    REQUIRE(all == 5);
    for (std::size_t stop_after = 1; stop_after <= all; ++stop_after) {
        Recorder seen;
        seen.on_found = [&](const SourceEntry&) { return seen.entries.size() < stop_after; };
        CHECK_FALSE(walk_into(seen, temp.path("src")));
        CHECK(seen.entries.size() == stop_after);
    }
    Recorder seen;
    seen.on_found = [](const SourceEntry&) { return false; };
    CHECK_FALSE(walk_into(seen, temp.path("src/a")));
}

TEST_CASE("the receiver's reserved name is refused at the top and allowed below", "[walk]") {
    const TempDir temp;
    temp.write_file("src/.sluice/x", "");
    temp.write_file("src/y", "");
    CHECK(walk_all(temp.path("src")).find("src/.sluice/x") != nullptr);

    const Recorder contents = walk_all(temp.path("src/"));
    CHECK(contents.paths() == Paths{"/", "y"});
    REQUIRE(contents.errors.size() == 1);
    CHECK(contents.errors.front().kind == ErrorKind::some_files);
    CHECK_THAT(contents.errors.front().message,
               Contains(".sluice") && Contains("the receiver keeps \".sluice\" for itself"));

    const auto root = sluice::open_source(temp.path("src/.sluice"));
    REQUIRE_FALSE(root);
    CHECK(root.error().kind == ErrorKind::some_files);
    CHECK_THAT(root.error().message, Contains("the receiver keeps that name for itself"));
    CHECK(walk_all(temp.path("src/.sluice/")).paths() == Paths{"/", "x"});
}

TEST_CASE("a walk that runs out of descriptors reports it and goes on", "[walk]") {
    const TempDir temp;
    temp.make_dir("src/deep");
    make_chain(temp.path("src/deep"), "d", 60);
    temp.write_file("src/other/file", "");
    const auto root = open_root(temp.path("src"));
    Recorder seen;
    {
        // The lowest free descriptor tells how many are in use.
        const int lowest = ::dup(root->directory.get());
        REQUIRE(lowest >= 0);
        ::close(lowest);
        const DescriptorLimit limit(static_cast<rlim_t>(lowest) + 20);
        CHECK(sluice::walk(root, {}, seen));
    }
    REQUIRE(seen.errors.size() == 1);
    CHECK(seen.errors.front().kind == ErrorKind::some_files);
    CHECK(seen.errors.front().error_number == EMFILE);
    CHECK_THAT(seen.errors.front().message, Contains("cannot open directory \""));
    CHECK(seen.find("src/other/file") != nullptr);
}

TEST_CASE("a directory of 20,000 files is reported as it is read, not collected", "[walk]") {
    const TempDir temp(TempDir::quick_base());
    constexpr std::size_t kFiles = 20'000;
    for (std::size_t i = 0; i < kFiles; ++i) {
        temp.write_file("a file with a name of some length, number " + std::to_string(i), "");
    }
    const auto root = open_root(temp.path() + "/");
    Counter all;
    CHECK(sluice::walk(root, {}, all));
    CHECK(all.count == kFiles + 1);
    CHECK(all.failures == 0);
    CHECK(all.highest - all.lowest < 64 << 10); // names alone would be 50 bytes times 20,000

    Counter first;
    first.stop_at = 10;
    const auto before = sluice::thread_system_calls;
    CHECK_FALSE(sluice::walk(root, {}, first));
    CHECK(sluice::thread_system_calls - before < 15);
}

TEST_CASE("the names of waiting subdirectories are bounded", "[walk]") {
    const TempDir temp(TempDir::quick_base());
    constexpr std::size_t kDirectories = 8'000;
    const std::string filler(240, 'n');
    for (std::size_t i = 0; i < kDirectories; ++i) {
        REQUIRE(::mkdir(temp.path(filler + std::to_string(i)).c_str(), 0755) == 0);
    }
    Counter all;
    CHECK(sluice::walk(open_root(temp.path() + "/"), {}, all));
    CHECK(all.count == kDirectories + 1);
    CHECK(all.failures == 0);
    CHECK(all.highest - all.lowest < 5 << 18); // all names would be more than 2 MB
}
