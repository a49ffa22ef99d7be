// What there is to measure without disks: made-up sources, and receivers that keep nothing. Both do
// everything else that a push does.
#include "sender/generated.hpp"
#include "tests/e2e/checks.hpp"
#include "tests/e2e/events.hpp"
#include "tests/e2e/on_the_way.hpp"
#include "tests/support/programs.hpp"
#include "tests/support/tree.hpp"

#include <catch2/catch.hpp>
#include <string>
#include <vector>

using namespace sluice;
using namespace sluice::test;

namespace {

constexpr std::uint64_t kMemory = kGeneratedMemoryBytes;

std::string generated_bytes(std::size_t length) {
    std::string bytes(length, '\0');
    generate(0, std::as_writable_bytes(std::span(bytes)));
    return bytes;
}

// Of a push that succeeded.
Json push(const std::string& port, std::vector<std::string> arguments,
          const std::string& path = "") {
    arguments.insert(arguments.begin(), "-J");
    const Finished sent = run(send_command(port, arguments, path));
    INFO(sent.err);
    REQUIRE(sent.code == 0);
    return last_event(sent.out, "summary");
}

std::string number(std::uint64_t value) {
    return std::to_string(value);
}

} // namespace

TEST_CASE("a made-up file arrives as a file with that content, whatever its size") {
    const TempDir inbox;
    const ReceiverProcess receiver(inbox.path());
    const std::size_t size = GENERATE(as<std::size_t>{}, 0, 1, 65'536, 65'537, kMemory - 1, kMemory,
                                      kMemory + 1, 4 * kMemory + 12'345);
    const Json summary = push(receiver.port(), {"-P", "3", "--generate", number(size)}, "made");
    CHECK(summary["bytes_sent"] == size);
    CHECK(summary["files_sent"] == 1);
    CHECK(summary["discarded"] == false);
    CHECK((inbox.read_file("made") == generated_bytes(size)));
}

TEST_CASE("a made-up file is sent by every path") {
    const TempDir inbox;
    const ReceiverProcess receiver(inbox.path());
    const std::size_t size = 2 * kMemory + 99;
    const auto option = GENERATE(as<std::string>{}, "--send-path=sendfile", "--send-path=copy",
                                 "--verify=none", "--compress=1", "--publish=file");
    push(receiver.port(), {option, "--generate", number(size)});
    CHECK((inbox.read_file("generated") == generated_bytes(size)));
}

TEST_CASE("a made-up file that is there need not be sent again") {
    const TempDir inbox;
    const ReceiverProcess receiver(inbox.path());
    push(receiver.port(), {"--generate", "1M"});
    CHECK(push(receiver.port(), {"--generate", "1M"})["files_sent"] == 0);
    CHECK(push(receiver.port(), {"--generate", "1M", "--ignore-times"})["files_sent"] == 1);
    CHECK(push(receiver.port(), {"--generate", "2M"})["files_sent"] == 1);
}

TEST_CASE("connections that break in odd places do not mix up a made-up file") {
    const TempDir inbox;
    const ReceiverProcess receiver(inbox.path());
    // With one stream connection 1 carries the data; each one that replaces it breaks as well, and
    // after a loss extents become shorter.
    const ChaosProxy proxy(port_number(receiver), [](unsigned index) {
        return index >= 1 && index <= 4
                   ? ConnectionPlan{{{FaultKind::reset, Way::to_server, 3'000'001 * index}}, 0}
                   : ConnectionPlan{};
    });
    const std::size_t size = 4 * kMemory + 1;
    const Json summary =
        push(proxy.port(), {"-P", "1", "--retry-for", "60", "--generate", number(size)});
    CHECK(summary["reconnected_streams"] >= 1);
    CHECK((inbox.read_file("generated") == generated_bytes(size)));
}

TEST_CASE("a made-up file that was damaged on the way is sent again") {
    const TempDir inbox;
    const bool discard = GENERATE(false, true);
    const ReceiverProcess receiver(inbox.path(), discard ? std::vector<std::string>{"--discard"}
                                                         : std::vector<std::string>{});
    const ChaosProxy proxy(port_number(receiver),
                           one_fault(1, {FaultKind::flip, Way::to_server, kMemory + 4'000'000}));
    const std::size_t size = 3 * kMemory;
    const Json summary = push(proxy.port(), {"-P", "1", "--generate", number(size)});
    CHECK(proxy.counts().flips == 1);
    CHECK(summary["verified"] == true);
    CHECK(summary["resent_bytes"] == kMemory);
    CHECK(summary["bytes_sent"] == size + kMemory);
    CHECK(inbox.exists("generated") == !discard);
    if (!discard) {
        CHECK((inbox.read_file("generated") == generated_bytes(size)));
    }
}

TEST_CASE("what makes no sense with a made-up source is a usage error") {
    check_exit(run({kSendProgram, "--generate", "1M", "source", "127.0.0.1:"}), 1, "'source'");
    check_exit(run({kSendProgram, "--generate", "1M"}), 1, "HOST:[PATH]");
    check_exit(run({kSendProgram, "--generate", "much", "127.0.0.1:"}), 1, "'much'");
    check_exit(run({kSendProgram, "--generate", "16777216T", "127.0.0.1:"}), 1, "'16777216T'");
    check_exit(run({kSendProgram, "--generate", "1M", "--exclude", "x", "127.0.0.1:"}), 1,
               "--exclude");
}

TEST_CASE("what is discarded is received, verified, counted, and nowhere") {
    const TempDir source;
    source.write_file("tree/small", "four");
    source.write_file("tree/dir/empty", "");
    source.write_file("tree/large", random_bytes(3'000'000, 1));
    source.write_file("tree/text", std::string(2'000'000, 'x'));
    source.write_file("tree/sparse", "");
    REQUIRE(::truncate(source.path("tree/sparse").c_str(), 5'000'000) == 0);
    source.symlink("small", "tree/link");
    const TempDir inbox;
    const ReceiverProcess receiver(inbox.path(), {"--discard", "--json"});
    const auto options = GENERATE(
        values<std::vector<std::string>>({{}, {"-z"}, {"--verify", "none"}, {"--ignore-times"}}));
    std::vector<std::string> arguments = options;
    arguments.push_back(source.path("tree"));
    const Json summary = push(receiver.port(), arguments, "some/where/");
    CHECK(summary["discarded"] == true);
    CHECK(summary["verified"] == !contains(options.empty() ? "" : options[0], "--verify"));
    CHECK(summary["receiver"]["files"] == 5);
    CHECK(summary["receiver"]["directories"] == 2);
    CHECK(summary["receiver"]["symlinks"] == 1);
    // A second time: nothing is there already.
    CHECK(push(receiver.port(), arguments, "some/where/")["files_sent"] == 5);
    CHECK(std::filesystem::is_empty(inbox.path()));
}

TEST_CASE("both ends say that nothing is kept") {
    Process process({kRecvProgram, "--port", "0", "--discard", "--json"}); // without a directory
    eventually("the receiver listens", [&] { return contains(process.out(), "listening"); });
    const Json listening = events_of(process.out(), "listening").at(0);
    CHECK(listening["discards"] == true);
    CHECK(contains(process.err(), "nothing is stored"));
    const std::string address = listening["address"];
    const Finished sent =
        run(send_command(address.substr(address.rfind(':') + 1), {"--generate", "100K"}, "made"));
    CHECK(sent.code == 0);
    CHECK(contains(sent.err, "the receiver discards what it gets"));
    CHECK(contains(sent.err, "discarded by the receiver"));
    eventually("the session has ended", [&] { return contains(process.out(), "session_ended"); });
    const Json ended = events_of(process.out(), "session_ended").at(0);
    CHECK(ended["discarded"] == true);
    CHECK(ended["files"] == 1);
    CHECK(contains(process.err(), "received and discarded"));
}

TEST_CASE("a dry run against a receiver that discards would send everything") {
    const TempDir inbox;
    const ReceiverProcess receiver(inbox.path(), {"--discard"});
    const Json summary = push(receiver.port(), {"-n", "--generate", "1M"});
    CHECK(summary["would_send_bytes"] == 1 << 20);
}

TEST_CASE("storing and discarding exclude each other") {
    for (const std::vector<std::string>& option : std::vector<std::vector<std::string>>{
             {"--fsync"}, {"--digests", "list"}, {"--keep-partial", "1d"}, {"--min-free", "1G"}}) {
        std::vector<std::string> command{kRecvProgram, "--discard"};
        command.insert(command.end(), option.begin(), option.end());
        check_exit(run(command), 1, option[0]);
    }
    check_exit(run({kRecvProgram}), 1, "DIRECTORY");
    const TempDir inbox;
    const ReceiverProcess receiver(inbox.path(), {"--discard"});
    check_exit(run(send_command(receiver, {"--fsync", "--generate", "1"})), 5, "--fsync");
}
