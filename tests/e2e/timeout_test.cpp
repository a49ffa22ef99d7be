// Peers that are silent, stuck or stopped: noticed in time, and not before. Upper bounds are
// generous, for machines that are busy.
#include "tests/e2e/checks.hpp"
#include "tests/e2e/events.hpp"
#include "tests/e2e/fake_receiver.hpp"
#include "tests/e2e/hostile.hpp"
#include "tests/e2e/leftovers.hpp"
#include "tests/e2e/on_the_way.hpp"
#include "tests/support/tree.hpp"

#include <catch2/catch.hpp>

using namespace sluice;
using namespace sluice::test;
using std::chrono::milliseconds;

namespace {

using Clock = std::chrono::steady_clock;

constexpr milliseconds kTimeout{600};
const std::string kTimeoutOption = "0.6";
constexpr std::size_t kBig = std::size_t{64} << 20;

void check_in_time(Clock::time_point began) {
    const auto took = std::chrono::duration_cast<milliseconds>(Clock::now() - began);
    CHECK(took >= kTimeout);
    CHECK(took < 5 * kTimeout);
}

proto::Bytes ping() {
    proto::Bytes bytes;
    proto::encode_ping(bytes);
    return bytes;
}

// Answers each Ping of the other side with one until so many have come.
void exchange_pings(RawPeer& control, int count) {
    for (int pings = 0; pings < count; ++pings) {
        REQUIRE(control.receive().type == proto::FrameType::ping);
        REQUIRE(control.send(ping()));
    }
}
constexpr int kPingsPerTimeout = 4;

void stop_process(const Process& process) {
    process.signal(SIGSTOP);
    int status = 0;
    REQUIRE(::waitpid(process.pid(), &status, WUNTRACED) == process.pid());
    REQUIRE(WIFSTOPPED(status));
}

} // namespace

TEST_CASE("a receiver that falls silent makes the sender exit with 30") {
    const TempDir source;
    source.write_file("file", "content");
    FakeReceiver receiver;
    const auto sender = receiver.start_sender(
        {"--timeout", kTimeoutOption, "--retry-for", "0", source.path("file")});
    RawPeer control = receiver.accept();
    const auto began = Clock::now(); // it has connected before, and listens since then
    const bool welcomed = GENERATE(false, true);
    if (welcomed) {
        REQUIRE(control.receive().type == proto::FrameType::open);
        proto::Welcome welcome;
        welcome.token = receiver.token();
        REQUIRE(control.send_message(welcome));
    }
    const int code = sender->wait();
    const auto took = std::chrono::duration_cast<milliseconds>(Clock::now() - began);
    INFO(sender->err());
    CHECK(code == 30);
    CHECK(is_one_line(sender->err()));
    CHECK(contains(sender->err(), "127.0.0.1:" + receiver.port() + " was silent for 0.6 s"));
    CHECK(took >= kTimeout * 9 / 10); // its clock began a little earlier
    CHECK(took < 5 * kTimeout);
}

