// The events that both programs print with --json: ARCHITECTURE.md, "Events", names their members,
// and no more and no fewer than these are there.
#include "tests/e2e/checks.hpp"
#include "tests/e2e/events.hpp"
#include "tests/e2e/fake_receiver.hpp"
#include "tests/support/programs.hpp"
#include "tests/support/tree.hpp"

#include <catch2/catch.hpp>
#include <fstream>
#include <map>
#include <set>
#include <string>
#include <sys/stat.h>
#include <vector>

using namespace sluice;
using namespace sluice::test;

namespace {

constexpr std::size_t kLarge = (std::size_t{3} << 20) + 17;

using Names = std::set<std::string>; // "sender.bytes.zstd"

// The names between backticks; "NAME: {" begins members of NAME, which "}" ends.
Names names_in(const std::string& cell) {
    Names names;
    std::vector<std::string> parents;
    std::string last;
    for (std::size_t at = 0; at < cell.size(); ++at) {
        if (cell[at] == '`') {
            const std::size_t end = cell.find('`', at + 1);
            REQUIRE(end != std::string::npos);
            last.clear();
            for (const std::string& parent : parents) {
                last += parent + '.';
            }
            last += cell.substr(at + 1, end - at - 1);
            names.insert(last);
            at = end;
        } else if (cell[at] == '{') {
            parents.push_back(last.substr(last.rfind('.') + 1));
        } else if (cell[at] == '}') {
            REQUIRE_FALSE(parents.empty());
            parents.pop_back();
        }
    }
    REQUIRE(parents.empty());
    return names;
}

// What the tables say: by program and event. The second row of an event adds to the first, under
// "EVENT+".
std::map<std::string, Names> documented() {
    std::ifstream text(program_path("../../../ARCHITECTURE.md"));
    REQUIRE(text);
    std::map<std::string, Names> events;
    std::string program;
    bool inside = false;
    for (std::string line; std::getline(text, line);) {
        if (line.starts_with("## ")) {
            inside = line == "## Events";
        } else if (inside && line.starts_with("`sluice-")) {
            program = line.substr(1, line.find('`', 1) - 1);
        } else if (inside && line.starts_with("| `")) {
            const std::size_t end = line.find('`', 3);
            std::string event = program + ' ' + line.substr(3, end - 3);
            Names names = names_in(line.substr(line.find('|', end)));
            names.insert("event");
            if (events.contains(event)) {
                names.merge(Names(events.at(event)));
                event += '+';
            }
            events[event] = std::move(names);
        }
    }
    return events;
}

void collect(const Json& object, const std::string& prefix, Names& names) {
    for (const auto& [name, value] : object.items()) {
        names.insert(prefix + name);
        if (value.is_object()) {
            collect(value, prefix + name + '.', names);
        }
    }
}

// Fails the test unless the members are those of the table.
void check_members(const Json& event, const std::string& key) {
    const auto tables = documented();
    INFO(key << ": " << event.dump());
    REQUIRE(tables.contains(key));
    Names names;
    collect(event, "", names);
    CHECK(names == tables.at(key));
}

} // namespace

