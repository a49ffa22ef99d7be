// The lists of digests that a receiver writes.
#include "common/digest.hpp"
#include "tests/e2e/checks.hpp"
#include "tests/e2e/events.hpp"
#include "tests/e2e/leftovers.hpp"
#include "tests/e2e/on_the_way.hpp"
#include "tests/support/tree.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <set>
#include <span>

using namespace sluice;
using namespace sluice::test;

namespace {

constexpr std::size_t kExtent = std::size_t{8} << 20;

bool possible() {
    if (run({"xxhsum", "--version"}).code != 0) {
        skip("xxhsum is not installed");
        return false;
    }
    return true;
}

// `xxhsum -c LIST` in a directory: "NAME: OK" for each line.
std::set<std::string> verified(const TempDir& directory, const std::string& list) {
    const Finished checked =
        run({"sh", "-c", R"(cd "$1" && LC_ALL=C xxhsum -c "$2")", "sh", directory.path(), list});
    INFO(checked.out << checked.err);
    REQUIRE(checked.code == 0);
    std::set<std::string> names;
    for (const std::string& line : lines_of(checked.out)) {
        if (line.ends_with(": OK")) {
            CHECK(names.insert(line.substr(0, line.size() - 4)).second);
        }
    }
    return names;
}

std::string hex_digest(const std::string& content) {
    return to_hex(digest_of(std::as_bytes(std::span(content.data(), content.size()))));
}

} // namespace

TEST_CASE("option --digests lists every file so that xxhsum can check it") {
    if (!possible()) {
        return;
    }
    const std::string path = GENERATE("", "into/deep");
    const std::string below = path.empty() ? "" : path + "/";
    const TempDir source;
    const TempDir inbox;
    const TempDir lists;
    const std::string list = lists.path("list");
    ReceiverProcess receiver(inbox.path(), {"--digests", list});
    std::set<std::string> expected;
    for (const char* const name : {"tree/small", "tree/dir/two words", "tree/back\\slash",
                                   "tree/\xc3\xa9", "tree/ leading", "tree/empty"}) {
        source.write_file(name, std::string_view(name) == "tree/empty" ? "" : name);
        expected.insert(below + name);
    }
    source.write_file("tree/large", random_bytes(2 * kExtent + 5, 1));
    source.make_hole("tree/hole", 3'000'000);
    source.symlink("small", "tree/link");
    expected.insert({below + "tree/large", below + "tree/hole"});
    REQUIRE(send(receiver, {source.path("tree")}, path).code == 0);
    CHECK(verified(inbox, list) == expected);

    SECTION("unchanged files are listed again, and changed ones as they are now") {
        const std::size_t first = lists.read_file("list").size();
        source.write_file("tree/small", "another content");
        REQUIRE(send(receiver, {source.path("tree")}, path).code == 0);
        const std::string second = lists.read_file("list").substr(first);
        lists.write_file("second", second);
        CHECK(verified(inbox, lists.path("second")) == expected);
    }
    SECTION("a dry run lists nothing") {
        const std::string before = lists.read_file("list");
        REQUIRE(send(receiver, {"--dry-run", "--ignore-times", source.path("tree")}, path).code ==
                0);
        CHECK(receiver.stop() == 0);
        CHECK(lists.read_file("list") == before);
    }
    SECTION("what was published file by file is listed, too") {
        lists.write_file("list", "");
        REQUIRE(send(receiver, {"--publish", "file", source.path("tree")}, "other").code == 0);
        CHECK(verified(inbox, list).size() == expected.size());
    }
}

TEST_CASE("a damaged file does not pass the list") {
    if (!possible()) {
        return;
    }
    const TempDir source;
    const TempDir inbox;
    const TempDir lists;
    const ReceiverProcess receiver(inbox.path(), {"--digests", lists.path("list")});
    source.write_file("file", "content");
    REQUIRE(send(receiver, {source.path("file")}).code == 0);
    inbox.write_file("file", "c0ntent");
    CHECK(run({"sh", "-c", R"(cd "$1" && xxhsum -c "$2")", "sh", inbox.path(), lists.path("list")})
              .code != 0);
}

