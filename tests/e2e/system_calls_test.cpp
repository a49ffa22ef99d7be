// What the kernel sees of a large push: file bytes go through sendfile and splice and nothing else.
#include "common/unique_fd.hpp"
#include "tests/e2e/wrapped_receiver.hpp"

#include <fstream>
#include <iostream>
#include <sys/statvfs.h>

using namespace sluice;
using namespace sluice::test;

namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif
#else
constexpr bool kSanitized = false;
#endif

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

// What a trace says.
struct Trace {
    std::size_t calls = 0;
    std::size_t zero_copy = 0;          // sendfile and splice
    std::vector<std::string> forbidden; // other calls that move bytes of the file that is watched

    // `-y` writes a descriptor as 7</path/of/it>.
    Trace(const std::string& path, const std::string& watched) {
        std::ifstream lines(path);
        for (std::string line; std::getline(lines, line);) {
            const std::size_t name = line.find_first_not_of("0123456789 ");
            if (name == std::string::npos || line[name] == '+' || line[name] == '-' ||
                line[name] == '<') { // exit, signal, the second half of a call
                continue;
            }
            ++calls;
            const std::string call = line.substr(name, line.find('(', name) - name);
            if (call == "sendfile" || call == "splice") {
                ++zero_copy;
            } else if (line.find('<' + watched) != std::string::npos &&
                       (call.find("read") != std::string::npos ||
                        call.find("write") != std::string::npos ||
                        call.find("copy") != std::string::npos ||
                        call.find("mmap") != std::string::npos)) {
                forbidden.push_back(line);
            }
        }
    }
};

struct Traced {
    Trace sender;
    Trace receiver;
};

Traced push_traced(const TempDir& directory, const std::string& send_path,
                   const std::string& receive_path) {
    const auto strace = [&](const char* file) {
        return std::vector<std::string>{"strace", "-f", "-qq", "-y", "-o", directory.path(file)};
    };
    directory.make_dir("inbox");
    auto command = strace("receiver.trace");
    for (const std::string& argument :
         {std::string(SLUICE_RECV), std::string("--port"), std::string("0"), std::string("--once"),
          std::string("--receive-path"), receive_path, directory.path("inbox")}) {
        command.push_back(argument);
    }
    WrappedReceiver receiver(std::move(command));
    command = strace("sender.trace");
    for (const std::string& argument :
         receiver.send_command({"--send-path", send_path, directory.path("source")})) {
        command.push_back(argument);
    }
    const Finished sent = run(std::move(command));
    INFO(sent.err);
    REQUIRE(sent.code == 0);
    REQUIRE(receiver.process().wait() == 0);
    CHECK(same_content(directory.path("source"), directory.path("inbox/source")));
    return {Trace(directory.path("sender.trace"), directory.path("source")),
            Trace(directory.path("receiver.trace"), directory.path("inbox"))};
}

} // namespace

TEST_CASE("a large file goes through sendfile and splice alone, with few system calls") {
    if (!possible()) {
        return;
    }
    const TempDir directory;
    make_source(directory, size_that_fits(directory));
    const Traced traced = push_traced(directory, "sendfile", "splice");
    CHECK(traced.sender.forbidden == std::vector<std::string>{});
    CHECK(traced.receiver.forbidden == std::vector<std::string>{});
    CHECK(traced.sender.zero_copy > 0);
    CHECK(traced.receiver.zero_copy > 0);
    CHECK(traced.sender.calls < kMostCalls);
    CHECK(traced.receiver.calls < kMostCalls);
}

TEST_CASE("the copying paths bring the same bytes without sendfile and splice") {
    if (!possible()) {
        return;
    }
    const TempDir directory;
    make_source(directory, kGiB / 4);
    const Traced traced = push_traced(directory, "copy", "copy");
    CHECK(traced.sender.zero_copy == 0);
    CHECK(traced.receiver.zero_copy == 0);
    CHECK_FALSE(traced.sender.forbidden.empty()); // which shows that such calls are seen
    CHECK_FALSE(traced.receiver.forbidden.empty());
}
