// The door of a receiver: strangers who take room, who are slow, or too many; and what is said of
// them in the log.
#include "common/sanitized.hpp"
#include "receiver/options.hpp"
#include "tests/e2e/checks.hpp"
#include "tests/e2e/events.hpp"
#include "tests/e2e/hostile.hpp"
#include "tests/support/memory.hpp"

#include <chrono>
#include <sys/resource.h>

using namespace sluice;
using namespace sluice::test;
using std::chrono::milliseconds;

namespace {

UniqueFd stranger(Sandbox& sandbox) {
    auto socket =
        connect_tcp("127.0.0.1", static_cast<std::uint16_t>(std::stoul(sandbox.receiver().port())),
                    std::chrono::seconds{10}, -1);
    REQUIRE(socket);
    return std::move(*socket);
}

std::vector<UniqueFd> strangers(Sandbox& sandbox, std::size_t count) {
    std::vector<UniqueFd> all;
    for (std::size_t one = 0; one < count; ++one) {
        all.push_back(stranger(sandbox));
    }
    return all;
}

// Has been closed by the other side; what it has said before is dropped.
bool is_gone(const UniqueFd& socket) {
    std::array<std::byte, 4096> heard;
    ssize_t got = 0;
    do {
        got = ::recv(socket.get(), heard.data(), heard.size(), MSG_DONTWAIT);
    } while (got > 0);
    return got == 0 || errno != EAGAIN;
}

std::size_t gone(const std::vector<UniqueFd>& sockets) {
    return static_cast<std::size_t>(std::count_if(sockets.begin(), sockets.end(), is_gone));
}

Finished push_something(Sandbox& sandbox) {
    const TempDir source;
    source.write_file("tree/file", "content");
    Finished sent = send(sandbox.receiver(), {source.path("tree")});
    if (sent.code == 0) {
        CHECK(sandbox.outer().read_file("inbox/tree/file") == "content");
        sandbox.outer().remove("inbox/tree");
    }
    return sent;
}

// A control connection's first bytes, whose Open is a long one.
proto::Bytes long_greeting() {
    static const std::vector<std::string> kRoots = [] {
        std::vector<std::string> names;
        for (std::size_t number = 0; number < 250; ++number) {
            names.push_back(std::to_string(number) + std::string(240, 'r'));
        }
        return names;
    }();
    const auto preamble = proto::encode_preamble({proto::kVersion, proto::Role::control});
    proto::Bytes bytes(preamble.begin(), preamble.end());
    proto::Open open = fresh_open();
    open.roots.assign(kRoots.begin(), kRoots.end());
    proto::encode(open, bytes);
    return bytes;
}

std::size_t lines_with(const std::string& text, const std::string& word) {
    const std::vector<std::string> lines = lines_of(text);
    return static_cast<std::size_t>(std::count_if(
        lines.begin(), lines.end(), [&](const std::string& line) { return contains(line, word); }));
}

} // namespace

TEST_CASE("connections that say nothing keep nobody out, however many there are") {
    Sandbox sandbox({"--max-pending", "20"});
    const std::size_t before = sandbox.receiver().process().open_descriptors();
    const std::vector<UniqueFd> silent = strangers(sandbox, 100);
    for (int push = 0; push < 5; ++push) {
        const Finished sent = push_something(sandbox);
        INFO(sent.err);
        CHECK(sent.code == 0);
    }
    eventually("no more than may wait are left", [&] { return gone(silent) >= 80; });
    CHECK(sandbox.receiver().process().open_descriptors() <= before + 20 + 10);
    const std::string err = sandbox.receiver().process().err();
    CHECK(lines_with(err, "refused") == 1); // the first; the others are told of later
    CHECK(contains(err, "--max-pending"));
    sandbox.check_outside_untouched();
}

TEST_CASE("an address has no more connections than it may, and its newest ones get in") {
    const auto most = GENERATE(std::size_t{1}, std::size_t{3});
    Sandbox sandbox({"--max-per-address", std::to_string(most)});
    constexpr std::size_t kStrangers = 100;
    const std::vector<UniqueFd> silent = strangers(sandbox, kStrangers);
    const Finished sent = push_something(sandbox);
    INFO(sent.err);
    CHECK(sent.code == 0);
    eventually("the others are gone",
               [&] { return gone(silent) >= kStrangers - kPendingPerSession * most; });
    sandbox.check_outside_untouched();
}