TEST_CASE("files of a push that was resumed are listed whole") {
    if (!possible()) {
        return;
    }
    const TempDir source;
    const TempDir inbox;
    const TempDir lists;
    ReceiverProcess receiver(inbox.path(), {"--digests", lists.path("list")});
    source.write_file("tree/large", random_bytes(5 * kExtent, 1));
    source.write_file("tree/small", "small");
    {
        const ChaosProxy proxy(port_number(receiver), stall_data(3 * kExtent));
        Process sender(send_command(proxy.port(), {"-P", "1", source.path("tree")}));
        eventually("part of it is kept", [&] { return kept_bytes(inbox) >= 2 * kExtent; });
        sender.signal(SIGKILL);
        sender.wait();
    }
    CHECK(lists.read_file("list").empty());
    const Finished sent = send(receiver, {"-J", source.path("tree")});
    REQUIRE(sent.code == 0);
    CHECK(last_event(sent.out, "summary")["reused_bytes"].get<std::uint64_t>() >= 2 * kExtent);
    CHECK(verified(inbox, lists.path("list")) == std::set<std::string>{"tree/large", "tree/small"});
}

TEST_CASE("a name with a line break is left out of the list, with a notice") {
    const TempDir source;
    const TempDir inbox;
    const TempDir lists;
    ReceiverProcess receiver(inbox.path(), {"--digests", lists.path("list"), "-J"});
    source.write_file("tree/new\nline", "x");
    source.write_file("tree/plain", "y");
    REQUIRE(send(receiver, {source.path("tree")}).code == 0);
    CHECK(lists.read_file("list") == hex_digest("y") + "  tree/plain\n");
    CHECK(receiver.stop() == 0);
    const auto notices = events_of(receiver.process().out(), "notice");
    REQUIRE(notices.size() == 1);
    CHECK(contains(notices[0]["text"], "line break"));
    CHECK(contains(receiver.process().err(), "line break"));
    CHECK(events_of(receiver.process().out(), "file").size() == 2); // events can hold it
}

TEST_CASE("with --json each file is an event with its digest") {
    const TempDir source;
    const TempDir inbox;
    const TempDir lists;
    ReceiverProcess receiver(inbox.path(), {"--digests", lists.path("list"), "-J"});
    source.write_file("tree/small", "small");
    source.write_file("tree/new\nline", "odd");
    source.write_file("tree/large", random_bytes(kExtent + 1, 1));
    REQUIRE(send(receiver, {source.path("tree")}, "into").code == 0);
    CHECK(receiver.stop() == 0);
    std::map<std::string, Json> files;
    for (const Json& event : events_of(receiver.process().out(), "file")) {
        CHECK(files.emplace(event["path"], event).second);
        CHECK(event["session"] == 1);
    }
    REQUIRE(files.size() == 3);
    CHECK(files.at("into/tree/small")["bytes"] == 5);
    CHECK(files.at("into/tree/small")["xxh3_128"] == hex_digest("small"));
    CHECK(files.at("into/tree/new\\nline")["xxh3_128"] == hex_digest("odd"));
    CHECK(files.at("into/tree/large")["xxh3_128"] == hex_digest(random_bytes(kExtent + 1, 1)));
}

TEST_CASE("without --digests there are no file events") {
    const TempDir source;
    const TempDir inbox;
    ReceiverProcess receiver(inbox.path(), {"-J"});
    source.write_file("file", "x");
    REQUIRE(send(receiver, {source.path("file")}).code == 0);
    CHECK(receiver.stop() == 0);
    CHECK(events_of(receiver.process().out(), "file").empty());
}

TEST_CASE("a list that cannot be written to is told at the start") {
    const TempDir inbox;
    check_exit(
        run({kRecvProgram, "-p", "0", "--digests", inbox.path("no/such/list"), inbox.path()}), 11,
        "no/such/list");
}
