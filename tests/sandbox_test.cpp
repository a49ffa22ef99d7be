// The walls around a receiver, tried from the inside. In child processes: there is no way out.
#include "common/sanitized.hpp"
#include "receiver/sandbox.hpp"
#include "receiver/work_area.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/support/unprivileged.hpp"

#include <catch2/catch.hpp>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <functional>
#include <future>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <thread>

using namespace sluice;
using namespace sluice::test;

namespace {

bool can_confine() {
    const bool can = landlock_version() >= kMinLandlockVersion;
    if (!can) {
        std::cout << "skipped: this kernel's Landlock is missing or too old\n";
    }
    return can;
}

// A directory to be confined to, and things beside it.
struct Surroundings {
    TempDir directory;
    std::string inside = directory.path("inside");

    Surroundings() {
        directory.make_dir("inside/sub");
        directory.write_file("inside/file", "mine");
        directory.write_file("outside/file", "somebody's");
        directory.write_file("keys/key", "readable");
        directory.symlink("../outside", "inside/link");
    }
};

int opening(const std::string& path, int flags) {
    const int fd = ::open(path.c_str(), flags | O_CLOEXEC, 0600);
    const int error = fd < 0 ? errno : 0;
    if (fd >= 0) {
        ::close(fd);
    }
    return error;
}

void expect_error(int error, std::initializer_list<int> wanted, const std::string& what) {
    bool found = false;
    for (const int one : wanted) {
        found = found || error == one;
    }
    expect(found, what + ": " + (error == 0 ? "is allowed" : std::strerror(error)));
}

// Of a system call's result.
int error_of(long result) {
    return result < 0 ? errno : 0;
}

// Enters the sandbox as a receiver of `inside` does.
void enter(const Surroundings& around, bool discard = false) {
    Result<ReceiverRoot> root = open_root(around.inside);
    expect(bool(root), "open_root");
    expect(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "prctl");
    const Result<SandboxReport> report =
        enter_sandbox(SandboxMode::required,
                      {discard ? -1 : root->fd.get(), {around.directory.path("keys/key")}});
    expect(bool(report), report ? "" : report.error().message);
    expect(report->missing.empty() && !report->applied.empty(), "nothing was applied");
}

void expect_files_confined(const Surroundings& around) {
    const std::string outside = around.directory.path("outside");
    expect_error(opening(outside + "/file", O_RDONLY), {EACCES}, "reading outside");
    expect_error(opening(outside + "/file", O_WRONLY), {EACCES}, "writing outside");
    expect_error(opening(outside + "/new", O_WRONLY | O_CREAT), {EACCES}, "creating outside");
    expect_error(opening(outside, O_RDONLY | O_DIRECTORY), {EACCES}, "listing outside");
    expect_error(opening(around.inside + "/link/file", O_WRONLY), {EACCES}, "through a link");
    expect_error(error_of(::mkdir((outside + "/d").c_str(), 0700)), {EACCES}, "mkdir outside");
    expect_error(error_of(::unlink((outside + "/file").c_str())), {EACCES}, "unlink outside");
    expect_error(error_of(::symlink("x", (outside + "/l").c_str())), {EACCES}, "symlink outside");
    expect_error(error_of(::rename((around.inside + "/file").c_str(), (outside + "/r").c_str())),
                 {EACCES, EXDEV}, "rename to the outside");
    expect_error(error_of(::rename((outside + "/file").c_str(), (around.inside + "/r").c_str())),
                 {EACCES, EXDEV}, "rename from the outside");
    expect_error(error_of(::mkfifo((around.inside + "/fifo").c_str(), 0600)), {EACCES, EPERM},
                 "a FIFO");
    expect_error(opening("/etc/passwd", O_RDONLY), {EACCES}, "reading the system's files");
}

} // namespace

TEST_CASE("inside the sandbox a receiver can do in its directory what it needs to") {
    if (!can_confine()) {
        return;
    }
    const Surroundings around;
    CHECK(in_child([&] {
              enter(around);
              const std::string& in = around.inside;
              expect_error(opening(in + "/sub/new", O_RDWR | O_CREAT | O_EXCL), {0}, "create");
              expect_error(opening(in + "/file", O_WRONLY | O_TRUNC), {0}, "truncate");
              expect_error(error_of(::mkdir((in + "/d").c_str(), 0700)), {0}, "mkdir");
              expect_error(error_of(::symlink("../../x", (in + "/d/l").c_str())), {0}, "symlink");
              expect_error(error_of(::rename((in + "/sub/new").c_str(), (in + "/d/n").c_str())),
                           {0}, "rename to another directory");
              expect_error(error_of(::rename((in + "/d").c_str(), (in + "/sub/d").c_str())), {0},
                           "rename of a directory");
              expect_error(error_of(::unlink((in + "/sub/d/n").c_str())), {0}, "unlink");
              expect_error(opening("/dev/null", O_WRONLY), {0}, "/dev/null");
              expect_error(opening("/proc/sys/kernel/random/boot_id", O_RDONLY), {0}, "boot id");
          }) == "");
}

TEST_CASE("inside the sandbox nothing outside the directory can be touched") {
    if (!can_confine()) {
        return;
    }
    const Surroundings around;
    CHECK(in_child([&] {
              enter(around);
              expect_files_confined(around);
          }) == "");
    CHECK(around.directory.read_file("outside/file") == "somebody's");
    CHECK(around.directory.list("outside").size() == 1);
}