TEST_CASE("the events of a push have the documented members") {
    const TempDir source;
    const TempDir destination;
    const TempDir lists;
    ReceiverProcess receiver(destination.path(), {"--json", "--digests", lists.path("list")});
    source.write_file("tree/small", "four");
    source.write_file("tree/large", random_bytes(kLarge, 1));
    source.write_file("tree/\xff\n\"odd", "x");
    source.write_file("tree/in-the-way", "x");
    source.symlink("small", "tree/link");
    destination.write_file("into\n/tree/in-the-way/file", "x");
    REQUIRE(::mkfifo(source.path("tree/fifo\xff").c_str(), 0600) == 0);
    const Finished sent = send(receiver, {"--json", source.path("tree")}, "into\n");
    INFO(sent.err);
    REQUIRE(sent.code == 23);
    const Json summary = last_event(sent.out, "summary");
    check_members(summary, "sluice-send summary");
    CHECK(summary["exit_code"] == 23);
    CHECK(summary["error"].is_null());
    CHECK(summary["dry_run"] == false);
    CHECK(summary["files_sent"] == 4);
    CHECK(summary["bytes_sent"] == kLarge + 6);
    CHECK(summary["failed"] == 1);
    CHECK(summary["skipped"] == 1);
    CHECK(summary["reused_files"] == 0);
    CHECK(summary["reused_bytes"] == 0);
    CHECK(summary["reconnects"] == 0);
    CHECK(summary["reconnected_streams"] == 0);
    CHECK(summary["resent_bytes"] == 0);
    CHECK(summary["verified"] == true);
    CHECK(summary["seconds"].is_number());
    for (const char* const side : {"sender", "receiver"}) {
        INFO(side);
        CHECK(summary[side]["cpu_seconds"].is_number());
        CHECK(summary[side]["system_calls"].get<std::uint64_t>() > 0);
        CHECK(summary[side]["context_switches"].is_number_unsigned());
    }
    CHECK(summary["receiver"]["files"] == 3);
    CHECK(summary["receiver"]["symlinks"] == 1);
    CHECK(summary["receiver"]["directories"] == 1);
    const auto failed = events_of(sent.out, "file_failed");
    REQUIRE(failed.size() == 1);
    check_members(failed[0], "sluice-send file_failed");
    const auto warnings = events_of(sent.out, "warning");
    REQUIRE(warnings.size() == 1);
    check_members(warnings[0], "sluice-send warning");

    eventually("the session is over",
               [&] { return contains(receiver.process().out(), "session_ended"); });
    CHECK(receiver.stop() == 0);
    const std::vector<Json> events = events_of(receiver.process().out());
    std::map<std::string, std::vector<Json>> by_kind;
    for (const Json& event : events) {
        const std::string kind = event["event"];
        check_members(event, "sluice-recv " + kind);
        by_kind[kind].push_back(event);
    }
    CHECK(by_kind["file"].size() == 3);
    CHECK(by_kind["file_failed"].size() == 1);
    CHECK(by_kind["notice"].size() == 1); // about the line break in a name
    REQUIRE(by_kind["listening"].size() == 1);
    REQUIRE(by_kind["session_started"].size() == 1);
    REQUIRE(by_kind["session_ended"].size() == 1);
    CHECK(events.front() == by_kind["listening"][0]);
    CHECK(by_kind["listening"][0]["address"] == "127.0.0.1:" + receiver.port());
    const Json& ended = by_kind["session_ended"][0];
    CHECK(ended["session"] == by_kind["session_started"][0]["session"]);
    CHECK(ended["exit_code"] == 23);
    CHECK(ended["error"].is_null());
    CHECK(ended["files"] == 3);
    CHECK(ended["failed"] == 1);
    CHECK(ended["destination"] == "into\\n");
}

TEST_CASE("the events of a dry run have the documented members") {
    const TempDir source;
    const TempDir destination;
    const ReceiverProcess receiver(destination.path());
    source.write_file("tree/file", "x");
    const Finished sent = send(receiver, {"-J", "-n", source.path("tree")});
    REQUIRE(sent.code == 0);
    check_members(events_of(sent.out, "would_send").at(0), "sluice-send would_send");
    const Json summary = last_event(sent.out, "summary");
    check_members(summary, "sluice-send summary+");
    CHECK(summary["dry_run"] == true);
    CHECK(summary["verified"] == false);
}

TEST_CASE("the events of a push that goes on have the documented members") {
    const TempDir source;
    source.write_file("file", "x");
    FakeReceiver receiver;
    const auto sender = receiver.start_sender({"-J", source.path("file")});
    {
        RawPeer lost = receiver.accept_session();
        static_cast<void>(receiver.accept_stream());
    }
    eventually("it says that it reconnects",
               [&] { return contains(sender->out(), "reconnecting"); });
    RawPeer control = receiver.accept_session();
    eventually("it tells of its progress", [&] { return contains(sender->out(), "progress"); });
    control.send_message(proto::ErrorMessage{12, "enough"});
    CHECK(sender->wait() == 12);
    check_members(events_of(sender->out(), "reconnecting").at(0), "sluice-send reconnecting");
    check_members(events_of(sender->out(), "progress").at(0), "sluice-send progress");
    Json summary = last_event(sender->out(), "summary");
    CHECK(summary["reconnects"] == 1);
    CHECK(contains(summary["error"], "enough"));
    CHECK(summary["receiver"].is_null());
}
