// Programs that are stopped, killed or left alone in the middle of a session, and how many sessions
// there may be.
#include "tests/e2e/checks.hpp"
#include "tests/e2e/leftovers.hpp"
#include "tests/support/programs.hpp"
#include "tests/support/raw_peer.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <fcntl.h>
#include <memory>
#include <string>
#include <vector>

using namespace sluice;
using namespace sluice::test;

namespace {

// A file that takes seconds to send and no time to make: space without content, which is no hole.
bool make_endless(const TempDir& directory, const std::string& name) {
    directory.write_file(name, "");
    const int file = ::open(directory.path(name).c_str(), O_WRONLY | O_CLOEXEC);
    REQUIRE(file >= 0);
    const bool made = ::fallocate(file, 0, 0, off_t{6} << 30) == 0;
    ::close(file);
    if (!made) {
        skip("no space for a large file, or a file system without fallocate");
    }
    return made;
}

// A transfer that has begun and will not end by itself while the test looks.
struct Endless {
    TempDir source;
    TempDir destination;
    std::unique_ptr<ReceiverProcess> receiver;
    std::unique_ptr<Process> sender;

    // False: it cannot be done here.
    bool start(const std::vector<std::string>& receiver_options,
               std::vector<std::string> sender_options = {}) {
        if (!make_endless(source, "endless")) {
            return false;
        }
        receiver = std::make_unique<ReceiverProcess>(destination.path(), receiver_options);
        sender_options.push_back(source.path("endless"));
        sender = std::make_unique<Process>(send_command(*receiver, sender_options));
        eventually("part of the file is verified", [&] { return kept_bytes(destination) > 0; });
        return true;
    }
    [[nodiscard]] Finished finished() const {
        const int code = sender->wait();
        return {code, sender->out(), sender->err()};
    }
};

const std::vector<std::string> kKeepNothing{"--keep-partial", "0"};
// A session that is open until the test lets go of it.
struct OpenSession {
    RawPeer control;
    proto::Token token{};

    explicit OpenSession(const ReceiverProcess& receiver, const proto::Open& open = {})
        : control(RawPeer::connect(receiver.port(), proto::Role::control)) {
        REQUIRE(control.send_message(open));
        Frame frame;
        token = control.receive_message<proto::Welcome>(proto::FrameType::welcome, frame).token;
    }

    // The code of the error with which the receiver ends it.
    int error_code() {
        Frame frame;
        return control.receive_message<proto::ErrorMessage>(proto::FrameType::error, frame).code;
    }
};

} // namespace

TEST_CASE("a receiver that is killed makes a sender that does not retry exit with 10") {
    const bool keep = GENERATE(false, true);
    Endless test;
    if (!test.start(keep ? std::vector<std::string>{} : kKeepNothing, {"--retry-for", "0"})) {
        return;
    }
    test.receiver->process().signal(SIGKILL);
    CHECK(test.sender->ends_within(std::chrono::seconds{10}));
    check_exit(test.finished(), 10, "sluice-send: ");
    CHECK_FALSE(test.destination.exists("endless"));

    if (keep) { // until a receiver comes that keeps nothing
        const ReceiverProcess next(test.destination.path());
        CHECK(test.destination.list() == std::vector<std::string>{".sluice"});
        CHECK(kept_bytes(test.destination) > 0);
    }
    // It removes what is left before it listens.
    const ReceiverProcess next(test.destination.path(), kKeepNothing);
    CHECK(test.destination.list().empty());
}

TEST_CASE("a receiver that is killed for good makes the sender give up after --retry-for") {
    Endless test;
    if (!test.start(kKeepNothing, {"--retry-for", "0.5"})) {
        return;
    }
    test.receiver->process().signal(SIGKILL);
    const Finished sent = test.finished();
    INFO(sent.err);
    CHECK(sent.code == 10);
    CHECK(contains(sent.err, "lost the connection to 127.0.0.1:" + test.receiver->port()));
    CHECK(contains(sent.err, "trying again for 0.5 s"));
    CHECK(contains(sent.err, "(gave up after "));
    CHECK(std::count(sent.err.begin(), sent.err.end(), '\n') == 2);
}