TEST_CASE("an address has no more sessions than it may, and with one a push works") {
    const int most = GENERATE(1, 3);
    Sandbox sandbox({"--max-per-address", std::to_string(most)});
    std::vector<std::unique_ptr<RawSession>> sessions;
    for (int count = 0; count < most; ++count) {
        sessions.push_back(std::make_unique<RawSession>(sandbox.receiver()));
    }
    const Finished refused = push_something(sandbox);
    INFO(refused.err << sandbox.receiver().process().err());
    CHECK(refused.code == 5);
    CHECK(contains(refused.err, "--max-per-address"));
    for (const auto& session : sessions) {
        session->settle(); // and these go on
    }
    sessions.clear();
    eventually("there is room again", [&] { return push_something(sandbox).code == 0; });
    for (int push = 0; push < 5; ++push) { // none sends its own first connection away
        const Finished sent = push_something(sandbox);
        INFO(sent.err << sandbox.receiver().process().err());
        CHECK(sent.code == 0);
    }
    sandbox.check_survived();
}

TEST_CASE("who has not said what it wants by the deadline is gone, however it says it") {
    Sandbox sandbox({"--handshake-timeout", "0.5"});
    const std::size_t before = sandbox.receiver().process().open_descriptors();
    const std::vector<UniqueFd> silent = strangers(sandbox, 20);
    const std::vector<UniqueFd> slow = strangers(sandbox, 20);
    const proto::Bytes greeting = long_greeting();
    std::size_t said = 0;
    eventually("all are gone", [&] {
        for (const UniqueFd& socket : slow) { // a byte each, for ever
            ::send(socket.get(), &greeting[said % greeting.size()], 1, MSG_NOSIGNAL | MSG_DONTWAIT);
        }
        ++said;
        return gone(silent) == silent.size() && gone(slow) == slow.size();
    });
    CHECK(said > 1);
    eventually("the receiver has closed them",
               [&] { return sandbox.receiver().process().open_descriptors() <= before; });
    sandbox.check_survived();
}

