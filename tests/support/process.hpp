// A program run by a test: its output is kept in files, its end is waited for with a time limit,
// and it does not outlive the test.
#pragma once

#include "tests/support/temp_dir.hpp"

#include <catch2/catch.hpp>
#include <chrono>
#include <csignal>
#include <fcntl.h>
#include <poll.h>
#include <string>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace sluice::test {

// The programs under test, found from where the tests are in the build directory: a path in a
// definition would keep compiler caches from working across directories.
inline std::string program_path(const char* from_tests) {
    return std::filesystem::read_symlink("/proc/self/exe").parent_path() / from_tests;
}
inline const std::string kSendProgram = program_path("../sender/sluice-send");
inline const std::string kRecvProgram = program_path("../receiver/sluice-recv");

class Process {
public:
    // Starts `arguments[0]` with standard output and error going to files in a directory of its
    // own. `environment` are "NAME=VALUE" on top of the environment of the test, for it alone.
    explicit Process(std::vector<std::string> arguments,
                     std::vector<std::string> environment = {}) {
        directory_.write_file("out", "");
        directory_.write_file("err", "");
        const std::string out = directory_.path("out");
        const std::string err = directory_.path("err");
        std::vector<char*> argv;
        for (std::string& argument : arguments) {
            argv.push_back(argument.data());
        }
        argv.push_back(nullptr);
        // Made before the fork: the child of a program with threads had better not allocate.
        std::vector<char*> envp;
        for (std::string& variable : environment) {
            envp.push_back(variable.data());
        }
        // Programs shall not find the key of whoever runs the tests.
        std::string no_key = "SLUICE_KEY_FILE=";
        envp.push_back(no_key.data());
        for (char** inherited = environ; *inherited != nullptr; ++inherited) {
            envp.push_back(*inherited); // the first of two with one name counts
        }
        envp.push_back(nullptr);
        pid_ = ::fork();
        if (pid_ == 0) {
            ::dup2(::open("/dev/null", O_RDONLY), STDIN_FILENO);
            ::dup2(::open(out.c_str(), O_WRONLY | O_APPEND), STDOUT_FILENO);
            ::dup2(::open(err.c_str(), O_WRONLY | O_APPEND), STDERR_FILENO);
            ::execvpe(argv[0], argv.data(), envp.data());
            ::_exit(127);
        }
        REQUIRE(pid_ > 0);
        // Readable once the process has ended (pidfd_open(2)); glibc 2.36 has a wrapper, older ones
        // do not.
        pidfd_ = static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0));
        REQUIRE(pidfd_ >= 0);
    }
    ~Process() {
        if (!reaped_) {
            ::kill(pid_, SIGKILL);
            ::waitpid(pid_, nullptr, 0);
        }
        ::close(pidfd_);
    }
    Process(const Process&) = delete;
    Process& operator=(const Process&) = delete;

    [[nodiscard]] pid_t pid() const noexcept { return pid_; }
    void signal(int number) const {
        if (!reaped_) {
            ::kill(pid_, number);
        }
    }

    // Whether the process ended within this time.
    [[nodiscard]] bool ends_within(std::chrono::milliseconds limit) const {
        pollfd watched{pidfd_, POLLIN, 0};
        return reaped_ || ::poll(&watched, 1, static_cast<int>(limit.count())) == 1;
    }
    // Waits for the end; a process that takes longer than two minutes fails the test. The exit
    // code, or 128 + the number of the signal that ended it.
    int wait() {
        if (!reaped_) {
            REQUIRE(ends_within(std::chrono::minutes{2}));
            int status = 0;
            REQUIRE(::wait4(pid_, &status, 0, &usage_) == pid_);
            reaped_ = true;
            code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        }
        return code_;
    }

    // What it has printed so far.
    [[nodiscard]] std::string out() const { return directory_.read_file("out"); }
    [[nodiscard]] std::string err() const { return directory_.read_file("err"); }

    // Descriptors that it has open now. Ours show them to nobody but root: 0 for anybody else, and
    // that they leak none is only seen where the tests run as root.
    [[nodiscard]] std::size_t open_descriptors() const {
        std::error_code unreadable;
        std::size_t count = 0;
        for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(
                 "/proc/" + std::to_string(pid_) + "/fd", unreadable)) {
            ++count;
        }
        return count;
    }
    // Of an ended process.
    [[nodiscard]] const rusage& usage() const noexcept { return usage_; }

private:
    TempDir directory_;
    pid_t pid_ = -1;
    int pidfd_ = -1;
    bool reaped_ = false;
    int code_ = -1;
    rusage usage_{};
};

// Runs to the end.
struct Finished {
    int code;
    std::string out;
    std::string err;
};
inline Finished run(std::vector<std::string> arguments) {
    Process process(std::move(arguments));
    const int code = process.wait();
    return {code, process.out(), process.err()};
}

// Polls, because what is waited for gives no sign, until `condition` holds; fails the test after
// half a minute.
template <typename Condition>
void eventually(const char* what, Condition condition) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds{30};
    while (!condition()) {
        INFO("waiting until " << what);
        REQUIRE(std::chrono::steady_clock::now() < deadline);
        ::usleep(2'000);
    }
}

} // namespace sluice::test
