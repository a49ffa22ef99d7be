// What the kernel sees of a large push: file bytes go through sendfile and splice and nothing else.
#include "common/sanitized.hpp"
#include "common/unique_fd.hpp"
#include "tests/e2e/checks.hpp"
#include "tests/support/programs.hpp"

#include <fstream>
#include <iostream>
#include <sstream>
#include <sys/statvfs.h>

using namespace sluice;
using namespace sluice::test;

namespace {

constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;
constexpr std::size_t kMostCalls = 20'000;

bool possible() {
    if (kSanitized) {
        std::cout << "skipped: sanitizers make system calls of their own\n";
        return false;
    }
    if (run({"strace", "-V"}).code != 0) {
        std::cout << "skipped: strace is not installed\n";
        return false;
    }
    if (run({"strace", "-f", "-o", "/dev/null", "true"}).code != 0) {
        std::cout << "skipped: strace may not trace here\n";
        return false;
    }
    return true;
}

// 2 GiB, or less where source and destination would not fit.
std::uint64_t size_that_fits(const TempDir& directory) {
    struct statvfs status {};
    REQUIRE(::statvfs(directory.path().c_str(), &status) == 0);
    const std::uint64_t space = std::uint64_t{status.f_bavail} * status.f_frsize;
    return space > 6 * kGiB ? 2 * kGiB : kGiB / 4;
}

// Quick to make and without holes, with something in it here and there.
void make_source(const TempDir& directory, std::uint64_t size) {
    directory.write_file("source", "");
    const auto file = UniqueFd::adopt(::open(directory.path("source").c_str(), O_RDWR));
    REQUIRE(::posix_fallocate(file.get(), 0, static_cast<off_t>(size)) == 0);
    for (std::uint64_t at = 0; at < size; at += std::uint64_t{64} << 20) {
        const std::string mark = "at " + std::to_string(at);
        REQUIRE(::pwrite(file.get(), mark.data(), mark.size(), static_cast<off_t>(at)) ==
                static_cast<ssize_t>(mark.size()));
    }
}

bool same_content(const std::string& left, const std::string& right) {
    return run({"cmp", left, right}).code == 0;
}

// What a trace of every call says.
struct Trace {
    std::size_t zero_copy = 0;          // sendfile and splice
    std::vector<std::string> forbidden; // other calls that move bytes of the file that is watched

    // `-y` writes a descriptor as 7</path/of/it>.
    Trace(const std::string& path, const std::string& watched) {
        std::ifstream lines(path);
        for (std::string line; std::getline(lines, line);) {
            const std::size_t name = line.find_first_not_of("0123456789 ");
            const std::size_t end = line.find('(');
            if (name == std::string::npos || end == std::string::npos || end < name) {
                continue; // an exit, a signal, the second half of a call
            }
            const std::string call = line.substr(name, end - name);
            if (call == "sendfile" || call == "splice") {
                ++zero_copy;
            } else if (line.find('<' + watched) != std::string::npos &&
                       line.find("/resume") == std::string::npos && // the receiver's journal
                       (call.find("read") != std::string::npos ||
                        call.find("write") != std::string::npos ||
                        call.find("copy") != std::string::npos ||
                        call.find("mmap") != std::string::npos)) {
                forbidden.push_back(line);
            }
        }
    }
};

// All calls of a summary (strace -c): the fourth column of its last line.
std::size_t count_calls(const std::string& path) {
    std::ifstream lines(path);
    for (std::string line; std::getline(lines, line);) {
        if (line.ends_with(" total")) {
            std::istringstream columns(line);
            std::string skipped;
            std::size_t calls = 0;
            columns >> skipped >> skipped >> skipped >> calls;
            return calls;
        }
    }
    FAIL("no total in the summary of strace");
    return 0;
}

// Pushes the source with strace on both ends; its output is in sender.trace and receiver.trace.
void push_traced(const TempDir& directory, const std::string& strace_option,
                 const std::string& send_path, const std::string& receive_path,
                 const std::string& verify) {
    const auto traced = [&](const char* output, const std::vector<std::string>& command) {
        std::vector<std::string> whole{"strace",     "-f", "-qq", "-o", directory.path(output),
                                       strace_option};
        whole.insert(whole.end(), command.begin(), command.end());
        return whole;
    };
    directory.make_dir("inbox");
    ReceiverProcess receiver(ReceiverProcess::Command{
        traced("receiver.trace", {kRecvProgram, "--port", "0", "--once", "--receive-path",
                                  receive_path, directory.path("inbox")})});
    const Finished sent =
        run(traced("sender.trace", send_command(receiver, {"--verify", verify, "--send-path",
                                                           send_path, directory.path("source")})));
    INFO(sent.err);
    REQUIRE(sent.code == 0);
    REQUIRE(receiver.process().wait() == 0);
    CHECK(same_content(directory.path("source"), directory.path("inbox/source")));
}

} // namespace

TEST_CASE("a push of 2 GiB takes few system calls on either side") {
    if (!possible()) {
        return;
    }
    const TempDir directory;
    make_source(directory, size_that_fits(directory));
    const std::string verify = GENERATE("digest", "none");
    push_traced(directory, "-c", "auto", "auto", verify);
    CHECK(count_calls(directory.path("sender.trace")) < kMostCalls);
    CHECK(count_calls(directory.path("receiver.trace")) < kMostCalls);
}

TEST_CASE(
    "the bytes of a large file go through sendfile and splice, and are read for digests only") {
    if (!possible()) {
        return;
    }
    const std::string verify = GENERATE("none", "digest");
    const TempDir directory;
    make_source(directory, kGiB / 4);
    push_traced(directory, "-y", "auto", "auto", verify);
    Trace sender(directory.path("sender.trace"), directory.path("source"));
    Trace receiver(directory.path("receiver.trace"), directory.path("inbox"));
    // One look per extent, at one byte of it, for whether the page cache has it.
    const std::size_t looks = std::erase_if(sender.forbidden, [](const std::string& line) {
        return contains(line, "preadv2(") &&
               (contains(line, "iov_len=1}], 1, ") || contains(line, "<unfinished"));
    });
    CHECK(looks <= kGiB / 4 / (8U << 20));
    if (verify == "digest") {
        for (Trace* const trace : {&sender, &receiver}) {
            // As many as one look at every byte takes: it is not copied by reading it.
            constexpr std::size_t kPieces = kGiB / 4 / (1U << 20);
            const std::size_t reads = std::erase_if(trace->forbidden, [](const std::string& line) {
                return contains(line, "pread64(");
            });
            CHECK(reads >= kPieces);
            CHECK(reads < kPieces + kPieces / 4);
        }
    }
    CHECK(sender.forbidden == std::vector<std::string>{});
    CHECK(receiver.forbidden == std::vector<std::string>{});
    CHECK(sender.zero_copy > 0);
    CHECK(receiver.zero_copy > 0);
}

TEST_CASE("the copying paths bring the same bytes without sendfile and splice") {
    if (!possible()) {
        return;
    }
    const TempDir directory;
    make_source(directory, kGiB / 4);
    push_traced(directory, "-y", "copy", "copy", "none");
    const Trace sender(directory.path("sender.trace"), directory.path("source"));
    const Trace receiver(directory.path("receiver.trace"), directory.path("inbox"));
    CHECK(sender.zero_copy == 0);
    CHECK(receiver.zero_copy == 0);
    CHECK_FALSE(sender.forbidden.empty()); // which shows that such calls are seen
    CHECK_FALSE(receiver.forbidden.empty());
}
