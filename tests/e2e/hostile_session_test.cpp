// Sessions whose frames are good one by one but do not fit together: nothing incomplete is
// published, nothing that the protocol allows is refused.
#include "tests/e2e/hostile.hpp"

using namespace sluice;
using namespace sluice::test;

namespace {

constexpr std::uint64_t kBytes = 100'000;

proto::Bytes content(std::size_t bytes, char letter = 'x') {
    return proto::Bytes(bytes, static_cast<std::byte>(letter));
}

// Part of a file, with its payload. The id of the extent.
std::uint64_t send_part(RawPeer& data, std::uint64_t id, std::string_view path,
                        std::uint64_t offset, std::uint64_t length) {
    proto::Extent part = extent_of(id, path, kBytes);
    part.offset = offset;
    part.length = length;
    data.send(extent_frame(part));
    data.send(content(length));
    return part.id;
}

bool is_violation(const Frame& frame) {
    return describe(frame).starts_with("12 ");
}

} // namespace

TEST_CASE("extents of one file that contradict each other end the session") {
    Sandbox sandbox;
    const proto::Extent first = extent_of(1, "file", kBytes, proto::Encoding::hole);
    proto::Extent size = first;
    size.file_size = kBytes + 1;
    proto::Extent path = first;
    path.path = "other";
    proto::Extent mode = first;
    mode.mode = 0600;
    proto::Extent mtime = first;
    mtime.mtime.seconds += 1;
    proto::Extent version = first;
    version.version += 1;
    for (auto [what, second] : {std::pair{"size", size},
                                {"path", path},
                                {"mode", mode},
                                {"mtime", mtime},
                                {"version", version}}) {
        INFO("another " << what);
        second.id = fresh_id();
        RawSession session(sandbox.receiver());
        DataPeer data = session.join();
        data.send(extent_frame(first));
        data.send(extent_frame(second));
        CHECK(read_refusal(session.control).code == 12);
        CHECK_FALSE(sandbox.outer().exists("inbox/file"));
    }
    sandbox.check_survived();
}

TEST_CASE("a finish that does not fit what came is refused and publishes nothing new") {
    Sandbox sandbox;
    struct Finish {
        const char* what;
        std::uint64_t files;
        std::function<void(RawPeer&)> send;
        std::vector<std::uint64_t> ended;
    };
    const auto small = [](RawPeer& d) { d.send(file_frame("t/a", "a")); };
    const auto nothing = [](RawPeer&) {};
    const auto whole = [](RawPeer& d) { send_part(d, 1, "t/a", 0, kBytes); };
    const auto gap = [](RawPeer& d) {
        send_part(d, 1, "t/a", 0, 50);
        send_part(d, 1, "t/a", 60, kBytes - 60);
    };
    const std::vector<Finish> cases{
        {"fewer files than announced", 2, small, {}},
        {"more files than announced", 0, small, {}},
        {"2^64 - 1 files", UINT64_MAX, small, {}},
        {"a file without its end", 0, whole, {}},
        {"half a file without its end", 0, [](RawPeer& d) { send_part(d, 1, "t/a", 0, 50); }, {}},
        {"an ended file with a gap", 1, gap, {1}},
        {"an ended file with a gap that is not counted", 0, gap, {1}},
        {"an ended file without its beginning",
         1,
         [](RawPeer& d) { send_part(d, 1, "t/a", 50, kBytes - 50); },
         {1}},
        {"an ended file with an extent that was cut",
         1,
         [](RawPeer& d) {
             send_part(d, 1, "t/a", 0, 50);
             proto::Extent rest = extent_of(1, "t/a", kBytes);
             rest.offset = 50;
             rest.length = kBytes - 50;
             d.send(extent_frame(rest));
             d.send(content(kBytes - 51));
         },
         {1}},
        {"the end of an unknown file", 1, nothing, {7}},
        {"the end of an unknown file, not counted", 0, nothing, {7}},
        {"two ends of one file", 2, whole, {1, 1}}};
    for (const Finish& one : cases) {
        INFO(one.what);
        RawSession session(sandbox.receiver());
        DataPeer data = session.join();
        one.send(data);
        session.end(data, one.ended);
        CHECK(is_violation(session.finish(one.files)));
        CHECK_FALSE(sandbox.outer().exists("inbox/t"));
    }
    sandbox.check_survived();
}

