// How the work is spread over data connections.
#include "tests/e2e/checks.hpp"
#include "tests/e2e/events.hpp"
#include "tests/support/chaos_proxy.hpp"
#include "tests/support/programs.hpp"
#include "tests/support/tree.hpp"

#include <catch2/catch.hpp>
#include <chrono>
#include <string>
#include <vector>

using namespace sluice::test;

TEST_CASE("a large file is shared by streams with nothing to do where the path is slow") {
    const TempDir source;
    const TempDir destination;
    constexpr std::size_t kMebibyte = std::size_t{1} << 20;
    source.write_file("file", random_bytes(24 * kMebibyte, 1));
    const ReceiverProcess receiver(destination.path());
    // Does no harm, and counts the data connections that get that far.
    ConnectionPlan plan;
    plan.faults.push_back(
        {FaultKind::delay, Way::to_server, 3 * kMebibyte, std::chrono::milliseconds{1}, 0});
    const ChaosProxy proxy(static_cast<std::uint16_t>(std::stoi(receiver.port())),
                           [&](unsigned) { return plan; });
    const Finished sent =
        run(send_command(proxy.port(), {"-P", "4", "--bwlimit", "12M", source.path("file")}, ""));
    INFO(sent.err);
    CHECK(sent.code == 0);
    CHECK(destination.read_file("file") == source.read_file("file"));
    CHECK(proxy.counts().delays >= 2);
}

TEST_CASE("the number of streams is chosen, and said, unless it is given") {
    const TempDir source;
    const TempDir destination;
    source.write_file("file", "content");
    const ReceiverProcess receiver(destination.path());
    const auto streams = [&](const std::vector<std::string>& options) {
        std::vector<std::string> arguments{"-J", "-v", "--ignore-times"};
        arguments.insert(arguments.end(), options.begin(), options.end());
        arguments.push_back(source.path("file"));
        const Finished sent = send(receiver, arguments);
        INFO(sent.err);
        REQUIRE(sent.code == 0);
        return last_event(sent.out, "summary")["streams"].get<int>();
    };
    CHECK(streams({}) == 2);
    CHECK(streams({"-P", "auto"}) == 2);
    CHECK(streams({"--streams=1"}) == 1);
    CHECK(streams({"-P", "7"}) == 7);

    const Finished said = send(receiver, {"-v", source.path("file")});
    CHECK(said.err.find("2 data connections for a round trip of 0.") != std::string::npos);
    for (const char* const wrong : {"0", "65", "many", "-1", "1.5", ""}) {
        const Finished refused =
            send(receiver, {std::string("--streams=") + wrong, source.path("file")});
        CHECK(refused.code == 1);
        CHECK(refused.err.find("--streams: '" + std::string(wrong) +
                               "' is not auto or a number from 1 to 64") != std::string::npos);
    }
}

TEST_CASE("many pushes at once that share the receiver's threads all go on to their end") {
    constexpr int kPushes = 16;
    const TempDir inbox;
    const ReceiverProcess receiver(inbox.path(), {"--discard", "--max-sessions", "64"});
    std::vector<std::unique_ptr<Process>> senders;
    for (int count = 0; count < kPushes; ++count) {
        // A connection that is forgotten would be given up after the timeout.
        senders.push_back(std::make_unique<Process>(send_command(
            receiver.port(),
            {"--verify=none", "--timeout", "5", "--retry-for", "0", "--generate", "64M"}, "")));
    }
    for (const auto& sender : senders) {
        INFO(sender->err());
        CHECK(sender->wait() == 0);
    }
}
