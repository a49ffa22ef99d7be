// Memory that does not grow with what is sent, at both ends.
#include "common/sanitized.hpp"
#include "tests/e2e/checks.hpp"
#include "tests/support/memory.hpp"
#include "tests/support/programs.hpp"

#include <memory>
#include <string>
#include <vector>

using namespace sluice;
using namespace sluice::test;

namespace {

bool possible() {
    if (kSanitized) {
        skip("sanitizers take memory of their own");
    }
    return !kSanitized;
}

// Runs a push to its end and checks what it took.
void push(const std::vector<std::string>& command) {
    Process sender(command);
    const int code = sender.wait();
    INFO(sender.err());
    REQUIRE(code == 0);
    CHECK(sender.usage().ru_maxrss <= kMostResidentKib);
}

} // namespace

TEST_CASE("a file of any size takes no memory to speak of") {
    if (!possible()) {
        return;
    }
    const TempDir unused;
    ReceiverProcess receiver(unused.path(), {"--discard"});
    for (const std::string option : {"--verify=none", "--verify=digest", "--compress=1"}) {
        push(send_command(receiver, {"-q", option, "--generate", "2G"}));
    }
    CHECK(peak_kib(receiver.process()) <= kMostResidentKib);
}

TEST_CASE("many files take no memory to speak of, nor do they where all are there already") {
    if (!possible()) {
        return;
    }
    constexpr int kFiles = 30'000;
    const TempDir source(TempDir::quick_base());
    for (int file = 0; file < kFiles; ++file) {
        source.write_file("tree/directory " + std::to_string(file / 500) + "/file with a name " +
                              std::to_string(file),
                          std::string(static_cast<std::size_t>(file % 3), 'x'));
    }
    const TempDir inbox(TempDir::quick_base());
    ReceiverProcess receiver(inbox.path());
    for (const std::string option : {"--publish=tree", "--publish=tree", "--ignore-times", "-z"}) {
        push(send_command(receiver, {"-q", option, source.path("tree")}));
    }
    CHECK(peak_kib(receiver.process()) <= kMostResidentKib);
}

TEST_CASE("many sessions at once share the receiver's memory") {
    if (!possible()) {
        return;
    }
    constexpr int kSessions = 64;
    const TempDir source(TempDir::quick_base());
    for (int file = 0; file < 300; ++file) {
        source.write_file("tree/" + std::to_string(file), std::string(20'000, 'x'));
    }
    const TempDir unused;
    ReceiverProcess receiver(unused.path(), {"--discard"});
    for (const std::vector<std::string>& what : std::vector<std::vector<std::string>>{
             {"--generate", "32M"}, {source.path("tree")}, {"-z", source.path("tree")}}) {
        std::vector<std::string> arguments{"-q"};
        arguments.insert(arguments.end(), what.begin(), what.end());
        std::vector<std::unique_ptr<Process>> senders;
        for (int session = 0; session < kSessions; ++session) {
            senders.push_back(std::make_unique<Process>(send_command(receiver, arguments)));
        }
        for (const auto& sender : senders) {
            const int code = sender->wait();
            INFO(sender->err());
            REQUIRE(code == 0);
        }
    }
    CHECK(peak_kib(receiver.process()) <= kMostResidentKib);
}
