// Pushes whose data travel in clear, through somebody who changes them: what they did is noticed,
// nothing of it is ever published, and the push arrives all the same where that can be.
#include "common/digest.hpp"
#include "proto/limits.hpp"
#include "tests/e2e/checks.hpp"
#include "tests/e2e/events.hpp"
#include "tests/support/programs.hpp"
#include "tests/support/raw_peer.hpp"
#include "tests/support/tamper_proxy.hpp"
#include "tests/support/tree.hpp"

#include <atomic>
#include <catch2/catch.hpp>
#include <map>

using namespace sluice;
using namespace sluice::test;

namespace {

constexpr std::size_t kLargeBytes = std::size_t{1} << 20;
constexpr std::size_t kJoinBytes = proto::kPreambleBytes + proto::kFrameHeaderBytes + 22;

// A key, a source and a receiver that demands signed data at least.
struct Place {
    TempDir keys;
    TempDir source{TempDir::quick_base()};
    TempDir inbox{TempDir::quick_base()};
    std::unique_ptr<ReceiverProcess> receiver;

    explicit Place(std::vector<std::string> options = {}) {
        const Finished made = run({kRecvProgram, "--generate-key", keys.path("key")});
        INFO(made.err);
        REQUIRE(made.code == 0);
        source.write_file("tree/large", random_bytes(kLargeBytes, 1));
        source.write_file("tree/text", std::string(200'000, 't') + random_bytes(300, 2));
        for (int index = 0; index < 20; ++index) {
            source.write_file("tree/small/" + std::to_string(index), random_bytes(1000, 7));
        }
        source.symlink("small", "tree/link");
        std::vector<std::string> all{"--key-file", keys.path("key"), "--security", "signed",
                                     "--json",     "--timeout",      "5"};
        all.insert(all.end(), options.begin(), options.end());
        receiver = std::make_unique<ReceiverProcess>(inbox.path(), all);
    }

    [[nodiscard]] std::vector<std::string> command(const std::string& port,
                                                   std::vector<std::string> arguments) const {
        std::vector<std::string> all{"--key-file", keys.path("key"), "--security", "signed",
                                     "--json",     "--timeout",      "5"};
        all.insert(all.end(), arguments.begin(), arguments.end());
        all.push_back(source.path("tree"));
        return send_command(port, all);
    }
    [[nodiscard]] Finished push(const std::string& port, std::vector<std::string> arguments) const {
        return run(command(port, std::move(arguments)));
    }

    void check_arrived() const {
        CHECK(differences(describe_tree(source, "tree"), describe_tree(inbox, "tree")) == "");
    }
    // Of the session that ended last.
    [[nodiscard]] Json ended() const {
        std::vector<Json> events;
        eventually("the receiver says that the session has ended", [&] {
            events = events_of(receiver->process().out(), "session_ended");
            return !events.empty();
        });
        return events.back();
    }
};

// Inverts a bit of the byte at an offset of some connections.
TamperProxy::Tamper flip(std::uint64_t at, const std::function<bool(unsigned)>& of) {
    return [at, of](unsigned connection, std::uint64_t offset, std::span<std::byte> bytes) {
        if (of(connection) && at >= offset && at < offset + bytes.size()) {
            bytes[at - offset] ^= std::byte{0x10};
        }
        return true;
    };
}

} // namespace

TEST_CASE("signed data arrive, in clear, with control in TLS") {
    for (const char* const compress : {"-P2", "-z"}) {
        const Place place;
        std::string seen;
        TamperProxy proxy(place.receiver->port(), [&](unsigned, std::uint64_t, auto bytes) {
            seen.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
            return true;
        });
        const Finished sent = place.push(proxy.port(), {compress});
        INFO(sent.err);
        CHECK(sent.code == 0);
        const Json summary = last_event(sent.out, "summary");
        CHECK(summary["verified"] == true);
        CHECK(summary["damaged"] == 0);
        place.check_arrived();
        CHECK(place.ended()["damaged"] == 0);
        CHECK(proxy.in_tls() == 1);
        CHECK(proxy.in_clear() >= 1);
        // Whoever listens can read it.
        CHECK(seen.find(random_bytes(1000, 7)) != std::string::npos);
    }
}

TEST_CASE("a flipped bit of a signed connection costs that connection, or that extent") {
    // The preamble, header and token of the Join, then one of a batch, a large file and frames
    // behind it.
    for (const std::uint64_t at :
         {std::uint64_t{1}, std::uint64_t{6}, std::uint64_t{8}, std::uint64_t{20},
          std::uint64_t{26}, std::uint64_t{45}, std::uint64_t{kJoinBytes},
          std::uint64_t{kJoinBytes + 10}, std::uint64_t{kJoinBytes + 30}, std::uint64_t{1000},
          std::uint64_t{100'000}, std::uint64_t{kLargeBytes}}) {
        INFO("offset " << at);
        const Place place;
        TamperProxy proxy(place.receiver->port(),
                          flip(at, [](unsigned connection) { return connection == 0; }));
        const Finished sent = place.push(proxy.port(), {"-P1"});
        INFO(sent.err << place.receiver->process().err());
        CHECK(sent.code == 0);
        place.check_arrived();
        const Json summary = last_event(sent.out, "summary");
        const Json ended = place.ended();
        if (at >= kJoinBytes) {
            CHECK(ended["damaged"] == 1);
        }
        CHECK(summary["reconnected_streams"].get<int>() + summary["damaged"].get<int>() >= 1);
    }
}

TEST_CASE("a signed push whose every connection is tampered with fails, and nothing appears") {
    const Place place;
    TamperProxy proxy(place.receiver->port(), flip(kJoinBytes + 40, [](unsigned) { return true; }));
    const Finished sent = place.push(proxy.port(), {"-P2", "--retry-for", "1"});
    INFO(sent.err);
    CHECK(sent.code == 10);
    CHECK_FALSE(place.inbox.exists("tree"));
    CHECK(place.receiver->process().err().find("tampers") != std::string::npos);
    // The receiver goes on.
    CHECK(place.push(place.receiver->port(), {}).code == 0);
    place.check_arrived();
}

TEST_CASE("a signed file that is changed on the way each time is given up, without its codes") {
    Place place;
    const std::string file = place.source.path("tree/large");
    std::atomic<int> flips = 0;
    // Far apart enough for the frames between the tries, near enough for each of them.
    TamperProxy proxy(place.receiver->port(), [&](unsigned, std::uint64_t offset, auto bytes) {
        for (std::uint64_t at = kLargeBytes / 2; at < 4 * kLargeBytes; at += kLargeBytes) {
            if (at >= offset && at < offset + bytes.size()) {
                bytes[at - offset] ^= std::byte{1};
                ++flips;
            }
        }
        return true;
    });
    const Finished sent =
        run(send_command(proxy.port(), {"--key-file", place.keys.path("key"), "--security",
                                        "signed", "--json", "-P1", file}));
    INFO(sent.err);
    CHECK(sent.code == 23);
    CHECK(flips == 3);
    CHECK(sent.err.find("tampers") != std::string::npos);
    // Nothing between: no codes.
    CHECK(sent.err.find("corrupted on the way at offset 0 (three tries)") != std::string::npos);
    CHECK(last_event(sent.out, "summary")["damaged"] == 3);
    CHECK_FALSE(place.inbox.exists("large"));
    CHECK(place.ended()["damaged"] == 3);
}

TEST_CASE("a recorded signed session brings nothing into the next, and does it no harm") {
    const Place place;
    std::map<unsigned, proto::Bytes> recorded;
    const auto record = [&](unsigned connection, std::uint64_t, std::span<std::byte> bytes) {
        recorded[connection].insert(recorded[connection].end(), bytes.begin(), bytes.end());
        return true;
    };
    const auto replay = [&](std::size_t length) {
        for (const auto& [connection, bytes] : recorded) {
            auto socket = connect_tcp(
                "127.0.0.1", static_cast<std::uint16_t>(std::stoul(place.receiver->port())),
                std::chrono::seconds(10), -1);
            REQUIRE(socket);
            RawPeer peer(std::move(*socket), proto::Role::data, false);
            static_cast<void>(peer.send(
                {bytes.begin(),
                 bytes.begin() + static_cast<std::ptrdiff_t>(std::min(length, bytes.size()))}));
            // It is closed, with nothing said but that the frame makes no sense here.
            CHECK(peer.readable_within(std::chrono::seconds(30)));
        }
    };
    {
        TamperProxy proxy(place.receiver->port(), record);
        REQUIRE(place.push(proxy.port(), {"-P2"}).code == 0);
    }
    // While another session is there: all of what was recorded.
    place.source.write_file("tree/large", random_bytes(kLargeBytes, 9));
    place.source.remove("tree/small");
    {
        std::atomic<bool> begun = false;
        TamperProxy proxy(place.receiver->port(), [&](unsigned, std::uint64_t, auto) {
            begun = true;
            return true;
        });
        Process sender(place.command(proxy.port(), {"-P1", "--bwlimit", "2M", "--ignore-times"}));
        eventually("the session has begun", [&] { return begun.load(); });
        const auto all = std::move(recorded);
        recorded = all;
        replay(SIZE_MAX);
        CHECK(sender.wait() == 0);
        CHECK((place.inbox.read_file("tree/large") == random_bytes(kLargeBytes, 9)));
    }
    // And a session's own first frames, while it goes on.
    place.source.write_file("tree/large", random_bytes(kLargeBytes, 10));
    recorded.clear();
    {
        std::mutex mutex;
        TamperProxy proxy(place.receiver->port(),
                          [&](unsigned connection, std::uint64_t offset, auto bytes) {
                              const std::scoped_lock lock(mutex);
                              return record(connection, offset, bytes);
                          });
        Process sender(place.command(proxy.port(), {"-P1", "--bwlimit", "2M", "--ignore-times"}));
        proto::Bytes join;
        eventually("the session has begun", [&] {
            const std::scoped_lock lock(mutex);
            join = recorded[0];
            return join.size() >= kJoinBytes;
        });
        join.resize(kJoinBytes);
        for (const std::size_t flipped : {std::size_t{0}, kJoinBytes - 5}) { // and another number
            join[flipped] ^= flipped == 0 ? std::byte{0} : std::byte{1};
            auto socket = connect_tcp(
                "127.0.0.1", static_cast<std::uint16_t>(std::stoul(place.receiver->port())),
                std::chrono::seconds(10), -1);
            REQUIRE(socket);
            RawPeer peer(std::move(*socket), proto::Role::data, false);
            CHECK(peer.send(join));
            CHECK(peer.readable_within(std::chrono::seconds(30)));
        }
        CHECK(sender.wait() == 0);
        CHECK((place.inbox.read_file("tree/large") == random_bytes(kLargeBytes, 10)));
    }
}

TEST_CASE("signed data are verified: --verify none does not go with them") {
    const Place place;
    const Finished sent = place.push(place.receiver->port(), {"--verify", "none"});
    CHECK(sent.code == 1);
    CHECK(sent.err.find("--verify") != std::string::npos);
    CHECK(sent.err.find("signed") != std::string::npos);
}

TEST_CASE("the list of digests holds XXH3-128 of signed files, too") {
    TempDir lists;
    const Place place({"--digests", lists.path("list")});
    REQUIRE(place.push(place.receiver->port(), {}).code == 0);
    const std::string content = random_bytes(kLargeBytes, 1);
    const std::string line =
        to_hex(digest_of(std::as_bytes(std::span(content)))) + "  tree/large\n";
    eventually("the list is written",
               [&] { return lists.read_file("list").find(line) != std::string::npos; });
}
