// What a broken push has brought over is not sent again: not by the same sender, which comes back
// by itself, and not by another run of the same command.
#include "tests/e2e/checks.hpp"
#include "tests/e2e/events.hpp"
#include "tests/e2e/leftovers.hpp"
#include "tests/e2e/on_the_way.hpp"
#include "tests/support/tree.hpp"

#include <catch2/catch.hpp>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

using namespace sluice;
using namespace sluice::test;

namespace {

constexpr std::size_t kExtent = std::size_t{8} << 20; // as the sender cuts large files
constexpr std::size_t kBytes = 5 * kExtent + 1'234;
constexpr std::uint64_t kStallAt = 3 * kExtent; // in the third extent: two have come whole

// A push over one data connection, which stalls; until then the test looks for what has arrived.
struct Stalled {
    TempDir source;
    TempDir inbox;
    std::vector<std::string> arguments;
    std::string path;
    std::unique_ptr<ReceiverProcess> receiver;
    std::unique_ptr<ChaosProxy> proxy;
    std::unique_ptr<Process> sender;

    void start(std::vector<std::string> sent, std::string to = "",
               const std::vector<std::string>& receiver_options = {},
               std::uint64_t stall_at = kStallAt) {
        arguments = std::move(sent);
        path = std::move(to);
        receiver = std::make_unique<ReceiverProcess>(inbox.path(), receiver_options);
        proxy = std::make_unique<ChaosProxy>(port_number(*receiver), stall_data(stall_at));
        sender = std::make_unique<Process>(send_command(proxy->port(), all_arguments(), path));
    }
    // Of which the sender has been told.
    void await_two_extents() const {
        eventually("two extents are kept", [this] { return kept_bytes(inbox) >= 2 * kExtent; });
    }
    void kill_sender() {
        sender->signal(SIGKILL);
        sender->wait();
        proxy.reset(); // the receiver learns of it
    }
    // Once more, straight to the receiver.
    [[nodiscard]] Json run_again(const std::vector<std::string>& more = {}) {
        std::vector<std::string> all = all_arguments();
        all.insert(all.begin(), more.begin(), more.end());
        const Finished sent = send(*receiver, all, path);
        INFO(sent.err);
        REQUIRE(sent.code == 0);
        eventually("nothing is left", [this] { return !inbox.exists(".sluice"); });
        return last_event(sent.out, "summary");
    }
    [[nodiscard]] Json end_of_sender() const {
        const int code = sender->wait();
        INFO(sender->err());
        REQUIRE(code == 0);
        eventually("nothing is left", [this] { return !inbox.exists(".sluice"); });
        return last_event(sender->out(), "summary");
    }

private:
    [[nodiscard]] std::vector<std::string> all_arguments() const {
        std::vector<std::string> all{"-J", "-P", "1"};
        all.insert(all.end(), arguments.begin(), arguments.end());
        return all;
    }
};

// The sum of what was not sent, and what was.
void check_reused(const Json& summary, std::uint64_t least) {
    const auto reused = summary["reused_bytes"].get<std::uint64_t>();
    CHECK(reused >= least);
    CHECK(summary["bytes_sent"] == kBytes - reused);
    CHECK(summary["exit_code"] == 0);
}

} // namespace

TEST_CASE("a large file whose sender was killed is gone on with by the next run") {
    const std::string where = GENERATE("new tree", "old tree", "file", "renamed file");
    INFO(where);
    Stalled test;
    const bool tree = where == "new tree" || where == "old tree";
    const std::string name = tree ? "tree/dir/large" : "large";
    test.source.write_file(name, random_bytes(kBytes, 1));
    const std::string stored = where == "renamed file" ? "name" : name;
    if (where != "new tree") { // where the old content stays until the new is complete
        test.inbox.write_file(stored, "old");
    }
    test.start({test.source.path(tree ? "tree" : "large")}, where == "renamed file" ? "name" : "");
    test.await_two_extents();
    test.kill_sender();
    CHECK(test.inbox.exists(".sluice"));
    CHECK(test.inbox.exists(stored) == (where != "new tree"));
    const Json summary = test.run_again();
    check_reused(summary, 2 * kExtent);
    CHECK(summary["files_sent"] == 1);
    CHECK(summary["reconnects"] == 0);
    CHECK((test.inbox.read_file(stored) == test.source.read_file(name)));
    if (tree) {
        CHECK(differences(describe_tree(test.source), describe_tree(test.inbox), {true, false}) ==
              "");
    }
}

