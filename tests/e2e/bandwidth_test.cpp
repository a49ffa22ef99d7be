// --bwlimit: how fast, and what else must not change however slow it is. Only lower bounds of times
// are certain: a busy machine is slower than the limit, never faster.
#include "tests/e2e/checks.hpp"
#include "tests/e2e/events.hpp"
#include "tests/support/programs.hpp"
#include "tests/support/tree.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <string>
#include <vector>

using namespace sluice::test;

namespace {

constexpr std::size_t kMebibyte = std::size_t{1} << 20;
constexpr std::size_t kKibibyte = 1024;

// A receiver, and a sender's last event after it has succeeded.
struct Place {
    TempDir source;
    TempDir destination;

    Json push(const ReceiverProcess& receiver, std::vector<std::string> arguments,
              const std::string& name) const {
        arguments.emplace_back("-J");
        arguments.push_back(source.path(name));
        const Finished sent = send(receiver, arguments);
        INFO(sent.err);
        REQUIRE(sent.code == 0);
        return last_event(sent.out, "summary");
    }
    void check_arrived(const std::string& name) const {
        CHECK(destination.read_file(name) == source.read_file(name));
    }
};

// The least time that so many bytes can take.
double least_seconds(std::size_t bytes, std::size_t rate) {
    return static_cast<double>(bytes) / static_cast<double>(rate) / 1.03;
}

} // namespace

TEST_CASE("all streams together keep to --bwlimit, whichever path the bytes take") {
    const std::string path = GENERATE("sendfile", "copy");
    const Place place;
    const ReceiverProcess receiver(place.destination.path());
    place.source.write_file("tree/one", random_bytes(2 * kMebibyte, 1));
    place.source.write_file("tree/two", random_bytes(kMebibyte, 2));
    for (int count = 0; count < 20; ++count) {
        place.source.write_file("tree/small/" + std::to_string(count),
                                random_bytes(50 * kKibibyte, 3));
    }
    const std::size_t bytes = 3 * kMebibyte + 20 * 50 * kKibibyte;
    const Json summary = place.push(
        receiver, {"-P", "4", "--bwlimit", "4M", "--send-path", path, "--verify", "none"}, "tree");
    CHECK(summary["bytes_sent"] == bytes);
    CHECK(summary["seconds"].get<double>() >= least_seconds(bytes, 4 * kMebibyte));
    CHECK(differences(describe_tree(place.source, "tree"),
                      describe_tree(place.destination, "tree")) == "");
}

TEST_CASE("what counts for --bwlimit is what travels, so compression makes a push faster") {
    const Place place;
    const ReceiverProcess receiver(place.destination.path());
    place.source.write_file("text", std::string(40 * kMebibyte, 'x'));
    const Json summary = place.push(receiver, {"-z", "--bwlimit", "1M"}, "text");
    CHECK(summary["seconds"].get<double>() < least_seconds(40 * kMebibyte, kMebibyte));
    place.check_arrived("text");
}

TEST_CASE("an extent that takes several timeouts to send is no reason to give anything up") {
    const Place place;
    const ReceiverProcess receiver(place.destination.path(), {"--timeout", "0.6"});
    place.source.write_file("file", random_bytes(80 * kKibibyte, 1));
    Process sender(send_command(receiver, {"-J", "-P", "8", "--timeout", "0.6", "--bwlimit", "25K",
                                           place.source.path("file")}));
    INFO(sender.err());
    REQUIRE(sender.wait() == 0);
    const Json summary = last_event(sender.out(), "summary");
    CHECK(summary["seconds"].get<double>() >= least_seconds(80 * kKibibyte, 25 * kKibibyte));
    CHECK(summary["reconnects"] == 0);
    CHECK(summary["reconnected_streams"] == 0);
    CHECK(summary["resent_bytes"] == 0);
    place.check_arrived("file");

    // The extent is shown as it goes, not when it has gone.
    std::vector<std::uint64_t> shown;
    for (const Json& event : events_of(sender.out(), "progress")) {
        shown.push_back(event["bytes"].get<std::uint64_t>());
    }
    CHECK(std::ranges::is_sorted(shown));
    CHECK(std::ranges::any_of(
        shown, [](std::uint64_t bytes) { return bytes > 0 && bytes < 80 * kKibibyte; }));
}

TEST_CASE("a limited push is interrupted at once") {
    const Place place;
    const ReceiverProcess receiver(place.destination.path());
    place.source.write_file("file", random_bytes(4 * kMebibyte, 1));
    Process sender(send_command(receiver, {"-v", "--bwlimit", "1K", place.source.path("file")}));
    eventually("it has connected", [&] { return contains(sender.err(), "accepted the session"); });
    sender.signal(SIGINT);
    CHECK(sender.wait() == 20);
}

TEST_CASE("a limit of the rate outlives the loss of a session") {
    const Place place;
    place.source.write_file("file", random_bytes(4 * kMebibyte, 1));
    auto receiver = std::make_unique<ReceiverProcess>(place.destination.path());
    const std::string port = receiver->port();
    Process sender(send_command(
        port, {"-J", "-v", "--bwlimit", "2M", "--retry-for", "60", place.source.path("file")}));
    eventually("it is sending", [&] { return !events_of(sender.out(), "progress").empty(); });
    receiver->process().signal(SIGKILL);
    receiver->process().wait();
    receiver = std::make_unique<ReceiverProcess>(place.destination.path(),
                                                 std::vector<std::string>{"--port", port});
    INFO(sender.err());
    REQUIRE(sender.wait() == 0);
    const Json summary = last_event(sender.out(), "summary");
    CHECK(summary["reconnects"] == 1);
    CHECK(summary["seconds"].get<double>() >= least_seconds(4 * kMebibyte, 2 * kMebibyte));
    place.check_arrived("file");
}

TEST_CASE("a rate that is none is a usage error that says what one looks like") {
    for (const std::string& rate :
         {std::string("fast"), std::string("-1"), std::string("1023"), std::string("1.5"),
          std::string("2T"), std::string("10M/s"), std::string("")}) {
        INFO(rate);
        check_exit(run({kSendProgram, "--bwlimit=" + rate, "/", "localhost:"}), 1,
                   "'" + rate + "' is not a rate in bytes per second such as 500K or 1.5M");
    }
}