TEST_CASE("a sender says in its request how long it waits, and how long it will come back") {
    const TempDir source;
    source.write_file("file", "content");
    FakeReceiver receiver;
    const auto sender =
        receiver.start_sender({"--timeout", "7", "--retry-for", "1.5", source.path("file")});
    proto::Open open;
    const RawPeer control = receiver.accept_session(true, &open);
    CHECK(open.timeout_ms == 7'000);
    CHECK(open.retry_ms == 1'500);
    CHECK((open.run != proto::Token{}));
}

TEST_CASE("a sender that falls silent is given up by the receiver, which goes on serving") {
    const bool in_transfer = GENERATE(false, true);
    Sandbox sandbox({"--timeout", kTimeoutOption, "--keep-partial", "0"});
    const auto began = Clock::now();
    RawSession session(sandbox.receiver());
    CHECK(session.welcome.timeout_ms == kTimeout.count());
    std::optional<DataPeer> data;
    if (in_transfer) {
        data.emplace(session.join());
        data->send(file_frame("t/file", "content"));
        data->send(extent_frame(extent_of(1, "t/large", 100'000)));
    }
    const Refusal refusal = read_refusal(session.control);
    check_in_time(began);
    CHECK(refusal.code == 30);
    CHECK(refusal.text.find("silent") != std::string::npos);
    if (data) {
        read_refusal(*data); // ends with it
    }
    sandbox.check_survived();
}

TEST_CASE("a sender that falls silent and takes no answer is left without one") {
    Sandbox sandbox({"--timeout", kTimeoutOption, "--keep-partial", "0"});
    sandbox.outer().write_file("inbox/f", "");
    const std::size_t before = sandbox.receiver().process().open_descriptors();
    RawSession session(sandbox.receiver());
    {
        DataPeer data = session.join();
        std::string path = "f";
        while (path.size() < 4000) {
            path += '/' + std::string(200, 'n');
        }
        const proto::Bytes frame = file_frame(path, "x");
        for (int count = 0; count < 5'000; ++count) { // 20 MB of errors: no socket holds that
            data.send(frame);
            if (count % 100 == 99) { // those that nobody takes for long are only counted
                std::this_thread::sleep_for(milliseconds(5));
            }
        }
        data.shut_down_sending();
        read_refusal(data); // it has handled everything
    }
    eventually("the receiver has let go of it",
               [&] { return sandbox.receiver().process().open_descriptors() <= before; });
    sandbox.outer().remove("inbox/f");
    sandbox.check_survived();
}

TEST_CASE("a sender that only pings stays connected for several timeouts") {
    Sandbox sandbox({"--timeout", kTimeoutOption});
    RawSession session(sandbox.receiver());
    const auto began = Clock::now();
    exchange_pings(session.control, 3 * kPingsPerTimeout);
    CHECK(Clock::now() - began >= 2 * kTimeout);
    DataPeer data = session.join();
    data.send(file_frame("file", "content"));
    session.end(data);
    CHECK(describe(session.finish(1)) == "Done");
    CHECK(sandbox.outer().read_file("inbox/file") == "content");
    sandbox.check_survived();
}

TEST_CASE("a receiver that only pings is waited for, for several timeouts") {
    const TempDir source;
    source.write_file("file", "content");
    FakeReceiver receiver;
    const auto sender = receiver.start_sender(
        {"--timeout", kTimeoutOption, "--retry-for", "0", source.path("file")});
    RawPeer control = receiver.accept_session();
    DataPeer data = receiver.accept_stream();
    SessionReader session(control);
    session.read_stream(data);
    CHECK(session.read_finish() == 1);
    REQUIRE(control.send(ping())); // publishing takes long
    exchange_pings(control, 3 * kPingsPerTimeout);
    proto::Done done;
    done.files = 1;
    REQUIRE(control.send_message(done));
    CHECK(sender->wait() == 0);
}

TEST_CASE("the shorter of the two timeouts says how often a sender pings") {
    const TempDir source;
    source.write_file("file", "content");
    FakeReceiver receiver;
    const auto sender = receiver.start_sender({"--timeout", "3600", source.path("file")});
    RawPeer control = receiver.accept_session(false, nullptr, 200);
    REQUIRE(control.receive().type == proto::FrameType::offer);
    const auto began = Clock::now();
    exchange_pings(control, 8);
    CHECK(Clock::now() - began < std::chrono::seconds{5}); // and not hours
}

TEST_CASE("a receiver that is stopped for less than the timeout does no harm") {
    const TempDir source;
    const TempDir inbox;
    source.write_file("large", random_bytes(kBig, 1));
    ReceiverProcess receiver(inbox.path());
    Process sender(send_command(receiver, {"-J", "--timeout", "20", source.path("large")}));
    eventually("the transfer has begun", [&] { return inbox.exists(".sluice"); });
    stop_process(receiver.process());
    CHECK_FALSE(sender.ends_within(milliseconds{300}));
    receiver.process().signal(SIGCONT);
    const int code = sender.wait();
    INFO(sender.err());
    CHECK(code == 0);
    const Json summary = last_event(sender.out(), "summary");
    CHECK(summary["reconnects"] == 0);
    CHECK(summary["reconnected_streams"] == 0);
    CHECK((inbox.read_file("large") == source.read_file("large")));
}

TEST_CASE("a receiver that is stopped for longer than the timeout makes the sender exit with 30") {
    const TempDir source;
    const TempDir inbox;
    source.write_file("large", random_bytes(kBig, 1));
    ReceiverProcess receiver(inbox.path());
    ChaosProxy proxy(port_number(receiver), stall_data(kBig / 2));
    Process sender(send_command(proxy.port(), {"-P", "1", "--timeout", kTimeoutOption,
                                               "--retry-for", "0", source.path("large")}));
    eventually("part of it is there", [&] { return kept_bytes(inbox) > 0; });
    stop_process(receiver.process());
    const int code = sender.wait();
    INFO(sender.err());
    CHECK(code == 30);
    CHECK(is_one_line(sender.err()));
    receiver.process().signal(SIGCONT);
    CHECK(send(receiver, {source.path("large")}).code == 0);
    CHECK((inbox.read_file("large") == source.read_file("large")));
}

TEST_CASE("a sender that is stopped for longer than the receiver's timeout comes back") {
    const TempDir source;
    const TempDir inbox;
    source.write_file("large", random_bytes(kBig, 1));
    const ReceiverProcess receiver(inbox.path(), {"--timeout", kTimeoutOption, "-J"});
    ChaosProxy proxy(port_number(receiver), stall_data(kBig / 2));
    Process sender(send_command(proxy.port(), {"-J", "-P", "1", source.path("large")}));
    eventually("part of it is there", [&] { return kept_bytes(inbox) > 0; });
    stop_process(sender);
    auto& process = const_cast<ReceiverProcess&>(receiver).process();
    eventually("the receiver gives it up", [&] { return contains(process.out(), "silent"); });
    CHECK(contains(process.out(), "\"exit_code\":30"));
    sender.signal(SIGCONT);
    const int code = sender.wait();
    INFO(sender.err());
    CHECK(code == 0);
    const Json summary = last_event(sender.out(), "summary");
    CHECK(summary["reconnects"] == 1);
    CHECK(summary["reused_bytes"].get<std::uint64_t>() > 0);
    CHECK((inbox.read_file("large") == source.read_file("large")));
}

TEST_CASE("a data connection that stalls is given up, and its work goes over another") {
    const std::string streams = GENERATE("1", "3");
    const TempDir source;
    const TempDir inbox;
    source.write_file("large", random_bytes(kBig, 1));
    for (int file = 0; file < 50; ++file) {
        source.write_file("small" + std::to_string(file), random_bytes(10'000, 5));
    }
    const ReceiverProcess receiver(inbox.path());
    // Whichever of the first ones takes the large file.
    const ProxyFault stall{FaultKind::stall, Way::to_server, std::uint64_t{3} << 20};
    const auto first_ones = static_cast<unsigned>(std::stoul(streams));
    const ChaosProxy proxy(port_number(receiver), [=](unsigned index) {
        return index >= 1 && index <= first_ones ? ConnectionPlan{{stall}, 0} : ConnectionPlan{};
    });
    const auto began = Clock::now();
    const Finished sent = run(send_command(
        proxy.port(), {"-J", "-P", streams, "--timeout", kTimeoutOption, source.path("") + "/"},
        "to"));
    INFO(sent.err);
    REQUIRE(sent.code == 0);
    CHECK(Clock::now() - began >= kTimeout);
    const Json summary = last_event(sent.out, "summary");
    CHECK(summary["reconnects"] == 0);
    CHECK(proxy.counts().stalls > 0);
    CHECK(differences(describe_tree(source), describe_tree(inbox, "to")) == "");
    eventually("nothing is left", [&] { return !inbox.exists(".sluice"); });
}

TEST_CASE("a data connection that its receiver does not read is dropped by name") {
    const TempDir source;
    source.write_file("large", random_bytes(kBig, 1));
    FakeReceiver receiver;
    const auto sender = receiver.start_sender({"--timeout", kTimeoutOption, source.path("large")});
    RawPeer control =
        receiver.accept_session(true, nullptr, static_cast<std::uint32_t>(kTimeout.count()));
    const DataPeer data = receiver.accept_stream();
    const auto began = Clock::now();
    proto::Drop drop;
    for (;;) {
        const Frame frame = control.receive();
        if (frame.type == proto::FrameType::drop) {
            REQUIRE(proto::decode(frame.body, drop) == proto::Fault::none);
            break;
        }
        REQUIRE((frame.type == proto::FrameType::ping || frame.type == proto::FrameType::digests));
        REQUIRE(control.send(ping()));
    }
    const auto took = std::chrono::duration_cast<milliseconds>(Clock::now() - began);
    CHECK(drop.connection == data.number());
    CHECK(took >= kTimeout * 9 / 10); // its clock began a little earlier
    CHECK(took < 5 * kTimeout);
    REQUIRE(control.send_message(proto::Lost{drop.connection}));
    SessionReader session(control);
    // Reading it may take longer than a timeout, and nothing is acknowledged before its end.
    session.on_payload = [&](const std::string&) { REQUIRE(control.send(ping())); };
    DataPeer second = receiver.accept_stream();
    session.read_stream(second);
    CHECK(session.read_finish() == 1);
    CHECK((session.log().content.at("large") == source.read_file("large")));
}
