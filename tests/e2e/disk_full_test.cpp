// A receiver that runs out of space or of descriptors, or may not write: it says so, leaves nothing
// half done, and goes on.
#include "tests/e2e/hostile.hpp"

#include <iostream>
#include <optional>
#include <sys/statvfs.h>

using namespace sluice;
using namespace sluice::test;

namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20;

// A receiver on a file system of its own, 16 MiB large and seen by nobody else. `prepare` is a
// shell command that is run in the new file system first.
class SmallDisk {
public:
    explicit SmallDisk(const std::string& prepare = ":") {
        const std::string script = "mount -t tmpfs -o size=16m tmpfs \"$1\" && cd \"$1\" && " +
                                   prepare + " && cd / && exec \"$2\" --port 0 \"$1\"";
        receiver_.emplace(ReceiverProcess::Command{
            {"unshare", "--mount", "sh", "-c", script, "sh", mount_point_.path(), kRecvProgram}});
        inside_ =
            "/proc/" + std::to_string(receiver_->process().pid()) + "/root" + mount_point_.path();
        free_ = free_bytes();
    }

    // Without root there is no mounting.
    [[nodiscard]] static bool possible() {
        if (run({"unshare", "--mount", "sh", "-c", "mount -t tmpfs tmpfs /mnt"}).code == 0) {
            return true;
        }
        std::cout << "skipped: needs root\n";
        return false;
    }

    [[nodiscard]] ReceiverProcess& receiver() noexcept { return *receiver_; }
    [[nodiscard]] std::string path(const std::string& name) const { return inside_ + '/' + name; }
    [[nodiscard]] bool exists(const std::string& name) const {
        return std::filesystem::symlink_status(path(name)).type() !=
               std::filesystem::file_type::not_found;
    }
    [[nodiscard]] std::uint64_t free_bytes() const {
        struct statvfs status {};
        REQUIRE(::statvfs(inside_.c_str(), &status) == 0);
        return std::uint64_t{status.f_bfree} * status.f_frsize;
    }
    // A new push left nothing behind.
    void check_given_back() const {
        eventually("the space is given back", [this] { return free_bytes() == free_; });
        eventually("the work area is gone", [this] { return !exists(".sluice"); });
    }
    void check_serving() {
        const TempDir source;
        source.write_file("small/file", "content");
        const Finished sent = send(*receiver_, {source.path("small")});
        INFO(sent.err);
        CHECK(sent.code == 0);
        CHECK(std::filesystem::file_size(path("small/file")) == 7);
        std::filesystem::remove_all(path("small"));
    }

private:
    TempDir mount_point_;
    std::optional<ReceiverProcess> receiver_;
    std::string inside_;
    std::uint64_t free_ = 0;
};