TEST_CASE("the end of a file before its last extent is acknowledged ends the session") {
    Sandbox sandbox;
    const proto::Open open =
        fresh_open(proto::kOpenPreserve | proto::kOpenVerify); // whose digest never comes
    RawSession session(sandbox.receiver(), open);
    DataPeer data = session.join();
    send_part(data, 1, "t/a", 0, kBytes);
    data.send(file_frame("t/b", "")); // acknowledged: the extent has arrived
    REQUIRE(session.note_until([&] { return !session.acknowledged.empty(); }));
    session.control.send_message(proto::FileEnd{1});
    CHECK(read_refusal(session.control).code == 12);
    CHECK_FALSE(sandbox.outer().exists("inbox/t"));
    sandbox.check_survived();
}

TEST_CASE("a finish while an extent is still under way is refused") {
    Sandbox sandbox;
    RawSession session(sandbox.receiver());
    DataPeer first = session.join(0);
    DataPeer second = session.join(1);
    second.send(file_frame("t/a", "a"));
    REQUIRE(session.note_until([&] { return session.acknowledged.size() == 1; }));
    proto::Extent hole = extent_of(1, "t/b", kBytes, proto::Encoding::hole);
    hole.length = 1000;
    first.send(extent_frame(hole));
    session.await_ack(hole.id);
    CHECK(is_violation(session.finish(1)));
    CHECK_FALSE(sandbox.outer().exists("inbox/t"));
    sandbox.check_survived();
}

TEST_CASE("a finish while idle data connections are open is the rule") {
    Sandbox sandbox;
    RawSession session(sandbox.receiver());
    DataPeer first = session.join(0);
    DataPeer second = session.join(1);
    second.send(file_frame("t/a", "a"));
    REQUIRE(session.note_until([&] { return session.acknowledged.size() == 1; }));
    CHECK(describe(session.finish(1)) == "Done");
    CHECK(sandbox.outer().read_file("inbox/t/a") == "a");
    sandbox.check_survived();
}

// The counts fit whenever the finish comes between two batches; then the receiver publishes while
// the other connection goes on.
TEST_CASE("a sender that finishes in the middle of its own data does no damage") {
    Sandbox sandbox;
    for (std::uint64_t round = 0; round < 30; ++round) {
        RawSession session(sandbox.receiver());
        DataPeer first = session.join(0);
        DataPeer second = session.join(1);
        proto::Bytes some;
        for (std::uint64_t file = 0; file < 20 * round; ++file) {
            const proto::Bytes frame =
                batch_frame(proto::RecordKind::directory, "t/" + std::to_string(file) + "/sub", "");
            some.insert(some.end(), frame.begin(), frame.end());
        }
        first.shut_down_sending();
        second.send(some);
        session.control.send_message(proto::Finish{0});
        second.send(some);
        read_refusal(session.control);
        sandbox.check_outside_untouched();
        eventually("the session is over", [&] { return !sandbox.outer().exists("inbox/.sluice"); });
        sandbox.outer().remove("inbox/t");
    }
    sandbox.check_survived();
}

TEST_CASE("a data connection that comes while its session publishes stores nothing") {
    Sandbox sandbox;
    proto::Bytes directories;
    for (int number = 0; number < 4'000; ++number) { // take a while to publish
        const proto::Bytes frame =
            batch_frame(proto::RecordKind::directory, "t/" + std::to_string(number), "");
        directories.insert(directories.end(), frame.begin(), frame.end());
    }
    const proto::Bytes late_file = file_frame("late", "too late");
    const proto::Bytes late_staged = file_frame("t/late", "too late");
    for (int round = 0; round < 5; ++round) {
        RawSession session(sandbox.receiver());
        DataPeer data = session.join();
        data.send(directories);
        session.end(data);
        session.control.send_message(proto::Finish{0});
        std::vector<DataPeer> late;
        for (std::uint16_t stream = 1; stream < 30; ++stream) {
            late.push_back(session.join(stream));
            late.back().send(late_file);
            late.back().send(late_staged);
        }
        const bool done = describe(session.receive()) == "Done";
        session.control.close();
        late.clear();
        eventually("the session is over", [&] { return !sandbox.outer().exists("inbox/.sluice"); });
        CHECK((!done || !sandbox.outer().exists("inbox/late")));
        CHECK((!done || !sandbox.outer().exists("inbox/t/late")));
        sandbox.outer().remove("inbox/late");
        sandbox.outer().remove("inbox/t");
    }
    sandbox.check_survived();
}

