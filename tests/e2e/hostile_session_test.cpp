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

// Part of a file, with its payload.
void send_part(RawPeer& data, std::uint64_t id, std::string_view path, std::uint64_t offset,
               std::uint64_t length) {
    proto::Extent part = extent_of(id, path, kBytes);
    part.offset = offset;
    part.length = length;
    data.send(extent_frame(part));
    data.send(content(length));
}

// Comes back when the receiver has handled everything sent on `data` so far: the next record, which
// cannot be stored, is reported on the control connection.
void settle_data(RawSession& session, RawPeer& data) {
    data.send(file_frame("fence", ""));
    data.send(file_frame("fence/below", ""));
    Frame frame;
    const auto error =
        session.control.receive_message<proto::FileError>(proto::FrameType::file_error, frame);
    REQUIRE(error.path == "fence/below");
}
constexpr std::uint64_t kFenceFiles = 2;

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
    for (const auto& [what, second] :
         {std::pair{"size", size}, {"path", path}, {"mode", mode}, {"mtime", mtime}}) {
        INFO("another " << what);
        RawSession session(sandbox.receiver());
        RawPeer data = session.join();
        data.send(extent_frame(first));
        data.send(extent_frame(second));
        data.send_message(proto::FileEnd{1});
        data.send(stream_end_frame());
        CHECK(is_violation(session.finish(1, 1)));
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
    };
    const std::vector<Finish> cases{
        {"fewer files than announced", 2, [](RawPeer& d) { d.send(file_frame("t/a", "a")); }},
        {"more files than announced", 0, [](RawPeer& d) { d.send(file_frame("t/a", "a")); }},
        {"2^64 - 1 files", UINT64_MAX, [](RawPeer& d) { d.send(file_frame("t/a", "a")); }},
        {"a file without its end", 0, [](RawPeer& d) { send_part(d, 1, "t/a", 0, kBytes); }},
        {"half a file without its end", 0, [](RawPeer& d) { send_part(d, 1, "t/a", 0, 50); }},
        {"an ended file with a gap", 1,
         [](RawPeer& d) {
             send_part(d, 1, "t/a", 0, 50);
             send_part(d, 1, "t/a", 60, kBytes - 60);
             d.send_message(proto::FileEnd{1});
         }},
        {"an ended file with a gap that is not counted", 0,
         [](RawPeer& d) {
             send_part(d, 1, "t/a", 50, kBytes - 50);
             d.send_message(proto::FileEnd{1});
         }},
        {"the end of an unknown file", 1, [](RawPeer& d) { d.send_message(proto::FileEnd{7}); }},
        {"the end of an unknown file, not counted", 0,
         [](RawPeer& d) { d.send_message(proto::FileEnd{7}); }},
        {"two ends of one file", 2, [](RawPeer& d) {
             send_part(d, 1, "t/a", 0, kBytes);
             d.send_message(proto::FileEnd{1});
             d.send_message(proto::FileEnd{1});
         }}};
    for (const Finish& one : cases) {
        INFO(one.what);
        RawSession session(sandbox.receiver());
        RawPeer data = session.join();
        one.send(data);
        data.send(stream_end_frame());
        CHECK(is_violation(session.finish(1, one.files)));
        CHECK_FALSE(sandbox.outer().exists("inbox/t"));
    }
    sandbox.check_survived();
}

TEST_CASE("a finish while a data connection is still open is refused") {
    Sandbox sandbox;
    RawSession session(sandbox.receiver());
    RawPeer first = session.join(0);
    RawPeer second = session.join(1);
    second.send(file_frame("t/a", "a"));
    settle_data(session, second);
    first.send(stream_end_frame());
    CHECK(is_violation(session.finish(1, 1 + kFenceFiles)));
    CHECK_FALSE(sandbox.outer().exists("inbox/t"));
    sandbox.outer().remove("inbox/fence");
    sandbox.check_survived();
}

// The counts fit whenever the finish comes between two batches; then the receiver publishes while
// the other connection goes on.
TEST_CASE("a sender that finishes in the middle of its own data does no damage") {
    Sandbox sandbox;
    for (std::uint64_t round = 0; round < 30; ++round) {
        RawSession session(sandbox.receiver());
        RawPeer first = session.join(0);
        RawPeer second = session.join(1);
        proto::Bytes some;
        for (std::uint64_t file = 0; file < 20 * round; ++file) {
            const proto::Bytes frame =
                batch_frame(proto::RecordKind::directory, "t/" + std::to_string(file) + "/sub", "");
            some.insert(some.end(), frame.begin(), frame.end());
        }
        first.send(stream_end_frame());
        second.send(some);
        session.control.send_message(proto::Finish{1, 0});
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
        RawPeer data = session.join();
        data.send(directories);
        end_stream(data);
        session.control.send_message(proto::Finish{1, 0});
        std::vector<RawPeer> late;
        for (std::uint16_t stream = 1; stream < 30; ++stream) {
            late.push_back(session.join(stream));
            late.back().send(late_file);
            late.back().send(late_staged);
        }
        const bool done = describe(session.control.receive()) == "Done";
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
        RawPeer data = session.join(0);
        data.send(file_frame("file" + std::to_string(turn), "content"));
        end_stream(data);
    }
    CHECK(describe(session.finish(3, 3)) == "Done");
    CHECK(sandbox.outer().read_file("inbox/file2") == "content");
    sandbox.check_survived();
}

