// -z auto: what arrives is what was sent, whatever it decides; on a slow path text is compressed,
// and data that does not shrink never is. That nothing is compressed on a fast path is a matter of
// timing, and asserted of the policy alone.
#include "tests/e2e/checks.hpp"
#include "tests/e2e/events.hpp"
#include "tests/support/chaos_proxy.hpp"
#include "tests/support/programs.hpp"
#include "tests/support/tree.hpp"

#include <catch2/catch.hpp>
#include <cstdint>
#include <fcntl.h>
#include <string>
#include <unistd.h>
#include <vector>

using namespace sluice::test;

namespace {

constexpr std::size_t kLarge = std::size_t{12} << 20;

std::uint16_t number(const std::string& port) {
    return static_cast<std::uint16_t>(std::stoul(port));
}

// About 6 MB/s for each connection: a pause after every 64 KiB.
ConnectionPlan slow_path() {
    constexpr std::uint64_t kStep = std::uint64_t{64} << 10;
    ConnectionPlan plan;
    for (std::uint64_t at = kStep; at < 3 * kLarge; at += kStep) {
        plan.faults.push_back(
            {FaultKind::delay, Way::to_server, at, std::chrono::milliseconds{10}});
    }
    return plan;
}

std::string text_bytes(std::size_t length) {
    std::string text;
    for (std::size_t line = 0; text.size() < length; ++line) {
        text += "line " + std::to_string(line * line % 9973) + " of what people write\n";
    }
    text.resize(length);
    return text;
}

// Text and noise, large and small, and holes.
void write_sources(const TempDir& at) {
    at.write_file("tree/text", text_bytes(kLarge));
    at.write_file("tree/noise", random_bytes(kLarge / 4, 1));
    at.write_file("tree/both",
                  text_bytes(kLarge / 8) + random_bytes(kLarge / 8, 2) + text_bytes(kLarge / 8));
    at.make_hole("tree/sparse", static_cast<off_t>(kLarge));
    const int file = ::open(at.path("tree/sparse").c_str(), O_WRONLY | O_CLOEXEC);
    REQUIRE(file >= 0);
    for (const std::size_t offset : {std::size_t{0}, kLarge / 2}) {
        const std::string data = text_bytes(300'000);
        CHECK(::pwrite(file, data.data(), data.size(), static_cast<off_t>(offset)) ==
              static_cast<ssize_t>(data.size()));
    }
    ::close(file);
    for (int count = 0; count < 200; ++count) {
        const std::string name = std::to_string(count);
        at.write_file("tree/small/" + name, text_bytes(static_cast<std::size_t>(count) * 100));
        at.write_file("tree/noisy/" + name, random_bytes(2000, static_cast<std::uint64_t>(count)));
    }
}

Json push(const std::string& port, const std::vector<std::string>& options,
          const std::string& source) {
    std::vector<std::string> arguments = options;
    arguments.insert(arguments.end(), {"-J", source});
    const Finished sent = run(send_command(port, arguments));
    INFO(sent.err);
    REQUIRE(sent.code == 0);
    return last_event(sent.out, "summary");
}

} // namespace

TEST_CASE("option -z auto brings everything over as it is, on a fast and on a slow path") {
    const bool slow = GENERATE(false, true);
    const std::string streams = GENERATE("1", "3");
    const TempDir source;
    const TempDir destination;
    const ReceiverProcess receiver(destination.path());
    const ChaosProxy proxy(number(receiver.port()),
                           [&](unsigned) { return slow ? slow_path() : ConnectionPlan{}; });
    write_sources(source);
    const Json summary = push(proxy.port(), {"-z", "auto", "-P", streams}, source.path("tree"));
    CHECK(summary["verified"] == true);
    CHECK(differences(describe_tree(source), describe_tree(destination), {true, false}) == "");
}

TEST_CASE("option -z auto compresses text on a slow path, and never what does not shrink") {
    const TempDir source;
    const TempDir destination;
    const ReceiverProcess receiver(destination.path());
    const ChaosProxy proxy(number(receiver.port()), [](unsigned) { return slow_path(); });
    // More than the buffers of the sockets hold, which look like a fast path.
    constexpr std::size_t kSmall = 40'000;
    constexpr std::size_t kFiles = 2 * kLarge / kSmall;
    source.write_file("text", text_bytes(2 * kLarge));
    source.write_file("noise", random_bytes(kLarge, 1));
    for (std::size_t count = 0; count < kFiles; ++count) {
        const std::string name = std::to_string(count);
        source.write_file("texts/" + name, text_bytes(kSmall));
        source.write_file("noises/" + name, random_bytes(kSmall / 2, count));
    }
    const std::vector<std::string> options{"--compress=auto"};
    const Json text = push(proxy.port(), options, source.path("text"));
    CHECK(text["sender"]["bytes"]["zstd"].get<std::size_t>() > kLarge / 2);
    CHECK(text["sender"]["zstd_bytes_on_wire"].get<std::size_t>() < kLarge / 2);
    const Json texts = push(proxy.port(), options, source.path("texts"));
    CHECK(texts["sender"]["bytes"]["zstd"].get<std::size_t>() > kLarge / 2);
    for (const char* name : {"noise", "noises"}) {
        const Json noise = push(proxy.port(), options, source.path(name));
        CHECK(noise["sender"]["bytes"]["zstd"] == 0);
        CHECK(noise["sender"]["zstd_bytes_on_wire"] == 0);
    }
    CHECK(differences(describe_tree(source), describe_tree(destination), {true, false}) == "");
}

TEST_CASE("what a lost connection took with it is sent again, compressed or not") {
    const std::string level = GENERATE("--compress=auto", "--compress=9");
    const TempDir source;
    const TempDir destination;
    const ReceiverProcess receiver(destination.path());
    // The control connection comes first. Text is short on the wire.
    const ChaosProxy proxy(number(receiver.port()), [&](unsigned index) {
        ConnectionPlan plan = slow_path();
        if (index == 1 || index == 2) {
            plan.faults.insert(plan.faults.begin() + 1,
                               {FaultKind::reset, Way::to_server, 100'000});
        }
        return plan;
    });
    write_sources(source);
    const Json summary = push(proxy.port(), {level}, source.path("tree"));
    CHECK(summary["reconnected_streams"].get<int>() >= 1);
    CHECK(differences(describe_tree(source), describe_tree(destination), {true, false}) == "");
}

TEST_CASE("option -z auto can be given as a word of its own, and attached") {
    const TempDir source;
    const TempDir destination;
    const ReceiverProcess receiver(destination.path());
    source.write_file("auto", "content");
    const std::vector<std::string> words = GENERATE(
        std::vector<std::string>{"-z", "auto"}, std::vector<std::string>{"-zauto"},
        std::vector<std::string>{"-z=auto"}, std::vector<std::string>{"--compress", "auto"},
        std::vector<std::string>{"--compress=auto"});
    static_cast<void>(push(receiver.port(), words, source.path("auto")));
    CHECK(differences(describe_tree(source), describe_tree(destination), {true, false}) == "");
}

TEST_CASE("with -v option -z auto says what it chose") {
    const TempDir source;
    const TempDir destination;
    const ReceiverProcess receiver(destination.path());
    const ChaosProxy proxy(number(receiver.port()), [](unsigned) { return slow_path(); });
    source.write_file("text", text_bytes(2 * kLarge));
    const Finished sent =
        run(send_command(proxy.port(), {"-v", "-z", "auto", source.path("text")}));
    INFO(sent.err);
    REQUIRE(sent.code == 0);
    CHECK(contains(sent.err, "compressing at level "));
}
