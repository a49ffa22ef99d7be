// Senders that take what they can get: connections, open files, memory; and senders that vanish.
#include "common/sanitized.hpp"
#include "tests/e2e/hostile.hpp"

#include <fstream>

using namespace sluice;
using namespace sluice::test;

namespace {

UniqueFd raw_connection(Sandbox& sandbox) {
    auto socket =
        connect_tcp("127.0.0.1", static_cast<std::uint16_t>(std::stoul(sandbox.receiver().port())),
                    std::chrono::seconds{10}, -1);
    REQUIRE(socket);
    return std::move(*socket);
}

long memory_kib(Sandbox& sandbox) {
    std::ifstream status("/proc/" + std::to_string(sandbox.receiver().process().pid()) + "/status");
    for (std::string line; std::getline(status, line);) {
        if (line.starts_with("VmHWM:")) {
            return std::stol(line.substr(6));
        }
    }
    return 0;
}

// Closes it in an orderly way, or with a reset.
void drop(RawPeer& peer, bool reset) {
    if (reset) {
        const linger now{1, 0};
        REQUIRE(::setsockopt(peer.socket(), SOL_SOCKET, SO_LINGER, &now, sizeof now) == 0);
    }
    peer.close();
}

proto::Bytes cut(proto::Bytes frame, std::size_t missing) {
    frame.resize(frame.size() - missing);
    return frame;
}

} // namespace

TEST_CASE("a hundred connections that say nothing do not hinder a push") {
    Sandbox sandbox;
    std::vector<UniqueFd> silent;
    const auto preamble = proto::encode_preamble({proto::kVersion, proto::Role::control});
    for (std::size_t count = 0; count < 100; ++count) {
        silent.push_back(raw_connection(sandbox));
        const std::size_t said = count % (preamble.size() + 1); // part of a preamble, or all of it
        REQUIRE(::send(silent.back().get(), preamble.data(), said, MSG_NOSIGNAL) ==
                static_cast<ssize_t>(said));
    }
    const TempDir source;
    source.write_file("tree/file", "content");
    const Finished sent = send(sandbox.receiver(), {source.path("tree")});
    CHECK(sent.code == 0);
    CHECK(sandbox.outer().read_file("inbox/tree/file") == "content");
    silent.clear();
    sandbox.check_survived();
}