TEST_CASE("a sender whose receiver is killed and started again finishes by itself") {
    Stalled test;
    test.source.write_file("tree/large", random_bytes(kBytes, 1));
    test.source.write_file("tree/small", "small");
    test.start({"--retry-for", "30", test.source.path("tree")});
    test.await_two_extents();
    const std::string port = test.receiver->port();
    test.receiver->process().signal(SIGKILL);
    test.receiver->process().wait();
    eventually("the sender notices", [&] { return contains(test.sender->out(), "reconnecting"); });
    test.receiver = std::make_unique<ReceiverProcess>(test.inbox.path(),
                                                      std::vector<std::string>{"--port", port});
    CHECK(test.receiver->port() == port);
    const Json summary = test.end_of_sender();
    CHECK(summary["reused_bytes"].get<std::uint64_t>() >= 2 * kExtent);
    CHECK(summary["reconnects"] == 1);
    CHECK(contains(test.sender->err(), "lost the connection to "));
    CHECK(differences(describe_tree(test.source), describe_tree(test.inbox), {true, false}) == "");
}

TEST_CASE("a sender whose connections are all cut comes back and sends only what is missing") {
    const bool ignore_times = GENERATE(false, true); // leftovers of its own run are good for it
    Stalled test;
    test.source.write_file("tree/large", random_bytes(kBytes, 1));
    std::vector<std::string> arguments{test.source.path("tree")};
    if (ignore_times) {
        arguments.insert(arguments.begin(), "--ignore-times");
    }
    test.start(arguments);
    test.await_two_extents();
    test.proxy->reset_all();
    const Json summary = test.end_of_sender();
    CHECK(summary["reused_bytes"].get<std::uint64_t>() >= 2 * kExtent);
    CHECK(summary["reconnects"] == 1);
    CHECK(summary["reused_bytes"].get<std::uint64_t>() +
              summary["bytes_sent"].get<std::uint64_t>() >=
          kBytes);
    const std::vector<Json> reconnecting = events_of(test.sender->out(), "reconnecting");
    REQUIRE_FALSE(reconnecting.empty());
    CHECK(reconnecting[0]["attempt"] == 1);
    CHECK(differences(describe_tree(test.source), describe_tree(test.inbox), {true, false}) == "");
}

