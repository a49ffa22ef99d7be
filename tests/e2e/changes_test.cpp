// Sources that change while they are sent. The receiver is played by hand, so that they change
// at a known moment.
#include "tests/e2e/checks.hpp"
#include "tests/e2e/fake_receiver.hpp"
#include "tests/support/programs.hpp"
#include "tests/support/tree.hpp"

#include <catch2/catch.hpp>
#include <string>
#include <unistd.h>
#include <utility>

using namespace sluice;
using namespace sluice::test;

namespace {

// More than socket buffers hold.
constexpr std::size_t kBig = std::size_t{64} << 20;
constexpr std::size_t kOther = (std::size_t{1} << 20) + 1;

// Three files and a sender of them, in this order: one that will change, a large and a small one.
struct ChangingSource {
    TempDir source;
    FakeReceiver receiver;
    std::unique_ptr<Process> sender;

    ChangingSource() {
        source.write_file("big", random_bytes(kBig, 1));
        source.write_file("other", random_bytes(kOther, 2));
        source.write_file("small", "small");
        source.set_mtime("big", 1'000'000'000); // whatever changes it, this changes with it
        sender =
            receiver.start_sender({source.path("big"), source.path("other"), source.path("small")});
    }

    // Reads a data connection; calls `change` once, after a piece of "big" has come.
    template <typename Change>
    StreamLog read_and(RawPeer& data, Change change) {
        bool changed = false;
        StreamReader reader(data, [&](const std::string& path) {
            if (path == "big" && !std::exchange(changed, true)) {
                change();
            }
        });
        return reader.read();
    }

    void write_to_big(off_t at) const {
        const int file = ::open(source.path("big").c_str(), O_WRONLY | O_CLOEXEC);
        REQUIRE(file >= 0);
        REQUIRE(::pwrite(file, "changed", 7, at) == 7);
        ::close(file);
    }

    void check_others(const StreamLog& log) {
        CHECK(log.stream_end);
        CHECK(log.whole("other"));
        CHECK(log.whole("small"));
        CHECK((log.content.at("other") == random_bytes(kOther, 2)));
        CHECK(log.content.at("small") == "small");
    }

    // Takes the Finish, answers it, and looks at how the sender ends.
    void finish(RawPeer& control, std::uint16_t streams, std::uint64_t files, int code) {
        Frame frame;
        const auto message =
            control.receive_message<proto::Finish>(proto::FrameType::finish, frame);
        CHECK(message.streams == streams);
        CHECK(message.files == files);
        proto::Done done;
        done.files = files;
        CHECK(control.send_message(done));
        const int ended = sender->wait();
        INFO(sender->err());
        CHECK(ended == code);
    }
};

// Answers offers until `count` files have been offered; their ids. `wants` is asked for each path
// before the answer is sent.
template <typename Wants>
std::map<std::string, std::uint64_t> answer_offers(RawPeer& control, std::size_t count,
                                                   Wants wants) {
    std::map<std::string, std::uint64_t> ids;
    while (ids.size() < count) {
        Frame frame;
        const auto offer = control.receive_message<proto::Offer>(proto::FrameType::offer, frame);
        proto::Bytes wanted((offer.entries.size() + 7) / 8);
        for (std::size_t index = 0; index < offer.entries.size(); ++index) {
            const std::string path(offer.entries[index].path);
            ids[path] = offer.first_id + index;
            if (wants(path)) {
                wanted[index / 8] |= std::byte{1} << (index % 8);
            }
        }
        REQUIRE(control.send_message(proto::Verdict{
            offer.first_id, static_cast<std::uint16_t>(offer.entries.size()), wanted}));
    }
    return ids;
}

} // namespace

TEST_CASE("a source that shrinks while it is sent is withdrawn, and the rest arrives") {
    ChangingSource test;
    RawPeer control = test.receiver.accept_session();
    RawPeer first = test.receiver.accept_stream();
    const StreamLog cut = test.read_and(
        first, [&] { REQUIRE(::truncate(test.source.path("big").c_str(), 1'000'000) == 0); });
    CHECK(cut.cut);
    CHECK_FALSE(cut.whole("big"));

    RawPeer second = test.receiver.accept_stream();
    test.check_others(StreamReader(second).read());
    Frame frame;
    const auto abort =
        control.receive_message<proto::FileAbort>(proto::FrameType::file_abort, frame);
    CHECK(abort.file_id == cut.ids.at("big"));
    test.finish(control, 2, 2, 24);
    CHECK(contains(test.sender->err(), test.source.path("big") + ": shrank"));
    CHECK(contains(test.sender->err(), "1 FAILED"));
}

TEST_CASE("a source that changes while it is sent is withdrawn, and the rest arrives") {
    ChangingSource test;
    const bool grows = GENERATE(false, true);
    const off_t at = grows ? static_cast<off_t>(kBig) : 1'000;
    RawPeer control = test.receiver.accept_session();
    RawPeer data = test.receiver.accept_stream();
    const StreamLog log = test.read_and(data, [&] { test.write_to_big(at); });
    CHECK_FALSE(log.whole("big"));
    CHECK(log.aborted == std::vector{log.ids.at("big")});
    test.check_others(log);
    test.finish(control, 1, 2, 24);
    CHECK(contains(test.sender->err(), test.source.path("big") + ": changed"));
}

TEST_CASE("a source that vanishes after it was offered is reported, and the rest arrives") {
    ChangingSource test;
    RawPeer control = test.receiver.accept_session(false);
    RawPeer data = test.receiver.accept_stream();
    answer_offers(control, 3, [&](const std::string& path) {
        if (path == "big") {
            test.source.remove("big");
        }
        return true;
    });
    const StreamLog log = StreamReader(data).read();
    test.check_others(log);
    CHECK(log.content.count("big") == 0);
    test.finish(control, 1, 2, 24);
    CHECK(contains(test.sender->err(), test.source.path("big") + ": vanished"));
}

TEST_CASE("a source that vanishes before the walk comes to it is reported, and the rest arrives") {
    ChangingSource test;
    RawPeer control = test.receiver.accept();
    Frame frame;
    const auto open = control.receive_message<proto::Open>(proto::FrameType::open, frame);
    CHECK(open.roots.size() == 3);
    test.source.remove("big");
    proto::Welcome welcome;
    welcome.token = test.receiver.token();
    welcome.fresh = {0, 1, 2};
    REQUIRE(control.send_message(welcome));
    RawPeer data = test.receiver.accept_stream();
    test.check_others(StreamReader(data).read());
    test.finish(control, 1, 2, 24);
    CHECK(contains(test.sender->err(), test.source.path("big")));
    CHECK(contains(test.sender->err(), "vanished"));
}

TEST_CASE("files that the receiver does not want are not sent, the others keep their ids") {
    ChangingSource test;
    RawPeer control = test.receiver.accept_session(false);
    RawPeer data = test.receiver.accept_stream();
    const auto ids =
        answer_offers(control, 3, [](const std::string& path) { return path != "big"; });
    const StreamLog log = StreamReader(data).read();
    test.check_others(log);
    CHECK(log.content.count("big") == 0);
    CHECK(log.ids.at("other") == ids.at("other"));
    test.finish(control, 1, 2, 0);
}