TEST_CASE("threads that begin inside the sandbox are inside as well") {
    if (!can_confine()) {
        return;
    }
    const Surroundings around;
    CHECK(in_child([&] {
              enter(around);
              std::string trouble;
              std::thread([&] {
                  try {
                      expect_files_confined(around);
                  } catch (const std::exception& error) {
                      trouble = error.what();
                  }
              }).join();
              expect(trouble.empty(), trouble);
          }) == "");
}

TEST_CASE("threads that began before the sandbox lose the same system calls") {
    if (!can_confine()) {
        return;
    }
    const Surroundings around;
    CHECK(in_child([&] {
              std::promise<void> inside;
              int error = 0;
              std::thread earlier([&] {
                  inside.get_future().wait();
                  error = error_of(::syscall(SYS_process_vm_readv, ::getppid(), nullptr, 0, nullptr,
                                             0, 1)); // a flag that there is not: EINVAL if allowed
              });
              std::string trouble;
              try {
                  enter(around);
              } catch (const std::exception& failure) {
                  trouble = failure.what();
              }
              inside.set_value();
              earlier.join();
              expect(trouble.empty(), trouble);
              expect_error(error, {EPERM}, "process_vm_readv");
          }) == "");
}

TEST_CASE("inside the sandbox files to be read again can be read, also new ones in their place") {
    if (!can_confine()) {
        return;
    }
    const Surroundings around;
    CHECK(in_child([&] {
              enter(around);
              const std::string keys = around.directory.path("keys");
              expect_error(opening(keys + "/key", O_RDONLY), {0}, "reading the key");
              expect_error(opening(keys + "/key", O_WRONLY), {EACCES}, "writing the key");
              expect_error(opening(keys + "/new", O_WRONLY | O_CREAT), {EACCES}, "a new key");
              expect_error(opening(keys, O_RDONLY | O_DIRECTORY), {EACCES}, "listing the keys");
          }) == "");
}

TEST_CASE("a receiver that discards can write nothing at all") {
    if (!can_confine()) {
        return;
    }
    const Surroundings around;
    CHECK(in_child([&] {
              enter(around, true);
              expect_files_confined(around);
              expect_error(opening(around.inside + "/file", O_WRONLY), {EACCES}, "writing");
              expect_error(opening(around.inside + "/new", O_WRONLY | O_CREAT), {EACCES}, "new");
              expect_error(opening("/dev/null", O_WRONLY), {0}, "/dev/null");
          }) == "");
}

TEST_CASE("inside the sandbox there are no new programs, sockets and processes to look into") {
    if (!can_confine()) {
        return;
    }
    const Surroundings around;
    CHECK(
        in_child([&] {
            const int made = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
            expect(made >= 0, "socket");
            enter(around);
            sockaddr_in address{};
            address.sin_family = AF_INET;
            address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
            address.sin_port = htons(9);
            const auto* const generic = reinterpret_cast<const sockaddr*>(&address);
            expect_error(error_of(::connect(made, generic, sizeof address)), {EPERM, EACCES},
                         "connect");
            address.sin_port = 0;
            expect_error(error_of(::bind(made, generic, sizeof address)), {EPERM, EACCES}, "bind");
            expect_error(error_of(::listen(made, 1)), {EPERM}, "listen");
            expect_error(
                error_of(::chown((around.inside + "/file").c_str(), ::geteuid(), ::getegid())),
                {EPERM}, "chown");
            expect_error(
                error_of(::syscall(SYS_process_vm_readv, ::getppid(), nullptr, 0, nullptr, 0, 0)),
                {EPERM}, "process_vm_readv");
            expect_error(error_of(::syscall(SYS_io_uring_setup, 0, nullptr)), {ENOSYS}, "io_uring");
            if (!kSanitized) { // needs them for its reports
                expect_error(error_of(::execl("/bin/true", "true", nullptr)), {EPERM}, "execve");
                expect_error(error_of(::socket(AF_INET, SOCK_STREAM, 0)), {EPERM}, "socket");
            }
        }) == "");
}

TEST_CASE("every version of Landlock from the oldest of use on confines the files") {
    if (!can_confine()) {
        return;
    }
    const int newest = std::min(landlock_version(), 6);
    for (int version = kMinLandlockVersion; version <= newest; ++version) {
        INFO("version " << version);
        const Surroundings around;
        CHECK(in_child([&] {
                  Result<ReceiverRoot> root = open_root(around.inside);
                  expect(bool(root), "open_root");
                  expect(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "prctl");
                  const Status done = restrict_by_landlock(version, {root->fd.get(), {}});
                  expect(bool(done), done ? "" : done.error().message);
                  expect_files_confined(around);
                  expect_error(opening(around.inside + "/file", O_WRONLY | O_TRUNC), {0}, "write");
              }) == "");
    }
}

TEST_CASE("a sandbox that is switched off changes nothing") {
    const Surroundings around;
    CHECK(in_child([&] {
              const Result<SandboxReport> report = enter_sandbox(SandboxMode::off, {});
              expect(bool(report) && report->applied.empty() && report->missing.empty(), "report");
              const std::string outside = around.directory.path("outside");
              expect_error(opening(outside + "/new", O_WRONLY | O_CREAT), {0}, "creating outside");
          }) == "");
}
