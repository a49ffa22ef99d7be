// Sources that change while they are sent. The receiver is played by hand, so that they change
// at a known moment.
#include "tests/e2e/checks.hpp"
#include "tests/e2e/fake_receiver.hpp"
#include "tests/support/programs.hpp"
#include "tests/support/tree.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <functional>
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

    // `change` is called once, after a piece of "big" has come.
    template <typename Change>
    static void change_in_transfer(SessionReader& session, Change change) {
        session.on_payload = [done = false, change](const std::string& path) mutable {
            if (path == "big" && !std::exchange(done, true)) {
                change();
            }
        };
    }

    void write_to_big(off_t at) const {
        const int file = ::open(source.path("big").c_str(), O_WRONLY | O_CLOEXEC);
        REQUIRE(file >= 0);
        REQUIRE(::pwrite(file, "changed", 7, at) == 7);
        ::close(file);
    }

    // Takes the Finish, answers it, and looks at the other files and at how the sender ends.
    void finish(RawPeer& control, SessionReader& session, int code) const {
        CHECK(session.read_finish() == 2);
        const SessionLog& log = session.log();
        CHECK(log.whole("other"));
        CHECK(log.whole("small"));
        CHECK((log.content.at("other") == random_bytes(kOther, 2)));
        CHECK(log.content.at("small") == "small");
        proto::Done done;
        done.files = 2;
        CHECK(control.send_message(done));
        const int ended = sender->wait();
        INFO(sender->err());
        CHECK(ended == code);
    }
};

// Answers offers until `count` files have been offered. `wants` is asked for each path before the
// answer is sent; `before` is told the id of "big" then.
void answer_offers(RawPeer& control, std::size_t count,
                   const std::function<bool(const std::string&)>& wants,
                   const std::function<void(std::uint64_t)>& before = {}) {
    for (std::size_t offered = 0; offered < count;) {
        Frame frame;
        const auto offer = control.receive_message<proto::Offer>(proto::FrameType::offer, frame);
        proto::Bytes wanted((offer.entries.size() + 7) / 8);
        for (std::size_t index = 0; index < offer.entries.size(); ++index) {
            const std::string path(offer.entries[index].path);
            if (path == "big" && before) {
                before(offer.first_id + index);
            }
            if (wants(path)) {
                wanted[index / 8] |= std::byte{1} << (index % 8);
            }
        }
        REQUIRE(control.send_message(proto::Verdict{
            offer.first_id, static_cast<std::uint16_t>(offer.entries.size()), wanted}));
        offered += offer.entries.size();
    }
}

} // namespace

TEST_CASE("a source that shrinks while it is sent is withdrawn, and the rest arrives") {
    ChangingSource test;
    RawPeer control = test.receiver.accept_session();
    SessionReader session(control);
    DataPeer first = test.receiver.accept_stream();
    ChangingSource::change_in_transfer(
        session, [&] { REQUIRE(::truncate(test.source.path("big").c_str(), 1'000'000) == 0); });
    session.read_stream(first);
    CHECK(session.log().cut);

    session.read_control_until(proto::FrameType::drop);
    CHECK(session.log().dropped == std::vector{first.number()});
    REQUIRE(control.send_message(proto::Lost{first.number()}));
    DataPeer second = test.receiver.accept_stream();
    CHECK(second.number() != first.number());
    session.read_stream(second);
    test.finish(control, session, 24);
    CHECK(session.log().aborted == std::vector{session.log().ids.at("big")});
    CHECK_FALSE(session.log().whole("big"));
    CHECK(contains(test.sender->err(), test.source.path("big") + ": shrank"));
    CHECK(contains(test.sender->err(), "1 FAILED"));
}

TEST_CASE("a source that changes while it is sent is withdrawn, and the rest arrives") {
    ChangingSource test;
    const bool grows = GENERATE(false, true);
    const off_t at = grows ? static_cast<off_t>(kBig) : 1'000;
    RawPeer control = test.receiver.accept_session();
    SessionReader session(control);
    DataPeer data = test.receiver.accept_stream();
    ChangingSource::change_in_transfer(session, [&] { test.write_to_big(at); });
    session.read_stream(data);
    test.finish(control, session, 24);
    CHECK_FALSE(session.log().whole("big"));
    CHECK(session.log().aborted == std::vector{session.log().ids.at("big")});
    CHECK(contains(test.sender->err(), test.source.path("big") + ": changed"));
}

TEST_CASE("a source that vanishes after it was offered is reported, and the rest arrives") {
    ChangingSource test;
    RawPeer control = test.receiver.accept_session(false);
    SessionReader session(control);
    DataPeer data = test.receiver.accept_stream();
    answer_offers(control, 3, [&](const std::string& path) {
        if (path == "big") {
            test.source.remove("big");
        }
        return true;
    });
    session.read_stream(data);
    test.finish(control, session, 24);
    CHECK_FALSE(session.log().content.contains("big"));
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
    SessionReader session(control);
    DataPeer data = test.receiver.accept_stream();
    session.read_stream(data);
    test.finish(control, session, 24);
    CHECK(contains(test.sender->err(), test.source.path("big")));
    CHECK(contains(test.sender->err(), "vanished"));
}

TEST_CASE("files that the receiver does not want are not sent") {
    ChangingSource test;
    RawPeer control = test.receiver.accept_session(false);
    SessionReader session(control);
    DataPeer data = test.receiver.accept_stream();
    answer_offers(control, 3, [](const std::string& path) { return path != "big"; });
    session.read_stream(data);
    test.finish(control, session, 0);
    CHECK_FALSE(session.log().content.contains("big"));
}

TEST_CASE("ranges that the receiver has already are not sent") {
    ChangingSource test;
    RawPeer control = test.receiver.accept_session(false);
    SessionReader session(control);
    DataPeer data = test.receiver.accept_stream();
    constexpr std::uint64_t kHalf = kBig / 2;
    std::uint64_t sent = 0;
    std::uint64_t least = kBig;
    session.on_extent = [&](const proto::Extent& extent) {
        if (extent.path == "big") {
            sent += extent.length;
            least = std::min(least, extent.offset);
        }
        return false;
    };
    answer_offers(
        control, 3, [](const std::string&) { return true; },
        [&](std::uint64_t id) {
            REQUIRE(control.send_message(
                proto::Present{id, {{0, kHalf - 1000}, {kHalf - 1000, 1000}}}));
        });
    session.read_stream(data);
    CHECK(session.read_finish() == 3);
    CHECK(sent == kBig - kHalf);
    CHECK(least == kHalf);
    proto::Done done;
    done.files = 3;
    CHECK(control.send_message(done));
    CHECK(test.sender->wait() == 0);
}