TEST_CASE("an interrupted sender does not retry, and its receiver goes on serving") {
    Endless test;
    if (!test.start({"--json", "--keep-partial", "0"})) {
        return;
    }
    test.sender->signal(GENERATE(SIGINT, SIGTERM, SIGHUP));
    check_exit(test.finished(), 20, "interrupted");
    Process& receiver = test.receiver->process();
    eventually("the receiver logs it", [&] { return contains(receiver.err(), "interrupted"); });
    eventually("the work area is gone", [&] { return !test.destination.exists(".sluice"); });
    CHECK(test.destination.list().empty());
    CHECK(contains(receiver.out(), "\"exit_code\":20"));

    test.source.write_file("file", "x");
    CHECK(send(*test.receiver, {test.source.path("file")}).code == 0);
    CHECK(test.destination.read_file("file") == "x");
    CHECK(test.receiver->stop() == 0);
}

TEST_CASE("what a sender that was killed or interrupted had sent is kept") {
    const int signal = GENERATE(SIGKILL, SIGTERM);
    Endless test;
    if (!test.start({})) {
        return;
    }
    eventually("a piece is there", [&] { return kept_bytes(test.destination) > 0; });
    test.sender->signal(signal);
    test.sender->wait();
    eventually("the session is over",
               [&] { return contains(test.receiver->process().err(), " failed: "); });
    CHECK(test.destination.list() == std::vector<std::string>{".sluice"});
    const std::uint64_t kept = kept_bytes(test.destination);
    CHECK(kept > 0);
    // A sender of something else does not disturb it.
    test.source.write_file("file", "x");
    CHECK(send(*test.receiver, {test.source.path("file")}).code == 0);
    CHECK(test.receiver->stop() == 0);
    CHECK(kept_bytes(test.destination) >= kept); // more: what was still being hashed
}

TEST_CASE("a sender that is killed leaves nothing at a receiver that keeps nothing") {
    Endless test;
    if (!test.start(kKeepNothing)) {
        return;
    }
    test.sender->signal(SIGKILL);
    test.sender->wait();
    eventually("the work area is gone", [&] { return !test.destination.exists(".sluice"); });
    CHECK(test.destination.list().empty());
}

TEST_CASE("an idle receiver ends at once when it is told to") {
    const TempDir destination;
    ReceiverProcess receiver(destination.path(), {"--grace", "3600"});
    receiver.process().signal(GENERATE(SIGTERM, SIGINT));
    CHECK(receiver.process().wait() == 0);
}

TEST_CASE("a receiver that is told to stop gives its sessions the time of --grace") {
    const TempDir destination;
    SECTION("and ends them after that") {
        ReceiverProcess receiver(destination.path(), {"--grace", "0"});
        OpenSession session(receiver);
        receiver.process().signal(SIGTERM);
        CHECK(session.error_code() == 20);
        session.control.close();
        CHECK(receiver.process().wait() == 20);
    }
    SECTION("and ends them at once when it is told again") {
        ReceiverProcess receiver(destination.path(), {"--grace", "3600"});
        OpenSession session(receiver);
        receiver.process().signal(SIGTERM);
        eventually("it says so",
                   [&] { return contains(receiver.process().err(), "1 session(s) have"); });
        receiver.process().signal(SIGTERM);
        CHECK(session.error_code() == 20);
        session.control.close();
        CHECK(receiver.process().wait() == 20);
    }
    SECTION("and ends well when they do") {
        ReceiverProcess receiver(destination.path(), {"--grace", "3600"});
        OpenSession session(receiver);
        receiver.process().signal(SIGTERM);
        eventually("it says so",
                   [&] { return contains(receiver.process().err(), "1 session(s) have"); });
        REQUIRE(session.control.send_message(proto::Finish{0}));
        CHECK(session.control.receive().type == proto::FrameType::done);
        session.control.close();
        CHECK(receiver.process().wait() == 0);
    }
}

TEST_CASE("a sender learns that its receiver was told to stop") {
    Endless test;
    if (!test.start({"--grace", "0", "--keep-partial", "0"}, {"--retry-for", "0"})) {
        return;
    }
    test.sender->signal(SIGSTOP); // so that it cannot be done before
    int status = 0;
    REQUIRE(::waitpid(test.sender->pid(), &status, WUNTRACED) == test.sender->pid());
    REQUIRE(WIFSTOPPED(status));
    test.receiver->process().signal(SIGTERM);
    CHECK(test.receiver->process().wait() == 20);
    test.sender->signal(SIGCONT);
    check_exit(test.finished(), 20, "the receiver is shutting down");
    CHECK(test.destination.list().empty());
}