TEST_CASE("a stream number may be used again when its connection has ended") {
    Sandbox sandbox;
    RawSession session(sandbox.receiver());
    for (std::uint16_t turn = 0; turn < 3; ++turn) {
        DataPeer data = session.join(0);
        data.send(file_frame("file" + std::to_string(turn), "content"));
        session.end(data);
    }
    CHECK(describe(session.finish(3)) == "Done");
    CHECK(sandbox.outer().read_file("inbox/file2") == "content");
    sandbox.check_survived();
}

TEST_CASE("the number of a data connection may not be used again") {
    Sandbox sandbox;
    RawSession session(sandbox.receiver());
    DataPeer first = session.join();
    first.send(file_frame("a", "first"));
    session.end(first);
    session.next_connection = first.number();
    DataPeer second = session.join();
    second.send(file_frame("b", "second"));
    read_refusal(second);
    CHECK(describe(session.finish(1)) == "Done");
    CHECK_FALSE(sandbox.outer().exists("inbox/b"));
    sandbox.outer().remove("inbox/a");
    sandbox.check_survived();
}

TEST_CASE("after Lost nothing of a connection is stored, and its work may come on another") {
    Sandbox sandbox;
    const bool dropped = GENERATE(false, true);
    INFO("given up by the sender: " << dropped);
    RawSession session(sandbox.receiver());
    DataPeer first = session.join();
    session.await_ack(send_part(first, 1, "t/file", 0, 1000));
    proto::Extent rest = extent_of(1, "t/file", kBytes);
    rest.offset = 1000;
    rest.length = kBytes - 1000;
    first.send(extent_frame(rest));
    first.send(content(500, 'y')); // and no more
    if (dropped) {
        REQUIRE(session.control.send_message(proto::Drop{first.number()}));
        REQUIRE(session.note_until([&] { return session.lost.contains(first.number()); }));
        first.send(content(rest.length - 500, 'y'));
    } else {
        session.end(first);
    }
    CHECK_FALSE(session.acknowledged.contains(rest.id));
    DataPeer second = session.join();
    rest.id = fresh_id();
    second.send(extent_frame(rest));
    second.send(content(rest.length));
    session.end(second, {1});
    CHECK(describe(session.finish(1)) == "Done");
    CHECK(sandbox.outer().read_file("inbox/t/file") == std::string(kBytes, 'x'));
    sandbox.check_survived();
}

TEST_CASE("a connection that was dropped before it joined is lost at once, and refused") {
    Sandbox sandbox;
    RawSession session(sandbox.receiver());
    REQUIRE(session.control.send_message(proto::Drop{1}));
    REQUIRE(session.note_until([&] { return session.lost.contains(1); }));
    DataPeer late = session.join();
    REQUIRE(late.number() == 1);
    late.send(file_frame("late", "too late"));
    read_refusal(late);
    CHECK(describe(session.finish(0)) == "Done");
    CHECK_FALSE(sandbox.outer().exists("inbox/late"));
    sandbox.check_survived();
}

TEST_CASE("a session of the same run takes the place of the earlier one") {
    Sandbox sandbox;
    proto::Open open;
    open.run.fill(std::byte{0x77});
    RawSession first(sandbox.receiver(), open);
    DataPeer data = first.join();
    data.send(file_frame("t/a", "first"));
    REQUIRE(first.note_until([&] { return first.acknowledged.size() == 1; }));
    RawPeer control = RawPeer::connect(sandbox.receiver().port(), proto::Role::control);
    REQUIRE(control.send_message(open));
    CHECK(read_refusal(first.control).code == 10);
    Frame frame = control.receive();
    CHECK(frame.type == proto::FrameType::welcome);
    REQUIRE(control.send_message(proto::Finish{0}));
    CHECK(describe(control.receive()) == "Done");
    control.close();
    sandbox.check_survived();
}

TEST_CASE("an abort on the control connection may overtake the file that it is about") {
    Sandbox sandbox;
    const std::string path = GENERATE("t/file", "file");
    INFO(path);
    RawSession session(sandbox.receiver());
    DataPeer data = session.join();
    REQUIRE(session.control.send_message(proto::FileAbort{1}));
    session.settle();
    // As a source that shrank is given up: the payload is cut.
    data.send(extent_frame(extent_of(1, path, kBytes)));
    data.send(content(10));
    session.end(data);
    CHECK(describe(session.finish(0)) == "Done");
    CHECK_FALSE(sandbox.outer().exists("inbox/" + path));
    sandbox.check_survived();
}

