// Receivers that misbehave, played by hand: what the real sender makes of them.
#include "tests/e2e/checks.hpp"
#include "tests/e2e/fake_receiver.hpp"
#include "tests/support/programs.hpp"
#include "tests/support/tree.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <chrono>
#include <string>
#include <thread>

using namespace sluice;
using namespace sluice::test;

namespace {

constexpr std::size_t kBig = std::size_t{64} << 20; // more than socket buffers hold

// The sender ends like this, and says why in one line that has `word` in it.
void check_end(Process& sender, int code, const std::string& word) {
    const int ended = sender.wait();
    INFO(sender.err());
    CHECK(ended == code);
    CHECK(is_one_line(sender.err()));
    CHECK(contains(sender.err(), word));
    CHECK(sender.out().empty());
}

// A sender of one file that does not come back once it has lost its session.
struct OneFile {
    TempDir source;
    FakeReceiver receiver;
    std::unique_ptr<Process> sender;

    explicit OneFile(std::size_t size = 5, const std::string& retry_for = "0") {
        source.write_file("file", random_bytes(size, 1));
        sender = receiver.start_sender({"--retry-for", retry_for, source.path("file")});
    }

    // Takes everything up to Finish.
    void receive_all(RawPeer& control) {
        DataPeer data = receiver.accept_stream();
        SessionReader session(control);
        session.read_stream(data);
        CHECK(session.read_finish() == 1);
        CHECK(session.log().whole("file"));
    }
};

} // namespace

TEST_CASE("a receiver that speaks another version makes the sender exit with 2") {
    OneFile test;
    RawPeer control = test.receiver.accept();
    CHECK(control.receive().type == proto::FrameType::open);
    REQUIRE(control.send_message(proto::ErrorMessage{2, "this is version 4"}));
    check_end(*test.sender, 2, "this is version 4");
}

TEST_CASE("an error that the receiver reports becomes the sender's exit code") {
    const auto code = GENERATE(values<std::uint16_t>({5, 10, 11, 12, 20, 23, 24, 30}));
    OneFile test;
    RawPeer control = test.receiver.accept_session();
    REQUIRE(control.send_message(proto::ErrorMessage{code, "because\nof \x1b[2J"}));
    check_end(*test.sender, code, "because\\nof \\x1b[2J");
}

TEST_CASE("an error that makes no sense counts as a protocol violation") {
    const auto code = GENERATE(values<std::uint16_t>({0, 3, 255, 256, 65535}));
    OneFile test;
    RawPeer control = test.receiver.accept_session();
    REQUIRE(control.send_message(proto::ErrorMessage{code, "nonsense"}));
    check_end(*test.sender, 12, "nonsense");
}

TEST_CASE("a receiver that sends what it may not makes the sender exit with 12") {
    OneFile test;
    const bool welcomed = GENERATE(false, true);
    RawPeer control = welcomed ? test.receiver.accept_session() : test.receiver.accept();
    if (!welcomed) {
        CHECK(control.receive().type == proto::FrameType::open);
    }
    proto::Bytes garbage;
    SECTION("a frame that only senders send") {
        proto::encode(proto::Finish{0}, garbage);
    }
    SECTION("a frame of a data connection") {
        proto::encode(proto::Join{}, garbage);
    }
    SECTION("an acknowledgement of what was never sent") {
        proto::encode(proto::Ack{{4711}}, garbage);
    }
    SECTION("another try of what was never sent") {
        proto::encode(proto::Again{4711, {}}, garbage);
    }
    SECTION("pieces of a file that was never offered") {
        proto::encode(proto::Present{4711, {{0, 1}}}, garbage);
    }
    REQUIRE(control.send(garbage));
    check_end(*test.sender, 12, "protocol");
}