TEST_CASE("a source that changed since the push broke is sent afresh") {
    const std::string change = GENERATE("mtime", "only ctime", "size");
    INFO(change);
    Stalled test;
    test.source.write_file("large", random_bytes(kBytes, 1));
    test.source.set_mtime("large", 1'000'000'000);
    test.start({test.source.path("large")});
    test.await_two_extents();
    test.kill_sender();
    test.source.write_file("large", random_bytes(change == "size" ? kBytes + 1 : kBytes, 2));
    if (change == "only ctime") {
        test.source.set_mtime("large", 1'000'000'000);
    }
    const Json summary = test.run_again();
    CHECK(summary["reused_bytes"] == 0);
    CHECK(summary["bytes_sent"] == test.source.status("large").st_size);
    CHECK((test.inbox.read_file("large") == test.source.read_file("large")));
}

TEST_CASE("with --keep-partial 0 nothing stays, and the next run sends everything") {
    Stalled test;
    test.source.write_file("large", random_bytes(kBytes, 1));
    test.start({test.source.path("large")}, "", {"--keep-partial", "0"});
    eventually("something has arrived", [&] { return kept_bytes(test.inbox) > kExtent; });
    test.kill_sender();
    eventually("nothing is left", [&] { return !test.inbox.exists(".sluice"); });
    CHECK(test.inbox.list().empty());
    CHECK(test.run_again()["reused_bytes"] == 0);
    CHECK((test.inbox.read_file("large") == test.source.read_file("large")));
}

TEST_CASE("leftovers that are older than --keep-partial are removed when a receiver starts") {
    Stalled test;
    test.source.write_file("large", random_bytes(kBytes, 1));
    test.start({test.source.path("large")});
    test.await_two_extents();
    test.kill_sender();
    test.receiver->stop();
    const std::string session = ".sluice/" + test.inbox.list(".sluice").at(0);
    const timespec now = test.inbox.status(session).st_mtim;
    const auto age = [&](time_t seconds) {
        for (const std::string& name : {session, session + "/resume"}) {
            test.inbox.set_mtime(name, now.tv_sec - seconds);
        }
    };
    const std::vector<std::string> an_hour{"--keep-partial", "1h"};
    age(3'000);
    ReceiverProcess(test.inbox.path(), an_hour).stop();
    CHECK(kept_bytes(test.inbox) >= 2 * kExtent);
    age(4'000);
    const ReceiverProcess next(test.inbox.path(), an_hour);
    CHECK(test.inbox.list().empty());
}

TEST_CASE("with --ignore-times nothing of another run is reused") {
    Stalled test;
    test.source.write_file("tree/large", random_bytes(kBytes, 1));
    test.source.write_file("tree/small", "small");
    test.start({test.source.path("tree")});
    test.await_two_extents();
    test.kill_sender();
    const Json summary = test.run_again({"--ignore-times"});
    CHECK(summary["reused_bytes"] == 0);
    CHECK(summary["reused_files"] == 0);
    CHECK(summary["files_sent"] == 2);
    CHECK(differences(describe_tree(test.source), describe_tree(test.inbox), {true, false}) == "");
}

TEST_CASE("a push to somewhere else leaves alone what a broken one left") {
    Stalled test;
    test.source.write_file("large", random_bytes(kBytes, 1));
    test.start({test.source.path("large")});
    test.await_two_extents();
    test.kill_sender();
    const Finished other = send(*test.receiver, {"-J", test.source.path("large")}, "dir/");
    REQUIRE(other.code == 0);
    CHECK(last_event(other.out, "summary")["reused_bytes"] == 0);
    check_reused(test.run_again(), 2 * kExtent);
}

TEST_CASE("files of a new tree that had arrived are not sent again, and no others appear") {
    constexpr std::size_t kFiles = 600;
    constexpr std::size_t kSmall = 3'000;
    constexpr std::size_t kArrived = 200; // at the least
    Stalled test;
    const auto name_of = [](std::size_t file) {
        return "tree/d" + std::to_string(file % 10) + "/f" + std::to_string(file);
    };
    for (std::size_t file = 0; file < kFiles; ++file) {
        test.source.write_file(name_of(file), random_bytes(kSmall, file));
    }
    test.start({test.source.path("tree")}, "", {}, (kArrived + 50) * (kSmall + 64));
    eventually("some files have arrived", [&] { return staged_files(test.inbox) >= kArrived; });
    test.kill_sender();
    test.receiver->stop();
    const std::size_t arrived = staged_files(test.inbox);
    REQUIRE(arrived < kFiles);
    test.receiver = std::make_unique<ReceiverProcess>(test.inbox.path());

    // One that has arrived vanishes from the source, another changes.
    std::vector<std::string> there;
    const std::string staged = ".sluice/" + test.inbox.list(".sluice").at(0) + "/";
    for (std::size_t file = 0; file < kFiles && there.size() < 2; ++file) {
        if (test.inbox.exists(staged + name_of(file)) ||
            test.inbox.exists(staged + "tree/" + name_of(file))) {
            there.push_back(name_of(file));
        }
    }
    REQUIRE(there.size() == 2);
    test.source.remove(there[0]);
    test.source.write_file(there[1], "changed");

    const Json summary = test.run_again();
    const auto reused = summary["reused_files"].get<std::size_t>();
    CHECK(reused == arrived - 2);
    CHECK(summary["reused_bytes"] == reused * kSmall);
    CHECK(summary["files_sent"] == kFiles - 1 - reused);
    CHECK(summary["receiver"]["unchanged"] == reused);
    CHECK(differences(describe_tree(test.source), describe_tree(test.inbox), {true, false}) == "");
}
