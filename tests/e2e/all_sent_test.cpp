// The word that everything is on its way: the receiver publishes without waiting for Finish, and
// whatever goes wrong after that word is as it would have been without it.
#include "tests/e2e/checks.hpp"
#include "tests/e2e/fake_receiver.hpp"
#include "tests/e2e/hostile.hpp"
#include "tests/support/tree.hpp"

#include <catch2/catch.hpp>
#include <string>
#include <vector>

using namespace sluice;
using namespace sluice::test;

namespace {

using proto::AllSent;

// Small enough for batches, and too many for one.
constexpr int kFiles = 100;

// A sender of small files with one stream, and the session that it asked for.
struct SmallFiles {
    TempDir source;
    FakeReceiver receiver;
    std::unique_ptr<Process> sender;

    explicit SmallFiles(const std::string& retry_for, const std::string& streams = "1") {
        for (int file = 0; file < kFiles; ++file) {
            source.write_file("t/" + std::to_string(file), std::string(4'000, 'x'));
        }
        sender = receiver.start_sender(
            {"--retry-for", retry_for, "--streams", streams, source.path("t")});
    }
};

// What has come on a data connection and is not acknowledged, and the AllSent that belongs to it.
struct Arrived {
    std::vector<std::uint64_t> ids;
    std::uint64_t files = 0;
    AllSent all;
};

// Takes batches until everything is said to have been sent, and acknowledges none.
Arrived take_all(RawPeer& control, RawPeer& data) {
    Arrived arrived;
    Frame frame = control.receive();
    if (frame.type == proto::FrameType::drop) { // of a connection that never came
        frame = control.receive();
    }
    REQUIRE(frame.type == proto::FrameType::all_sent);
    REQUIRE(proto::decode(frame.body, arrived.all) == proto::Fault::none);
    while (arrived.ids.size() < arrived.all.acknowledged) {
        const auto batch = data.receive_message<proto::Batch>(proto::FrameType::batch, frame);
        arrived.ids.push_back(batch.id);
        proto::BatchReader reader(batch.payload);
        while (!reader.at_end()) {
            proto::Record record;
            REQUIRE(reader.next(record) == proto::Fault::none);
            arrived.files += record.kind == proto::RecordKind::file ? 1 : 0;
        }
    }
    return arrived;
}

void check_done(Process& sender, RawPeer& control) {
    proto::Done done;
    done.files = kFiles;
    REQUIRE(control.send_message(done));
    const int ended = sender.wait();
    INFO(sender.err());
    CHECK(ended == 0);
}

std::string published(Sandbox& sandbox, const std::string& name) {
    return sandbox.outer().exists("inbox/" + name) ? sandbox.outer().read_file("inbox/" + name)
                                                   : "nothing";
}

} // namespace

TEST_CASE("a sender says that everything is on its way before anything is acknowledged") {
    SmallFiles test("0");
    RawPeer control = test.receiver.accept_session();
    DataPeer data = test.receiver.accept_stream();
    const Arrived arrived = take_all(control, data);
    CHECK(arrived.ids.size() > 1);
    CHECK(arrived.files == kFiles);
    CHECK(arrived.all.files == kFiles);
    CHECK(arrived.all.lost == 0);
    // It goes on waiting for the acknowledgements, and then says Finish as well.
    CHECK_FALSE(control.readable_within(std::chrono::milliseconds{50}));
    REQUIRE(control.send_message(proto::Ack{arrived.ids}));
    Frame frame;
    CHECK(control.receive_message<proto::Finish>(proto::FrameType::finish, frame).files == kFiles);
    check_done(*test.sender, control);
}

TEST_CASE("what is lost after everything was sent is sent again, and said anew") {
    SmallFiles test("60");
    RawPeer control = test.receiver.accept_session();
    DataPeer first = test.receiver.accept_stream();
    const Arrived before = take_all(control, first);
    first.close();
    Frame frame;
    CHECK(control.receive_message<proto::Drop>(proto::FrameType::drop, frame).connection ==
          first.number());
    REQUIRE(control.send_message(proto::Ack{{before.ids.front()}}));
    REQUIRE(control.send_message(proto::Lost{first.number()}));
    DataPeer second = test.receiver.accept_stream();
    const auto again = control.receive_message<AllSent>(proto::FrameType::all_sent, frame);
    CHECK(again.lost == 1);
    CHECK(again.files == kFiles);
    SessionReader session(control);
    session.read_stream(second); // acknowledges, and ends with Finish
    CHECK(session.read_finish() == kFiles);
    CHECK(session.log().content.size() < kFiles); // the rest is acknowledged
    check_done(*test.sender, control);
}

TEST_CASE("a stream that gives up after everything was sent does not end the session") {
    SmallFiles test("1", "2");
    RawPeer control = test.receiver.accept();
    // Both connect before the session is there. One of them is reset, and cannot come back.
    DataPeer kept(test.receiver.accept(), 0);
    {
        RawPeer other = test.receiver.accept();
        const linger abortive{1, 0};
        REQUIRE(::setsockopt(other.socket(), SOL_SOCKET, SO_LINGER, &abortive, sizeof abortive) ==
                0);
    }
    test.receiver.stop_listening();
    Frame frame;
    static_cast<void>(control.receive_message<proto::Open>(proto::FrameType::open, frame));
    proto::Welcome welcome;
    welcome.token = test.receiver.token();
    welcome.fresh = {0};
    welcome.software = "test";
    REQUIRE(control.send_message(welcome));
    const auto join = kept.receive_message<proto::Join>(proto::FrameType::join, frame);
    const Arrived arrived = take_all(control, kept);
    // Longer than it may retry.
    CHECK_FALSE(test.sender->ends_within(std::chrono::milliseconds{1'500}));
    SECTION("where the others have brought everything, that is all") {
        REQUIRE(control.send_message(proto::Ack{arrived.ids}));
        CHECK(control.receive_message<proto::Finish>(proto::FrameType::finish, frame).files ==
              kFiles);
        check_done(*test.sender, control);
    }
    SECTION("where it would have been needed, that is the reason") {
        REQUIRE(control.send_message(proto::Lost{join.connection}));
        CHECK(test.sender->wait() == 10);
        CHECK(contains(test.sender->err(), "refused"));
    }
}

TEST_CASE("a receiver that has everything publishes it without a Finish") {
    Sandbox sandbox;
    RawSession session(sandbox.receiver());
    DataPeer data = session.join();
    SECTION("that arrives after it was said") {
        REQUIRE(session.control.send_message(AllSent{1, 2, 0}));
        session.settle();
        CHECK(published(sandbox, "t/a") == "nothing");
        REQUIRE(data.send(file_frame("t/a", "a")));
        REQUIRE(data.send(batch_frame(proto::RecordKind::directory, "t/d", "")));
    }
    SECTION("that arrived before it was said") {
        REQUIRE(data.send(file_frame("t/a", "a")));
        REQUIRE(data.send(batch_frame(proto::RecordKind::directory, "t/d", "")));
        REQUIRE(session.note_until([&] { return session.acknowledged.size() == 2; }));
        REQUIRE(session.control.send_message(AllSent{1, 2, 0}));
    }
    CHECK(describe(session.receive()) == "Done");
    CHECK(session.acknowledged.size() == 2); // before Done
    session.control.close();
    CHECK(published(sandbox, "t/a") == "a");
    CHECK(sandbox.outer().exists("inbox/t/d"));
    sandbox.check_survived();
}

TEST_CASE("the Finish and the Drop that cross with what they are about are allowed") {
    Sandbox sandbox;
    RawSession session(sandbox.receiver());
    DataPeer data = session.join();
    REQUIRE(data.send(file_frame("t/a", "a")));
    REQUIRE(session.note_until([&] { return session.acknowledged.size() == 1; }));
    // In one piece, so that they come before it can be done.
    proto::Bytes frames;
    proto::encode(AllSent{1, 1, 0}, frames);
    proto::encode(proto::Drop{data.number()}, frames);
    proto::encode(proto::Finish{1}, frames);
    REQUIRE(session.control.send(frames));
    CHECK(describe(session.receive()) == "Done");
    session.control.close();
    CHECK(published(sandbox, "t/a") == "a");
    sandbox.check_survived();
}

TEST_CASE("what was said to be everything is nothing once a connection is lost") {
    Sandbox sandbox;
    RawSession session(sandbox.receiver());
    DataPeer first = session.join(0);
    DataPeer second = session.join(1);
    REQUIRE(second.send(file_frame("t/a", "a")));
    REQUIRE(session.note_until([&] { return session.acknowledged.size() == 1; }));
    session.end(first);
    // Said before the sender could know: the second batch is in place of what the first lost.
    REQUIRE(session.control.send_message(AllSent{2, 2, 0}));
    REQUIRE(second.send(file_frame("t/b", "b")));
    REQUIRE(session.note_until([&] { return session.acknowledged.size() == 2; }));
    session.settle();
    CHECK(published(sandbox, "t/a") == "nothing");
    SECTION("a Finish ends it") {
        CHECK(describe(session.finish(2)) == "Done");
    }
    SECTION("or another word that knows of the loss") {
        REQUIRE(session.control.send_message(AllSent{2, 2, 1}));
        CHECK(describe(session.receive()) == "Done");
        session.control.close();
    }
    CHECK(published(sandbox, "t/a") == "a");
    CHECK(published(sandbox, "t/b") == "b");
    sandbox.check_survived();
}

TEST_CASE("a word about everything that contradicts what came ends the session") {
    Sandbox sandbox;
    struct Wrong {
        const char* what;
        std::vector<proto::Bytes> frames;
    };
    const auto frame = [](const auto& message) {
        proto::Bytes bytes;
        proto::encode(message, bytes);
        return bytes;
    };
    proto::Offer offer;
    offer.entries.push_back({1, {}, 0644, 0, "t/b"});
    const std::vector<Wrong> cases{
        {"more files", {frame(AllSent{2, 1, 0})}},
        {"no files", {frame(AllSent{0, 1, 0})}},
        {"another number in Finish", {frame(AllSent{1, 1, 0}), frame(proto::Finish{2})}},
        {"two times Finish",
         {frame(AllSent{1, 1, 0}), frame(proto::Finish{1}), frame(proto::Finish{1})}},
        {"an offer behind it", {frame(AllSent{1, 1, 0}), frame(offer)}},
    };
    for (const Wrong& one : cases) {
        INFO(one.what);
        RawSession session(sandbox.receiver());
        DataPeer data = session.join();
        REQUIRE(data.send(file_frame("t/a", "a")));
        REQUIRE(session.note_until([&] { return session.acknowledged.size() == 1; }));
        proto::Bytes all;
        for (const proto::Bytes& bytes : one.frames) {
            all.insert(all.end(), bytes.begin(), bytes.end());
        }
        REQUIRE(session.control.send(all));
        const Refusal refusal = read_refusal(session.control);
        INFO(refusal.text);
        CHECK(refusal.code == 12);
    }
    sandbox.check_survived();
}