// More than the disk holds, mostly small files or mostly one large one.
void write_too_much(const TempDir& source, const std::string& tree, bool large) {
    if (large) {
        source.write_file(tree + "/large", std::string(20 * kMiB, 'L'));
    }
    for (int file = 0; file < (large ? 10 : 500); ++file) {
        source.write_file(tree + "/d" + std::to_string(file % 9) + "/f" + std::to_string(file),
                          std::string(50'000, 's'));
    }
}

void check_no_space(const Finished& sent, const std::string& tree) {
    INFO(sent.err);
    CHECK(sent.code == 11);
    CHECK(sent.err.find("no space") != std::string::npos);
    CHECK(sent.err.find(tree + '/') != std::string::npos);
    CHECK(std::count(sent.err.begin(), sent.err.end(), '\n') == 1);
}

} // namespace

TEST_CASE("a new tree that does not fit leaves nothing, and its sender a clear error") {
    if (!SmallDisk::possible()) {
        return;
    }
    const bool large = GENERATE(true, false);
    const char* const path = GENERATE("sendfile", "copy");
    INFO("large " << large << ", path " << path);
    SmallDisk disk;
    const TempDir source;
    write_too_much(source, "tree", large);
    check_no_space(send(disk.receiver(), {"--quiet", "--send-path", path, source.path("tree")}),
                   "tree");
    CHECK_FALSE(disk.exists("tree"));
    disk.check_given_back();
    disk.check_serving();
}

TEST_CASE("compressed files that do not fit are a clear error, too") {
    if (!SmallDisk::possible()) {
        return;
    }
    const bool large = GENERATE(true, false);
    SmallDisk disk;
    const TempDir source;
    write_too_much(source, "tree", large);
    check_no_space(send(disk.receiver(), {"--quiet", "-z", source.path("tree")}), "tree");
    CHECK_FALSE(disk.exists("tree"));
    disk.check_given_back();
    disk.check_serving();
}

TEST_CASE("a tree that is updated until the disk is full has only whole files, old or new") {
    if (!SmallDisk::possible()) {
        return;
    }
    const bool large = GENERATE(true, false);
    SmallDisk disk("mkdir -p tree/d0 && printf old > tree/large && printf old > tree/d0/f0");
    const TempDir source;
    write_too_much(source, "tree", large);
    check_no_space(send(disk.receiver(), {"--quiet", source.path("tree")}), "tree");
    eventually("the work area is gone", [&] { return !disk.exists(".sluice"); });
    CHECK(std::filesystem::file_size(disk.path("tree/large")) == 3);
    for (const auto& entry : std::filesystem::recursive_directory_iterator(disk.path("tree"))) {
        if (entry.is_regular_file()) {
            INFO(entry.path());
            const bool old = entry.file_size() == 3;
            CHECK((old || entry.file_size() == 50'000));
        }
    }
    std::filesystem::remove_all(disk.path("tree"));
    disk.check_serving();
}

TEST_CASE("a session that has its space goes on while another finds none") {
    if (!SmallDisk::possible()) {
        return;
    }
    SmallDisk disk;
    RawSession session(disk.receiver());
    DataPeer data = session.join();
    data.send(extent_frame(extent_of(1, "other/file", 200'000)));
    data.send(proto::Bytes(100'000, std::byte{'x'}));
    const TempDir source;
    write_too_much(source, "tree", true);
    check_no_space(send(disk.receiver(), {"--quiet", source.path("tree")}), "tree");
    eventually("there is space again", [&] { return disk.free_bytes() > 10 * kMiB; });
    data.send(proto::Bytes(100'000, std::byte{'x'}));
    session.end(data, {1});
    CHECK(describe(session.finish(1)) == "Done");
    CHECK(std::filesystem::file_size(disk.path("other/file")) == 200'000);
    std::filesystem::remove_all(disk.path("other"));
    disk.check_given_back();
}

TEST_CASE("a receiver that may not write says so") {
    if (!SmallDisk::possible()) {
        return;
    }
    const char* const what = GENERATE("old", "new");
    SmallDisk disk("mkdir old && printf old > old/file && mount -o remount,ro .");
    const TempDir source;
    source.write_file(std::string(what) + "/file", "content");
    const Finished sent = send(disk.receiver(), {"--quiet", source.path(what)});
    INFO(sent.err);
    CHECK(sent.code == 11);
    CHECK(sent.err.find("ead-only file system") != std::string::npos);
    CHECK(std::count(sent.err.begin(), sent.err.end(), '\n') == 1);
    CHECK(std::filesystem::file_size(disk.path("old/file")) == 3);
    CHECK_FALSE(disk.exists("new"));
    // Nothing to write is no trouble.
    std::filesystem::copy(disk.path("old"), source.path("same"));
    CHECK(send(disk.receiver(), {"--dry-run", source.path("same")}).code == 0);
}

TEST_CASE("a receiver with few descriptors survives what it cannot do and serves again") {
    if (run({"prlimit", "--version"}).code != 0) {
        std::cout << "skipped: prlimit is not installed\n";
        return;
    }
    const TempDir inbox;
    ReceiverProcess receiver(ReceiverProcess::Command{
        {"prlimit", "--nofile=40", kRecvProgram, "--port", "0", inbox.path()}});
    const std::size_t before = receiver.process().open_descriptors();
    const TempDir source;
    for (int directory = 0; directory < 100; ++directory) {
        source.write_file("tree/" + std::to_string(directory) + "/small", "content");
    }
    source.write_file("tree/large", std::string(kMiB, 'L'));
    for (const char* const path : {"", "sub/"}) {
        const Finished sent = send(receiver, {source.path("tree")}, path);
        INFO(sent.err);
        CHECK((sent.code == 0 || sent.err.find("oo many open files") != std::string::npos));
    }
    inbox.remove("tree");
    inbox.remove("sub");
    source.write_file("one/file", "content");
    { // more silent connections than it has descriptors
        std::vector<RawPeer> silent;
        for (int count = 0; count < 60; ++count) {
            silent.push_back(RawPeer::connect(receiver.port(), proto::Role::control));
        }
        eventually("it serves all the same",
                   [&] { return send(receiver, {source.path("one")}).code == 0; });
        CHECK(inbox.read_file("one/file") == "content");
    }
    eventually("everything is closed",
               [&] { return receiver.process().open_descriptors() <= before + 2; });
    eventually("the work area is gone", [&] { return !inbox.exists(".sluice"); });
    receiver.process().signal(SIGTERM);
    CHECK(receiver.process().wait() == 0);
}
