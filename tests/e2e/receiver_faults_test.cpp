// Receivers that misbehave, played by hand: what the real sender makes of them.
#include "tests/e2e/checks.hpp"
#include "tests/e2e/fake_receiver.hpp"
#include "tests/support/programs.hpp"
#include "tests/support/tree.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <string>

using namespace sluice;
using namespace sluice::test;

namespace {

constexpr std::size_t kBig = std::size_t{64} << 20; // more than socket buffers hold

bool is_one_line(const std::string& text) {
    return std::count(text.begin(), text.end(), '\n') == 1 && text.back() == '\n';
}

// The sender ends like this, and says why in one line that has `word` in it.
void check_end(Process& sender, int code, const std::string& word) {
    const int ended = sender.wait();
    INFO(sender.err());
    CHECK(ended == code);
    CHECK(is_one_line(sender.err()));
    CHECK(contains(sender.err(), word));
    CHECK(sender.out().empty());
}

struct OneFile {
    TempDir source;
    FakeReceiver receiver;
    std::unique_ptr<Process> sender;

    explicit OneFile(std::size_t size = 5) {
        source.write_file("file", random_bytes(size, 1));
        sender = receiver.start_sender({source.path("file")});
    }

    // Takes everything up to Finish.
    RawPeer receive_all(RawPeer& control) {
        RawPeer data = receiver.accept_stream();
        CHECK(StreamReader(data).read().whole("file"));
        Frame frame;
        static_cast<void>(control.receive_message<proto::Finish>(proto::FrameType::finish, frame));
        return data;
    }
};

} // namespace

TEST_CASE("a receiver that speaks another version makes the sender exit with 2") {
    OneFile test;
    RawPeer control = test.receiver.accept();
    CHECK(control.receive().type == proto::FrameType::open);
    REQUIRE(control.send_message(proto::ErrorMessage{2, "this is version 2"}));
    check_end(*test.sender, 2, "this is version 2");
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

TEST_CASE("a receiver that sends garbage makes the sender exit with 12") {
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
    SECTION("a frame that only senders send") {
        proto::encode(proto::Finish{0, 0}, garbage);
    }
    SECTION("a frame of a data connection") {
        proto::encode(proto::FileEnd{0}, garbage);
    }
    SECTION("ones") {
        garbage.assign(1'000, std::byte{0xff});
    }
    SECTION("zeros") {
        garbage.assign(1'000, std::byte{0});
    }
    REQUIRE(control.send(garbage));
    check_end(*test.sender, 12, "protocol");
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
        RawPeer data = test.receive_all(control);
    }
    SECTION("after it got half of the answer out") {
        RawPeer control = test.receiver.accept_session();
        RawPeer data = test.receive_all(control);
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
    RawPeer data = test.receiver.accept_stream();
    CHECK(data.receive().type == proto::FrameType::extent);
    REQUIRE(control.send_message(proto::Done{}));
    check_end(*test.sender, 12, "protocol");
}

TEST_CASE("Done with failures that were not reported one by one is no full success") {
    OneFile test;
    RawPeer control = test.receiver.accept_session();
    RawPeer data = test.receive_all(control);
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
    RawPeer data = test.receive_all(control);
    proto::Done done;
    done.files = 1;
    REQUIRE(control.send_message(done));
    CHECK(test.sender->wait() == 0);
}

TEST_CASE("Done that does not account for every file that was sent is no success") {
    OneFile test;
    RawPeer control = test.receiver.accept_session();
    RawPeer data = test.receive_all(control);
    REQUIRE(control.send_message(proto::Done{})); // zero files
    const int code = test.sender->wait();
    INFO(test.sender->err());
    CHECK(code != 0);
}

TEST_CASE("a file that the receiver could not store makes the sender exit with 23") {
    OneFile test;
    RawPeer control = test.receiver.accept_session();
    RawPeer data = test.receive_all(control);
    REQUIRE(control.send_message(
        proto::FileError{proto::FileFault::io, EACCES, "file", "Permission denied"}));
    proto::Done done;
    done.failed = 1;
    REQUIRE(control.send_message(done));
    CHECK(test.sender->wait() == 23);
    CHECK(contains(test.sender->err(), "file: not stored: Permission denied"));
}

TEST_CASE("a lost data connection makes the sender exit with 10") {
    OneFile test(kBig);
    RawPeer control = test.receiver.accept_session();
    RawPeer data = test.receiver.accept_stream();
    CHECK(data.receive().type == proto::FrameType::extent);
    CHECK(data.receive_payload(100'000).size() == 100'000);
    data.close();
    SECTION("by itself") {}
    SECTION("together with the control connection") {
        control.close();
    }
    check_end(*test.sender, 10, "connection");
}

TEST_CASE("the reason that comes on the control connection wins over a lost data connection") {
    OneFile test(kBig);
    RawPeer control = test.receiver.accept_session();
    RawPeer data = test.receiver.accept_stream();
    CHECK(data.receive().type == proto::FrameType::extent);
    data.close();
    REQUIRE(control.send_message(proto::ErrorMessage{11, "no space left"}));
    check_end(*test.sender, 11, "no space left");
}