TEST_CASE("without --keep-partial a sender that vanishes in any state leaves nothing behind") {
    Sandbox sandbox({"--keep-partial", "0"});
    const bool reset = GENERATE(false, true);
    const proto::Bytes file = file_frame("t/file", std::string(1000, 'x'));
    const proto::Bytes extent = extent_frame(extent_of(1, "t/large", 100'000));
    const proto::Bytes zstd = extent_frame(extent_of(1, "t/large", 100'000, proto::Encoding::zstd));
    proto::Bytes block;
    proto::encode(proto::Block{proto::Encoding::raw, 3, as_bytes("abc")}, block);
    const proto::Bytes payload(50'000, std::byte{'x'});
    const std::vector<std::vector<proto::Bytes>> said{{},
                                                      {cut(file, 1)},
                                                      {cut(file, 1000)},
                                                      {file},
                                                      {file, cut(extent, 2)},
                                                      {file, extent},
                                                      {file, extent, payload},
                                                      {file, zstd},
                                                      {file, zstd, cut(block, 1)},
                                                      {file, zstd, block}};
    for (const auto& frames : said) {
        for (const bool control_first : {true, false}) {
            RawSession session(sandbox.receiver());
            DataPeer data = session.join();
            for (const proto::Bytes& frame : frames) {
                data.send(frame);
            }
            if (control_first) {
                drop(session.control, reset);
            }
            drop(data, reset);
        }
    }
    for (const std::size_t bytes : {0U, 1U, 15U, 16U, 20U, 39U, 40U, 60U}) { // of a greeting
        for (const proto::Role role : {proto::Role::control, proto::Role::data}) {
            RawPeer peer(raw_connection(sandbox), role, false);
            const auto preamble = proto::encode_preamble({proto::kVersion, role});
            proto::Bytes greeting(preamble.begin(), preamble.end());
            role == proto::Role::control ? proto::encode(proto::Open{}, greeting)
                                         : proto::encode(proto::Join{}, greeting);
            greeting.resize(bytes);
            peer.send(greeting);
            drop(peer, reset);
        }
    }
    sandbox.check_survived();
    CHECK(sandbox.outer().list("inbox").empty());
}

TEST_CASE("a sender that vanishes in any state leaves what the next one can go on with") {
    Sandbox sandbox;
    for (int sender = 0; sender < 3; ++sender) {
        RawSession session(sandbox.receiver());
        DataPeer data = session.join();
        data.send(file_frame("t/" + std::to_string(sender), "content"));
        const proto::Extent extent = extent_of(1, "t/large", 200'000, proto::Encoding::hole);
        proto::Extent part = extent;
        part.length = 100'000;
        data.send(extent_frame(part));
        session.await_ack(part.id);
        drop(session.control, sender % 2 == 0);
        read_refusal(data);
        CHECK(sandbox.outer().list("inbox") == std::vector<std::string>{".sluice"});
        CHECK(sandbox.outer().list("inbox/.sluice").size() == 1);
    }
    {
        RawSession session(sandbox.receiver());
        CHECK(describe(session.finish(0)) == "Done");
    }
    CHECK_FALSE(sandbox.outer().exists("inbox/t")); // nobody wanted it
    sandbox.check_survived();
}

TEST_CASE("the control connection of a session takes its data connections with it") {
    Sandbox sandbox;
    RawSession session(sandbox.receiver());
    std::vector<DataPeer> streams;
    for (std::uint16_t index = 0; index < 8; ++index) {
        streams.push_back(session.join(index));
        streams.back().send(extent_frame(extent_of(index, "t/" + std::to_string(index), 1000)));
    }
    session.control.close();
    for (RawPeer& stream : streams) {
        read_refusal(stream); // comes to its end
    }
    sandbox.check_survived();
}

TEST_CASE("a sender cannot make the receiver open thousands of files") {
    Sandbox sandbox;
    const std::size_t before = sandbox.receiver().process().open_descriptors();
    RawSession session(sandbox.receiver());
    DataPeer data = session.join();
    proto::Bytes frames;
    for (std::uint64_t id = 0; id < 5000; ++id) {
        const std::string path = "t/" + std::to_string(id);
        proto::Extent extent = extent_of(id, path, 1000, proto::Encoding::hole);
        extent.length = 10;
        const proto::Bytes frame = extent_frame(extent);
        frames.insert(frames.end(), frame.begin(), frame.end());
    }
    data.send(frames);
    const Refusal refusal = read_refusal(session.control);
    CHECK(refusal.code == 12);
    CHECK(refusal.text.find("limit") != std::string::npos);
    CHECK(sandbox.receiver().process().open_descriptors() < before + proto::kMaxOpenFiles + 100);
    sandbox.check_survived();
}

TEST_CASE("a sender cannot make the receiver keep thousands of directories open") {
    Sandbox sandbox({"--keep-partial", "0"});
    const std::size_t before = sandbox.receiver().process().open_descriptors();
    RawSession session(sandbox.receiver());
    DataPeer data = session.join();
    for (int directory = 0; directory < 3000; ++directory) {
        data.send(file_frame("t/" + std::to_string(directory) + "/file", "x"));
    }
    session.end(data);
    CHECK(sandbox.receiver().process().open_descriptors() < before + 600);
    session.control.close();
    sandbox.check_survived();
}

TEST_CASE("a file of too many separate pieces ends the session") {
    Sandbox sandbox;
    RawSession session(sandbox.receiver());
    DataPeer data = session.join();
    proto::Bytes frames;
    for (std::uint64_t piece = 0; piece < 10'000; ++piece) {
        proto::Extent extent = extent_of(1, "t/file", 1'000'000, proto::Encoding::hole);
        extent.offset = piece * 2;
        extent.length = 1;
        const proto::Bytes frame = extent_frame(extent);
        frames.insert(frames.end(), frame.begin(), frame.end());
    }
    data.send(frames);
    CHECK(read_refusal(session.control).code == 12);
    sandbox.check_survived();
}

TEST_CASE("a session has no more data connections at a time than the limit") {
    Sandbox sandbox;
    const std::size_t before = sandbox.receiver().process().open_descriptors();
    RawSession session(sandbox.receiver());
    std::vector<DataPeer> streams;
    for (std::uint16_t count = 0; count < 200; ++count) {
        streams.push_back(session.join(count % proto::kMaxStreams));
    }
    eventually("the receiver has closed those that are too many",
               [&] { return sandbox.receiver().process().open_descriptors() <= before + 2 + 70; });
    session.control.close();
    streams.clear();
    sandbox.check_survived();
}

TEST_CASE("a sender that does not read its file errors cannot make the receiver take memory") {
    Sandbox sandbox;
    sandbox.outer().write_file("inbox/f", "");
    RawSession session(sandbox.receiver());
    DataPeer data = session.join();
    std::string path = "f";
    while (path.size() < 4000) {
        path += '/' + std::string(200, 'n');
    }
    proto::Bytes frames;
    for (int count = 0; count < 100; ++count) {
        const proto::Bytes frame = file_frame(path, "x");
        frames.insert(frames.end(), frame.begin(), frame.end());
    }
    for (int count = 0; count < 500; ++count) { // 200 MB of errors
        data.send(frames);
    }
    data.shut_down_sending();
    read_refusal(data); // it has handled everything
    if (!kSanitized) {
        CHECK(memory_kib(sandbox) < 96 * 1024);
    }
    session.control.close();
    sandbox.outer().remove("inbox/f");
    sandbox.check_survived();
}

TEST_CASE("sessions beyond the limit are refused, and accepted once there is room") {
    Sandbox sandbox({"--max-sessions", "2"});
    RawSession first(sandbox.receiver());
    {
        RawSession second(sandbox.receiver());
        RawPeer third = RawPeer::connect(sandbox.receiver().port(), proto::Role::control);
        third.send_message(fresh_open());
        const Refusal refusal = read_refusal(third);
        CHECK(refusal.code == 5);
        CHECK(refusal.text.find("busy") != std::string::npos);
    }
    eventually("there is room again", [&] {
        RawPeer again = RawPeer::connect(sandbox.receiver().port(), proto::Role::control);
        again.send_message(fresh_open());
        return again.receive().type == proto::FrameType::welcome;
    });
    first.control.close();
    eventually("all sessions are over", [&] {
        RawPeer one = RawPeer::connect(sandbox.receiver().port(), proto::Role::control);
        RawPeer two = RawPeer::connect(sandbox.receiver().port(), proto::Role::control);
        one.send_message(fresh_open());
        two.send_message(fresh_open());
        return one.receive().type == proto::FrameType::welcome &&
               two.receive().type == proto::FrameType::welcome;
    });
    sandbox.check_nothing_left();
    sandbox.check_outside_untouched();
}