TEST_CASE("extents that come after an abort are dropped") {
    Sandbox sandbox;
    const std::string path = GENERATE("t/file", "file");
    RawSession session(sandbox.receiver());
    DataPeer data = session.join();
    session.await_ack(send_part(data, 1, path, 0, 100));
    REQUIRE(session.control.send_message(proto::FileAbort{1}));
    session.settle();
    session.await_ack(send_part(data, 1, path, 100, 100));
    session.end(data);
    CHECK(describe(session.finish(0)) == "Done");
    CHECK_FALSE(sandbox.outer().exists("inbox/" + path));
    sandbox.check_survived();
}

TEST_CASE("an extent that is complete after its file was aborted does not count as a file") {
    Sandbox sandbox;
    RawSession session(sandbox.receiver());
    DataPeer data = session.join();
    send_part(data, 1, "t/file", 0, 100);
    proto::Extent rest = extent_of(1, "t/file", kBytes);
    rest.offset = 100;
    rest.length = 100;
    data.send(extent_frame(rest));
    data.send(content(50));
    eventually("the first half of the second extent has arrived", [&] {
        if (!sandbox.outer().exists("inbox/.sluice")) {
            return false;
        }
        for (const std::string& name : sandbox.outer().list("inbox/.sluice")) {
            const std::string staged = "inbox/.sluice/" + name + "/tree/t/file";
            if (sandbox.outer().exists(staged) && sandbox.outer().status(staged).st_size == 150) {
                return true;
            }
        }
        return false;
    });
    REQUIRE(session.control.send_message(proto::FileAbort{1}));
    session.settle();
    data.send(content(50));
    session.await_ack(rest.id);
    session.end(data);
    CHECK(describe(session.finish(0)) == "Done");
    CHECK_FALSE(sandbox.outer().exists("inbox/t/file"));
    sandbox.check_survived();
}

TEST_CASE("files that cannot be stored do not count against those that are open") {
    Sandbox sandbox;
    sandbox.outer().make_dir("inbox/d");
    sandbox.outer().write_file("inbox/f", "");
    RawSession session(sandbox.receiver());
    DataPeer data = session.join();
    constexpr std::uint64_t kFiles = proto::kMaxOpenFiles + 100; // more than may be open at a time
    for (std::uint64_t id = 0; id < kFiles; ++id) {
        session.await_ack(send_part(data, id, "f/" + std::to_string(id), 0, kBytes));
        REQUIRE(session.control.send_message(proto::FileEnd{id}));
    }
    session.end(data);
    CHECK(describe(session.finish(kFiles)) == "Done");
    CHECK(session.failed.size() == kFiles);
    sandbox.outer().remove("inbox/d");
    sandbox.check_survived();
}

TEST_CASE("a dry run changes nothing, whatever its sender sends") {
    Sandbox sandbox;
    proto::Open request = fresh_open();
    request.flags |= proto::kOpenDryRun;
    request.destination = GENERATE("", "new");
    RawSession session(sandbox.receiver(), request);
    DataPeer data = session.join();
    data.send(file_frame("t/a", "a"));
    data.send(file_frame("b", "b"));
    data.send(batch_frame(proto::RecordKind::directory, "d", ""));
    send_part(data, 1, "c", 0, kBytes);
    CHECK(read_refusal(session.control).code == 12);
    CHECK(sandbox.outer().list("inbox").empty());
    sandbox.check_survived();
}

TEST_CASE("set-user-id and set-group-id bits are dropped by the receiver") {
    Sandbox sandbox;
    RawSession session(sandbox.receiver());
    DataPeer data = session.join();
    data.send(file_frame("small", "content", 06755));
    data.send(file_frame("t/small", "content", 06755));
    proto::Extent large = extent_of(1, "large", kBytes, proto::Encoding::hole);
    large.mode = 06755;
    data.send(extent_frame(large));
    data.send(batch_frame(proto::RecordKind::directory, "t", "", 06755));
    session.end(data, {1});
    CHECK(describe(session.finish(3)) == "Done");
    for (const char* const name : {"small", "t/small", "large", "t"}) {
        INFO(name);
        CHECK((sandbox.outer().status("inbox/" + std::string(name)).st_mode & 07777) == 0755);
    }
    sandbox.check_survived();
}