TEST_CASE("garbage from the receiver counts as a lost connection") {
    OneFile test;
    const bool welcomed = GENERATE(false, true);
    RawPeer control = welcomed ? test.receiver.accept_session() : test.receiver.accept();
    if (!welcomed) {
        CHECK(control.receive().type == proto::FrameType::open);
    }
    proto::Bytes garbage;
    SECTION("text") {
        for (const char c : std::string("HTTP/1.1 400 Bad Request\r\n\r\n")) {
            garbage.push_back(static_cast<std::byte>(c));
        }
    }
    SECTION("ones") {
        garbage.assign(1'000, std::byte{0xff});
    }
    SECTION("zeros") {
        garbage.assign(1'000, std::byte{0});
    }
    REQUIRE(control.send(garbage));
    check_end(*test.sender, 10, "damaged");
}

TEST_CASE("a second welcome makes the sender exit with 12") {
    OneFile test;
    RawPeer control = test.receiver.accept_session();
    REQUIRE(control.send_message(proto::Welcome{}));
    check_end(*test.sender, 12, "protocol");
}

TEST_CASE("a verdict on files that were never offered makes the sender exit with 12") {
    OneFile test;
    const bool fresh = GENERATE(false, true);
    RawPeer control = test.receiver.accept_session(fresh);
    const proto::Bytes wanted{std::byte{1}};
    REQUIRE(control.send_message(proto::Verdict{4711, 1, wanted}));
    check_end(*test.sender, 12, "protocol");
}

TEST_CASE("a verdict on more files than were offered makes the sender exit with 12") {
    OneFile test;
    RawPeer control = test.receiver.accept_session(false);
    Frame frame;
    const auto offer = control.receive_message<proto::Offer>(proto::FrameType::offer, frame);
    CHECK(offer.entries.size() == 1);
    const proto::Bytes wanted{std::byte{3}};
    REQUIRE(control.send_message(proto::Verdict{offer.first_id, 2, wanted}));
    check_end(*test.sender, 12, "protocol");
}

TEST_CASE("a receiver that closes before it is done is never a success") {
    OneFile test;
    SECTION("before it accepts") {
        RawPeer control = test.receiver.accept();
        CHECK(control.receive().type == proto::FrameType::open);
    }
    SECTION("after it accepted") {
        RawPeer control = test.receiver.accept_session();
    }
    SECTION("after everything arrived") {
        RawPeer control = test.receiver.accept_session();
        test.receive_all(control);
    }
    SECTION("after it got half of the answer out") {
        RawPeer control = test.receiver.accept_session();
        test.receive_all(control);
        proto::Bytes done;
        proto::encode(proto::Done{}, done);
        done.resize(done.size() - 1);
        REQUIRE(control.send(done));
    }
    check_end(*test.sender, 10, "receiver");
}

TEST_CASE("Done is a violation before everything has been sent") {
    OneFile test(kBig);
    RawPeer control = test.receiver.accept_session();
    DataPeer data = test.receiver.accept_stream();
    CHECK(data.receive().type == proto::FrameType::extent);
    REQUIRE(control.send_message(proto::Done{}));
    check_end(*test.sender, 12, "protocol");
}

TEST_CASE("Done with failures that were not reported one by one is no full success") {
    OneFile test;
    RawPeer control = test.receiver.accept_session();
    test.receive_all(control);
    proto::Done done;
    done.failed = 1;
    REQUIRE(control.send_message(done));
    const int code = test.sender->wait();
    INFO(test.sender->err());
    CHECK(code == 23);
}

TEST_CASE("Done is the end, with every file accounted for") {
    OneFile test;
    RawPeer control = test.receiver.accept_session();
    test.receive_all(control);
    proto::Done done;
    done.files = 1;
    REQUIRE(control.send_message(done));
    CHECK(test.sender->wait() == 0);
}

TEST_CASE("Done that does not account for every file that was sent is no success") {
    OneFile test;
    RawPeer control = test.receiver.accept_session();
    test.receive_all(control);
    REQUIRE(control.send_message(proto::Done{})); // zero files
    const int code = test.sender->wait();
    INFO(test.sender->err());
    CHECK(code != 0);
}

TEST_CASE("a file that the receiver could not store makes the sender exit with 23") {
    OneFile test;
    RawPeer control = test.receiver.accept_session();
    test.receive_all(control);
    REQUIRE(control.send_message(
        proto::FileError{proto::FileFault::io, EACCES, "file", "Permission denied"}));
    proto::Done done;
    done.failed = 1;
    REQUIRE(control.send_message(done));
    CHECK(test.sender->wait() == 23);
    CHECK(contains(test.sender->err(), "file: not stored: Permission denied"));
}

TEST_CASE("a lost data connection is replaced, and what it did not bring comes on the next") {
    OneFile test(kBig, "60");
    RawPeer control = test.receiver.accept_session();
    SessionReader session(control);
    DataPeer first = test.receiver.accept_stream();
    session.read_one_extent(first); // acknowledged
    CHECK(first.receive().type == proto::FrameType::extent);
    CHECK(first.receive_payload(100'000).size() == 100'000);
    first.close();
    session.read_control_until(proto::FrameType::drop);
    CHECK(session.log().dropped == std::vector{first.number()});
    std::uint64_t bytes = session.log().content.at("file").size();
    session.on_extent = [&](const proto::Extent& extent) {
        CHECK(extent.offset > 0); // that one was stored
        bytes += extent.length;
        return false;
    };
    REQUIRE(control.send_message(proto::Lost{first.number()}));
    DataPeer second = test.receiver.accept_stream();
    session.read_stream(second);
    CHECK(session.read_finish() == 1);
    CHECK(bytes == kBig);
    CHECK((session.log().content.at("file") == random_bytes(kBig, 1)));
    proto::Done done;
    done.files = 1;
    REQUIRE(control.send_message(done));
    CHECK(test.sender->wait() == 0);
}

TEST_CASE("nothing is sent again before the receiver says what it has of a lost connection") {
    OneFile test(kBig, "60");
    RawPeer control = test.receiver.accept_session();
    SessionReader session(control);
    DataPeer first = test.receiver.accept_stream();
    Frame frame;
    const auto lost = first.receive_message<proto::Extent>(proto::FrameType::extent, frame);
    CHECK(lost.offset == 0);
    first.close();
    std::uint64_t bytes = 0;
    std::uint64_t least = kBig;
    session.on_extent = [&](const proto::Extent& extent) {
        bytes += extent.length;
        least = std::min(least, extent.offset);
        return true; // not acknowledged: the rest of what is in flight must come without that
    };
    DataPeer second = test.receiver.accept_stream();
    while (bytes < kBig - lost.length) {
        session.read_one_extent(second);
    }
    CHECK(least == lost.length);
    CHECK_FALSE(second.readable_within(std::chrono::milliseconds{50}));
    REQUIRE(control.send_message(proto::Lost{first.number()}));
    session.read_one_extent(second);
    CHECK(least == 0);
    test.sender->signal(SIGKILL);
}

TEST_CASE("a data connection lost together with the control connection ends the session") {
    OneFile test(kBig);
    RawPeer control = test.receiver.accept_session();
    DataPeer data = test.receiver.accept_stream();
    CHECK(data.receive().type == proto::FrameType::extent);
    data.close();
    control.close();
    check_end(*test.sender, 10, "connection");
}

TEST_CASE("a sender whose data connections cannot be made any more gives up after --retry-for") {
    TempDir source;
    source.write_file("file", random_bytes(kBig, 1));
    auto receiver = std::make_unique<FakeReceiver>();
    auto sender = receiver->start_sender({"--retry-for", "0.3", source.path("file")});
    RawPeer control = receiver->accept_session();
    DataPeer data = receiver->accept_stream();
    receiver.reset(); // nobody listens
    data.close();
    const int code = sender->wait();
    INFO(sender->err());
    CHECK(code == 10);
    CHECK(contains(sender->err(), "(gave up after "));
}

TEST_CASE("the reason that comes on the control connection wins over a lost data connection") {
    OneFile test(kBig);
    RawPeer control = test.receiver.accept_session();
    DataPeer data = test.receiver.accept_stream();
    CHECK(data.receive().type == proto::FrameType::extent);
    data.close();
    std::this_thread::sleep_for(std::chrono::milliseconds(300)); // as on a slow path
    REQUIRE(control.send_message(proto::ErrorMessage{11, "no space left"}));
    check_end(*test.sender, 11, "no space left");
}