TEST_CASE("a session that has begun has no such deadline") {
    Sandbox sandbox({"--handshake-timeout", "0.3", "--timeout", "0"});
    RawSession session(sandbox.receiver());
    DataPeer data = session.join();
    ::usleep(900'000); // what must not happen would happen now
    REQUIRE(data.send(file_frame("late", "content")));
    session.end(data);
    CHECK(describe(session.finish(1)) == "Done");
    CHECK(sandbox.outer().read_file("inbox/late") == "content");
}

TEST_CASE("strangers who begin long requests take no more memory than a limited number may") {
    if (kSanitized) {
        skip("sanitizers take memory of their own");
        return;
    }
    Sandbox sandbox;
    const long before_kib = peak_kib(sandbox.receiver().process());
    proto::Bytes greeting = long_greeting();
    REQUIRE(greeting.size() > 60'000);
    greeting.resize(greeting.size() - 1); // never complete
    std::vector<UniqueFd> all;
    for (int count = 0; count < 900; ++count) {
        all.push_back(stranger(sandbox));
        for (std::size_t at = 0; at < greeting.size();) {
            const ssize_t sent =
                ::send(all.back().get(), greeting.data() + at, greeting.size() - at, MSG_NOSIGNAL);
            if (sent <= 0) {
                REQUIRE(errno == EAGAIN);
                ::usleep(1'000);
                continue;
            }
            at += static_cast<std::size_t>(sent);
        }
    }
    eventually("only some have memory", [&] { return gone(all) >= 900 - 512; });
    CHECK(peak_kib(sandbox.receiver().process()) - before_kib < 40 * 1024);
    CHECK(push_something(sandbox).code == 0);
    sandbox.check_outside_untouched();
}

TEST_CASE(
    "a thousand refused connections are a line or two in the log, and a thousand in the count") {
    Sandbox sandbox({"--json"});
    constexpr int kRefused = 1'000;
    const std::string line_break = "GET /\r\nforged: line\x1b[2J\r\n";
    for (int count = 0; count < kRefused; ++count) {
        const UniqueFd socket = stranger(sandbox);
        REQUIRE(::send(socket.get(), line_break.data(), line_break.size(), MSG_NOSIGNAL) > 0);
        eventually("it is refused", [&] { return is_gone(socket); });
    }
    REQUIRE(sandbox.receiver().stop() == 0);
    std::uint64_t told = 0;
    const auto events = events_of(sandbox.receiver().process().out(), "refused");
    for (const Json& event : events) {
        told += event.at("connections").get<std::uint64_t>();
        CHECK(event.at("last_address").get<std::string>().starts_with("127.0.0.1:"));
        CHECK_FALSE(event.at("last_reason").get<std::string>().empty());
    }
    CHECK(told == kRefused);
    CHECK(events.size() <= 5); // one at once, one in ten seconds, the rest at the end
    const std::string err = sandbox.receiver().process().err();
    CHECK(lines_with(err, "refused") == events.size());
    CHECK_FALSE(contains(err, "forged"));
    CHECK(err.find('\x1b') == std::string::npos);
}

TEST_CASE("strangers are sent away where descriptors run out") {
    TempDir inbox;
    ReceiverProcess receiver(ReceiverProcess::Command{
        {"prlimit", "--nofile=80:80", kRecvProgram, "--port", "0", inbox.path()}});
    std::vector<UniqueFd> silent;
    for (int count = 0; count < 200; ++count) {
        auto socket =
            connect_tcp("127.0.0.1", static_cast<std::uint16_t>(std::stoul(receiver.port())),
                        std::chrono::seconds{10}, -1);
        REQUIRE(socket);
        silent.push_back(std::move(*socket));
    }
    const TempDir source;
    source.write_file("file", "content");
    const Finished sent = send(receiver, {source.path("file")});
    INFO(sent.err);
    CHECK(sent.code == 0);
    CHECK(inbox.read_file("file") == "content");
}

TEST_CASE("strangers learn from a receiver with keys that they need one, whatever they say") {
    const TempDir keys;
    const std::string file = keys.path("key");
    REQUIRE(run({kRecvProgram, "--generate-key", file}).code == 0);
    Sandbox sandbox({"--key-file", file, "--handshake-timeout", "0.5", "--max-sessions", "1"});
    const auto greeting = [](unsigned version, unsigned role, const proto::Bytes& rest) {
        proto::Bytes bytes = FrameBuilder().raw("sluice").u16(version).u8(role).zeros(7).bytes();
        bytes.insert(bytes.end(), rest.begin(), rest.end());
        return bytes;
    };
    const auto frame = [](const auto& message) {
        proto::Bytes bytes;
        proto::encode(message, bytes);
        return bytes;
    };
    proto::Open nowhere = fresh_open();
    nowhere.destination = "../x";
    proto::Bytes damaged = frame(fresh_open());
    damaged.back() ^= std::byte{1};
    const std::vector<proto::Bytes> said{
        {}, // until the deadline
        greeting(proto::kVersion, 0, {}),
        greeting(1, 0, frame(fresh_open())),
        greeting(9, 9, {}),
        greeting(proto::kVersion, 0, frame(fresh_open())),
        greeting(proto::kVersion, 0, frame(nowhere)),
        greeting(proto::kVersion, 0, damaged),
        greeting(proto::kVersion, 0, frame(proto::Finish{1})),
        greeting(proto::kVersion, 1, frame(proto::Join{})),
        greeting(proto::kVersion, 1, file_frame("a", "b")),
        greeting(proto::kVersion, 1, FrameBuilder().zeros(20).u16(65535).frame(32)),
    };
    for (std::size_t index = 0; index < said.size(); ++index) {
        INFO("greeting " << index);
        RawPeer peer(stranger(sandbox), proto::Role::control, false);
        peer.send(said[index]);
        const Refusal refusal = read_refusal(peer);
        CHECK(refusal.code == 5);
        CHECK(refusal.text == "not authorised: a key is needed here (--key-file)");
    }
    CHECK(sandbox.outer().list("inbox").empty());
}