TEST_CASE("a file end may overtake the extents of its file on other connections") {
    Sandbox sandbox;
    const bool first_extent_before = GENERATE(true, false);
    RawSession session(sandbox.receiver());
    RawPeer first = session.join(0);
    RawPeer second = session.join(1);
    if (first_extent_before) {
        send_part(first, 1, "file", 0, kBytes / 2);
    }
    settle_data(session, first);
    second.send_message(proto::FileEnd{1});
    end_stream(second);
    if (!first_extent_before) {
        send_part(first, 1, "file", 0, kBytes / 2);
    }
    send_part(first, 1, "file", kBytes / 2, kBytes / 2);
    first.send(stream_end_frame());
    CHECK(describe(session.finish(2, 1 + kFenceFiles)) == "Done");
    REQUIRE(sandbox.outer().exists("inbox/file"));
    CHECK(sandbox.outer().read_file("inbox/file") == std::string(kBytes, 'x'));
    sandbox.check_survived();
}

TEST_CASE("an abort on the control connection may overtake the file that it is about") {
    Sandbox sandbox;
    const std::string path = GENERATE("t/file", "file");
    INFO(path);
    RawSession session(sandbox.receiver());
    RawPeer data = session.join();
    REQUIRE(session.control.send_message(proto::FileAbort{1}));
    session.settle();
    // As a source that shrank is given up: the payload is cut.
    data.send(extent_frame(extent_of(1, path, kBytes)));
    data.send(content(10));
    data.shut_down_sending();
    CHECK(describe(session.finish(1, 0)) == "Done");
    CHECK_FALSE(sandbox.outer().exists("inbox/" + path));
    sandbox.check_survived();
}

TEST_CASE("extents that come after an abort are dropped") {
    Sandbox sandbox;
    const std::string path = GENERATE("t/file", "file");
    RawSession session(sandbox.receiver());
    RawPeer data = session.join();
    send_part(data, 1, path, 0, 100);
    data.send_message(proto::FileAbort{1});
    send_part(data, 1, path, 100, 100);
    data.send(stream_end_frame());
    CHECK(describe(session.finish(1, 0)) == "Done");
    CHECK_FALSE(sandbox.outer().exists("inbox/" + path));
    sandbox.check_survived();
}

TEST_CASE("an extent that is complete after its file was aborted does not count as a file") {
    Sandbox sandbox;
    RawSession session(sandbox.receiver());
    RawPeer data = session.join();
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
    data.send(stream_end_frame());
    CHECK(describe(session.finish(1, 0)) == "Done");
    CHECK_FALSE(sandbox.outer().exists("inbox/t/file"));
    sandbox.check_survived();
}

TEST_CASE("files that cannot be stored do not count against those that are open") {
    Sandbox sandbox;
    sandbox.outer().make_dir("inbox/d");
    sandbox.outer().write_file("inbox/f", "");
    RawSession session(sandbox.receiver());
    RawPeer data = session.join();
    for (std::uint64_t id = 0; id < 600; ++id) { // more than may be open at a time
        data.send(extent_frame(extent_of(id, "f/" + std::to_string(id), kBytes)));
        data.send(content(kBytes));
        data.send_message(proto::FileEnd{id});
    }
    data.send(stream_end_frame());
    CHECK(describe(session.finish(1, 600)) == "Done");
    CHECK(session.failed.size() == 600);
    sandbox.outer().remove("inbox/d");
    sandbox.check_survived();
}

TEST_CASE("a dry run changes nothing, whatever its sender sends") {
    Sandbox sandbox;
    proto::Open request;
    request.flags |= proto::kOpenDryRun;
    request.destination = GENERATE("", "new");
    RawSession session(sandbox.receiver(), request);
    RawPeer data = session.join();
    data.send(file_frame("t/a", "a"));
    data.send(file_frame("b", "b"));
    data.send(batch_frame(proto::RecordKind::directory, "d", ""));
    send_part(data, 1, "c", 0, kBytes);
    data.send_message(proto::FileEnd{1});
    data.send(stream_end_frame());
    static_cast<void>(session.finish(1, 3));
    CHECK(sandbox.outer().list("inbox").empty());
    sandbox.check_survived();
}

TEST_CASE("set-user-id and set-group-id bits are dropped by the receiver") {
    Sandbox sandbox;
    RawSession session(sandbox.receiver());
    RawPeer data = session.join();
    data.send(file_frame("small", "content", 06755));
    data.send(file_frame("t/small", "content", 06755));
    proto::Extent large = extent_of(1, "large", kBytes, proto::Encoding::hole);
    large.mode = 06755;
    data.send(extent_frame(large));
    data.send_message(proto::FileEnd{1});
    data.send(batch_frame(proto::RecordKind::directory, "t", "", 06755));
    data.send(stream_end_frame());
    CHECK(describe(session.finish(1, 3)) == "Done");
    for (const char* const name : {"small", "t/small", "large", "t"}) {
        INFO(name);
        CHECK((sandbox.outer().status("inbox/" + std::string(name)).st_mode & 07777) == 0755);
    }
    sandbox.check_survived();
}
