// Sessions that bring more than the receiver's operator wants: each limit is one line and exit code
// 5 at the sender, nothing is published, and the receiver goes on.
#include "tests/e2e/checks.hpp"
#include "tests/e2e/events.hpp"
#include "tests/e2e/hostile.hpp"

#include <chrono>

using namespace sluice;
using namespace sluice::test;

namespace {

void check_refused(Sandbox& sandbox, const std::vector<std::string>& arguments,
                   const std::string& word) {
    const Finished sent = send(sandbox.receiver(), arguments);
    check_exit(sent, 5, word);
    for (const std::string& name : sandbox.outer().list("inbox")) {
        CHECK(name == ".sluice"); // for a moment
    }
    sandbox.check_survived();
}

std::string deep(std::size_t levels) {
    std::string path = "d";
    for (std::size_t level = 1; level < levels; ++level) {
        path += "/d";
    }
    return path;
}

} // namespace

TEST_CASE("a tree of more files than the limit is refused, small ones and large ones") {
    Sandbox sandbox({"--max-files", "11"});
    const TempDir source;
    const bool large = GENERATE(false, true);
    const bool one_too_many = GENERATE(true, false);
    for (int file = 0; file < (one_too_many ? 11 : 500); ++file) { // and the directory
        source.write_file("tree/" + std::to_string(file), std::string(large ? 100'000 : 10, 'x'));
    }
    check_refused(sandbox, {source.path("tree")}, "more than 11 files, directories and links");
    source.remove("tree/0");
    if (one_too_many) {
        const Finished sent = send(sandbox.receiver(), {source.path("tree")});
        INFO(sent.err);
        CHECK(sent.code == 0);
    }
}

TEST_CASE("files of more bytes than the limit are refused, before they have come") {
    Sandbox sandbox({"--max-bytes", "1M"});
    const TempDir source;
    const std::string kind = GENERATE("small", "large", "sparse");
    if (kind == "small") {
        for (int file = 0; file < 30; ++file) {
            source.write_file("tree/" + std::to_string(file), std::string(40'000, 'x'));
        }
    } else if (kind == "large") {
        source.write_file("tree/file", std::string((1U << 20) + 1, 'x'));
    } else {
        source.write_file("tree/file", "");
        REQUIRE(::truncate(source.path("tree/file").c_str(), off_t{1} << 40) == 0);
    }
    check_refused(sandbox, {source.path("tree")}, "more than 1.05 MB in one session");
    source.remove("tree");
    source.write_file("tree/file", std::string(1U << 20, 'x'));
    const Finished sent = send(sandbox.receiver(), {source.path("tree")});
    INFO(sent.err);
    CHECK(sent.code == 0);
}

TEST_CASE("a path of more levels than the limit is refused") {
    Sandbox sandbox({"--max-depth", "20"});
    const TempDir source;
    source.write_file(deep(19) + "/file", "x");
    const Finished sent = send(sandbox.receiver(), {source.path("d")});
    INFO(sent.err);
    CHECK(sent.code == 0);
    sandbox.outer().remove("inbox/d");
    source.write_file(deep(20) + "/file", "x");
    check_refused(sandbox, {source.path("d")}, "deeper than 20 levels");
}

TEST_CASE("no path is so deep by default that it costs more than a path may") {
    Sandbox sandbox;
    RawSession session(sandbox.receiver());
    DataPeer data = session.join();
    data.send(file_frame(deep(2'000), "x"));
    const Refusal refusal = read_refusal(session.control);
    CHECK(refusal.code == 5);
    CHECK(contains(refusal.text, "--max-depth"));
    sandbox.check_survived();
    CHECK(sandbox.outer().list("inbox").empty());
}

TEST_CASE("a file that comes in pieces counts once, and pieces of it do not add up") {
    Sandbox sandbox({"--max-files", "2", "--max-bytes", "1000"});
    RawSession session(sandbox.receiver());
    DataPeer data = session.join();
    for (std::uint64_t piece = 0; piece < 100; ++piece) {
        proto::Extent extent = extent_of(1, "file", 1'000, proto::Encoding::hole);
        extent.offset = piece * 10;
        extent.length = 10;
        REQUIRE(data.send(extent_frame(extent)));
    }
    session.end(data, {1});
    CHECK(describe(session.finish(1)) == "Done");
    CHECK(sandbox.outer().read_file("inbox/file") == std::string(1'000, '\0'));
}

TEST_CASE("with --min-rate a payload that trickles costs its connection, and nothing else") {
    Sandbox sandbox({"--min-rate", "1K", "--timeout", "0.4"});
    proto::Open open = fresh_open();
    RawSession session(sandbox.receiver(), open);
    DataPeer slow = session.join();
    DataPeer idle = session.join(); // between frames: it may take its time
    REQUIRE(slow.send(extent_frame(extent_of(1, "large", 100'000))));
    proto::Bytes ping;
    proto::encode_ping(ping);
    eventually("the slow one is lost", [&] {
        session.control.send(ping);
        slow.send({std::byte{'x'}});
        ::usleep(20'000);
        while (session.control.readable_within(std::chrono::milliseconds{0})) {
            const Frame frame = session.control.receive();
            proto::Lost lost;
            if (frame.type == proto::FrameType::lost &&
                proto::decode(frame.body, lost) == proto::Fault::none) {
                CHECK(lost.connection == slow.number());
                return true;
            }
            REQUIRE(frame.type == proto::FrameType::ping);
        }
        return false;
    });
    REQUIRE(idle.send(file_frame("small", "content")));
    REQUIRE(session.control.send_message(proto::FileAbort{1}));
    session.end(idle);
    CHECK(describe(session.finish(1)) == "Done");
    CHECK(sandbox.outer().read_file("inbox/small") == "content");
    CHECK_FALSE(sandbox.outer().exists("inbox/large"));
}

TEST_CASE("without --min-rate a payload may take its time") {
    Sandbox sandbox({"--timeout", "0"});
    RawSession session(sandbox.receiver());
    DataPeer slow = session.join();
    REQUIRE(slow.send(extent_frame(extent_of(1, "large", 100))));
    for (int byte = 0; byte < 100; ++byte) {
        REQUIRE(slow.send({std::byte{'x'}}));
        ::usleep(2'000);
    }
    session.end(slow, {1});
    CHECK(describe(session.finish(1)) == "Done");
    CHECK(sandbox.outer().read_file("inbox/large") == std::string(100, 'x'));
}

TEST_CASE("a session's failed files are named up to a number, and counted from then on") {
    Sandbox sandbox({"--json"});
    sandbox.outer().write_file("inbox/f", "in the way");
    constexpr int kFailed = 1'500;
    RawSession session(sandbox.receiver());
    DataPeer data = session.join();
    for (int number = 0; number < kFailed; ++number) {
        REQUIRE(data.send(file_frame("f/" + std::to_string(number) + "\n\x1b[2J", "x")));
    }
    session.end(data);
    CHECK(describe(session.finish(kFailed)) == "Done");
    CHECK(session.failed.size() == kFailed); // the sender learns of all
    REQUIRE(sandbox.receiver().stop() == 0);
    const std::string out = sandbox.receiver().process().out();
    CHECK(events_of(out, "file_failed").size() == 1'000);
    const auto ended = events_of(out, "session_ended");
    REQUIRE(ended.size() == 1);
    CHECK(ended[0].at("failed") == kFailed);
    const std::string err = sandbox.receiver().process().err();
    CHECK(contains(err, "500 more file(s) not stored"));
    CHECK(err.find('\x1b') == std::string::npos);
    CHECK(lines_of(err).size() < 1'010);
}

TEST_CASE("one path offered many times brings no more ranges than an answer may have") {
    Sandbox sandbox;
    const std::uint64_t size = 2'000'000;
    proto::Extent extent = extent_of(1, "t/large", size, proto::Encoding::hole);
    constexpr std::uint64_t kPieces = 3'000;
    {
        RawSession session(sandbox.receiver());
        DataPeer data = session.join();
        for (std::uint64_t piece = 0; piece < kPieces; ++piece) {
            extent.id = fresh_id();
            extent.offset = piece * 2;
            extent.length = 1;
            REQUIRE(data.send(extent_frame(extent)));
        }
        session.await_ack(extent.id);
        session.control.close();
        read_refusal(data);
    }
    RawSession session(sandbox.receiver());
    proto::Offer offer;
    offer.first_id = 1;
    for (std::size_t entry = 0; entry < 1'000; ++entry) {
        offer.entries.push_back({size, extent.mtime, extent.mode, extent.version, "t/large"});
    }
    REQUIRE(session.control.send_message(offer));
    REQUIRE(session.receive().type == proto::FrameType::verdict);
    std::size_t ranges = 0;
    for (const auto& [id, present] : session.present) {
        ranges += present.size();
    }
    CHECK(ranges >= kPieces); // the first is answered as ever
    CHECK(ranges <= 65'536);
    session.control.close();
}