TEST_CASE("one session more than --max-sessions is refused, and served when there is room") {
    const TempDir source;
    const TempDir destination;
    source.write_file("file", "x");
    const ReceiverProcess receiver(destination.path(), {"--max-sessions", "1"});
    OpenSession session(receiver);
    check_exit(send(receiver, {source.path("file")}), 5, "--max-sessions");
    CHECK(destination.list().empty());
    session.control.close();
    eventually("there is room", [&] { return send(receiver, {source.path("file")}).code == 0; });
    CHECK(destination.read_file("file") == "x");
}

TEST_CASE("pushes one right after another need room for one session only") {
    const TempDir source;
    const TempDir destination;
    source.write_file("file", "x");
    const bool fails = GENERATE(false, true); // the last word may also be that of an error
    const ReceiverProcess receiver(destination.path(), {"--max-sessions", "1", "--max-files", "1"});
    for (int push = 0; push < 20; ++push) {
        const Finished sent =
            send(receiver, {"-P", "1", fails ? source.path() : source.path("file")});
        INFO(push << ": " << sent.err);
        REQUIRE(sent.code == (fails ? 5 : 0));
        CHECK_FALSE(contains(sent.err, "--max-sessions"));
    }
}

TEST_CASE("option --once ends the receiver with the result of its session") {
    const TempDir source;
    const TempDir destination;
    source.write_file("tree/file", "x");
    ReceiverProcess receiver(destination.path(), {"--once"});
    SECTION("done") {
        CHECK(send(receiver, {source.path("tree")}).code == 0);
        CHECK(receiver.process().wait() == 0);
    }
    SECTION("some files not stored") {
        destination.write_file("tree/file/in-the-way", "x");
        CHECK(send(receiver, {source.path("tree")}).code == 23);
        CHECK(receiver.process().wait() == 23);
    }
    SECTION("a sender that went away") {
        OpenSession(receiver).control.close();
        CHECK(receiver.process().wait() == 10);
    }
    SECTION("a sender that lost its connection and did not come back in time") {
        proto::Open open;
        open.retry_ms = 200;
        OpenSession(receiver, open).control.close();
        CHECK(receiver.process().wait() == 10);
    }
    SECTION("a sender that lost its connection and came back") {
        proto::Open open;
        open.retry_ms = 60'000;
        const bool same_run = GENERATE(true, false);
        for (int attempt = 0; attempt < 3; ++attempt) {
            OpenSession(receiver, open).control.close();
            open.run.fill(std::byte{static_cast<unsigned char>(same_run ? 0 : attempt + 1)});
            CHECK_FALSE(receiver.process().ends_within(std::chrono::milliseconds{0}));
        }
        OpenSession last(receiver, open);
        REQUIRE(last.control.send_message(proto::Finish{0}));
        CHECK(last.control.receive().type == proto::FrameType::done);
        last.control.close();
        const int code = receiver.process().wait();
        INFO(receiver.process().err());
        CHECK(code == 0);
    }
    SECTION("a sender that was interrupted") {
        OpenSession session(receiver);
        REQUIRE(session.control.send_message(proto::ErrorMessage{20, "interrupted"}));
        session.control.close();
        CHECK(receiver.process().wait() == 20);
    }
}

TEST_CASE("a connection that asks for no session does not use up --once") {
    const TempDir source;
    const TempDir destination;
    source.write_file("file", "x");
    ReceiverProcess receiver(destination.path(), {"--once"});
    {
        RawPeer stranger = RawPeer::connect(receiver.port(), proto::Role::control);
        REQUIRE(stranger.send_message(proto::Finish{0}));
        Frame frame;
        CHECK(stranger.receive_message<proto::ErrorMessage>(proto::FrameType::error, frame).code ==
              12);
    }
    CHECK(send(receiver, {source.path("file")}).code == 0);
    CHECK(receiver.process().wait() == 0);
}
