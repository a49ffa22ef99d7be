// Digests: what arrives damaged is noticed and sent again, and nothing damaged is ever published.
#include "common/digest.hpp"
#include "common/sanitized.hpp"
#include "tests/e2e/checks.hpp"
#include "tests/e2e/events.hpp"
#include "tests/e2e/fake_receiver.hpp"
#include "tests/e2e/hostile.hpp"
#include "tests/e2e/on_the_way.hpp"
#include "tests/support/scratch_file.hpp"
#include "tests/support/tree.hpp"

#include <iostream>
#include <random>
#include <thread>

using namespace sluice;
using namespace sluice::test;

namespace {

constexpr std::size_t kExtent = std::size_t{8} << 20; // as the sender cuts large files
constexpr std::size_t kBytes = 2 * kExtent + 12'345;
constexpr std::uint32_t kVerify = proto::kOpenPreserve | proto::kOpenVerify;

proto::Digest some_digest() {
    proto::Digest digest;
    digest.fill(std::byte{0xab});
    return digest;
}

// A sender of a large and a small file, and the session of its that a test plays the receiver of.
struct Sending {
    TempDir source;
    FakeReceiver receiver;
    std::unique_ptr<Process> sender;
    proto::Open open;
    std::optional<RawPeer> control;
    std::optional<SessionReader> session;

    explicit Sending(std::vector<std::string> options = {}) {
        source.write_file("large", random_bytes(kBytes, 1));
        source.write_file("small", "small");
        options.insert(options.end(), {"-J", source.path("large"), source.path("small")});
        sender = receiver.start_sender(options);
        control.emplace(receiver.accept_session(true, &open));
        session.emplace(*control);
    }

    // No receiver can judge an extent before it has its digest.
    void await_digest(std::uint64_t id) {
        while (!session->log().digests.contains(id)) {
            session->read_control_until(proto::FrameType::digests);
        }
    }
    bool ask_again(std::uint64_t id) {
        await_digest(id);
        return control->send_message(proto::Again{id, some_digest()});
    }

    // Takes the rest, up to the end of the sender.
    int finish(std::uint64_t files) {
        DataPeer data = receiver.accept_stream();
        session->read_stream(data);
        CHECK(session->read_finish() == files);
        CHECK(session->log().whole("small"));
        proto::Done done;
        done.files = files;
        REQUIRE(control->send_message(done));
        return sender->wait();
    }
};

void send_payload(RawPeer& data, const proto::Extent& extent, std::string_view content) {
    const auto bytes = as_bytes(content);
    data.send(extent_frame(extent));
    data.send({bytes.begin(), bytes.end()});
}

bool send_digest(RawSession& session, std::uint64_t id, const proto::Digest& digest) {
    proto::Digests message;
    message.entries.push_back({id, digest});
    return session.control.send_message(message);
}

} // namespace

TEST_CASE("every raw extent has the digest of the bytes that were sent") {
    Sending test;
    CHECK((test.open.flags & proto::kOpenVerify) != 0);
    std::map<std::uint64_t, proto::Digest> expected;
    test.session->on_extent = [&](const proto::Extent& extent) {
        test.await_digest(extent.id);
        const std::string& content = test.session->log().content.at(std::string(extent.path));
        expected[extent.id] = digest_of(as_bytes(content).subspan(extent.offset, extent.length));
        return false;
    };
    CHECK(test.finish(2) == 0);
    CHECK((test.session->log().digests == expected));
    CHECK(expected.size() == 3);
    CHECK(last_event(test.sender->out(), "summary")["verified"] == true);
}

TEST_CASE("a range that arrived damaged is sent again by copying, and the push succeeds") {
    Sending test({"--send-path", "sendfile"});
    unsigned tries = 0;
    const unsigned wrong = GENERATE(1U, 2U);
    test.session->on_extent = [&](const proto::Extent& extent) {
        if (extent.offset != kExtent) {
            return false;
        }
        ++tries;
        CHECK(extent.length == kExtent);
        return tries <= wrong && test.ask_again(extent.id);
    };
    CHECK(test.finish(2) == 0);
    CHECK(tries == wrong + 1);
    CHECK((test.session->log().content.at("large") == random_bytes(kBytes, 1)));
    const Json summary = last_event(test.sender->out(), "summary");
    CHECK(summary["resent_bytes"] == wrong * kExtent);
    CHECK(summary["sender"]["bytes"]["copied"] == wrong * kExtent);
    CHECK(summary["sender"]["bytes"]["sendfile"] == kBytes);
    CHECK(summary["verified"] == true);
}

TEST_CASE("a range that arrives damaged three times is reported with place and digests") {
    Sending test;
    unsigned tries = 0;
    test.session->on_extent = [&](const proto::Extent& extent) {
        if (extent.offset != kExtent) {
            return false;
        }
        ++tries;
        return test.ask_again(extent.id);
    };
    CHECK(test.finish(1) == 23);
    CHECK(tries == 3);
    const SessionLog& log = test.session->log();
    CHECK(log.aborted == std::vector{log.ids.at("large")});
    CHECK(log.ended.empty());
    const std::string sent =
        to_hex(digest_of(as_bytes(random_bytes(kBytes, 1)).subspan(kExtent, kExtent)));
    const std::string message = events_of(test.sender->out(), "file_failed").at(0)["message"];
    CHECK(contains(message, test.source.path("large") + ": "));
    CHECK(contains(message, " offset 8388608: "));
    CHECK(contains(message, "sent " + sent + ", arrived " + to_hex(some_digest())));
}

TEST_CASE(
    "a range that differs because its source was changed is no damage, but a changed source") {
    Sending test;
    test.session->on_extent = [&](const proto::Extent& extent) {
        if (extent.offset != kExtent) {
            return false;
        }
        const auto file =
            UniqueFd::adopt(::open(test.source.path("large").c_str(), O_WRONLY | O_CLOEXEC));
        REQUIRE(::pwrite(file.get(), "changed", 7, kExtent) == 7);
        test.source.set_mtime("large", 1'000'000'000); // so that a coarse clock does not matter
        return test.ask_again(extent.id);
    };
    CHECK(test.finish(1) == 24);
    CHECK(test.session->log().aborted == std::vector{test.session->log().ids.at("large")});
    const Json failed = events_of(test.sender->out(), "file_failed").at(0);
    CHECK(failed["kind"] == "source_changed");
    CHECK(contains(failed["message"], ": changed"));
}

TEST_CASE("option --verify none sends no digests, and nothing may be asked for again") {
    Sending test({"--verify", "none"});
    CHECK((test.open.flags & proto::kOpenVerify) == 0);
    SECTION("all goes well") {
        CHECK(test.finish(2) == 0);
        CHECK(test.session->log().digests.empty());
        CHECK(last_event(test.sender->out(), "summary")["verified"] == false);
    }
    SECTION("a receiver asks nevertheless") {
        test.session->on_extent = [&](const proto::Extent& extent) {
            return test.control->send_message(proto::Again{extent.id, some_digest()});
        };
        DataPeer data = test.receiver.accept_stream();
        test.session->read_one_extent(data);
        CHECK(test.sender->wait() == 12);
    }
}

TEST_CASE("an extent with another digest than it should have is asked for again, not published") {
    Sandbox sandbox;
    const std::string path = GENERATE("t/file", "file");
    const std::string right(100'000, 'r');
    const std::string wrong(100'000, 'w');
    RawSession session(sandbox.receiver(), fresh_open(kVerify));
    DataPeer data = session.join();
    const proto::Extent first = extent_of(1, path, right.size());
    send_payload(data, first, wrong);
    REQUIRE(send_digest(session, first.id, digest_of(as_bytes(right))));
    REQUIRE(session.note_until([&] { return !session.again.empty(); }));
    CHECK((session.again.at(first.id) == digest_of(as_bytes(wrong))));
    CHECK(session.acknowledged.empty());
    SECTION("it comes right") {
        const proto::Extent second = extent_of(1, path, right.size());
        send_payload(data, second, right);
        REQUIRE(send_digest(session, second.id, digest_of(as_bytes(right))));
        session.await_ack(second.id);
        session.end(data, {1});
        CHECK(describe(session.finish(1)) == "Done");
        CHECK(sandbox.outer().read_file("inbox/" + path) == right);
    }
    SECTION("its file is given up") {
        REQUIRE(session.control.send_message(proto::FileAbort{1}));
        session.end(data);
        CHECK(describe(session.finish(0)) == "Done");
        CHECK_FALSE(sandbox.outer().exists("inbox/" + path));
    }
    SECTION("its file is said to be complete") {
        session.control.send_message(proto::FileEnd{1});
        CHECK(read_refusal(session.control).code == 12);
        CHECK_FALSE(sandbox.outer().exists("inbox/" + path));
    }
    sandbox.check_survived();
}

TEST_CASE("a digest may come before, while and after its payload travels") {
    Sandbox sandbox;
    const std::string content(200'000, 'c');
    const proto::Digest digest = digest_of(as_bytes(content));
    RawSession session(sandbox.receiver(), fresh_open(kVerify));
    DataPeer data = session.join();
    proto::Extent extent = extent_of(1, "file", content.size());
    SECTION("before") {
        REQUIRE(send_digest(session, extent.id, digest));
        session.settle();
        send_payload(data, extent, content);
    }
    SECTION("while") {
        send_payload(data, extent, content.substr(0, 100'000));
        eventually("half of it has arrived", [&] {
            std::error_code ignored;
            namespace fs = std::filesystem;
            for (const auto& file : fs::recursive_directory_iterator(sandbox.inbox(), ignored)) {
                if (file.is_regular_file(ignored) && file.file_size(ignored) == 100'000) {
                    return true;
                }
            }
            return false;
        });
        REQUIRE(send_digest(session, extent.id, digest));
        session.settle();
        const auto rest = as_bytes(content).subspan(100'000);
        data.send({rest.begin(), rest.end()});
    }
    SECTION("after") {
        send_payload(data, extent, content);
        data.send(file_frame("fence", ""));
        REQUIRE(session.note_until([&] { return session.acknowledged.size() == 1; }));
        CHECK_FALSE(session.acknowledged.contains(extent.id));
        REQUIRE(send_digest(session, extent.id, digest));
    }
    SECTION("after its connection has ended, which is lost only then") {
        send_payload(data, extent, content);
        data.shut_down_sending();
        read_refusal(data);
        session.settle();
        CHECK(session.lost.empty());
        REQUIRE(send_digest(session, extent.id, digest));
    }
    session.await_ack(extent.id);
    CHECK(session.again.empty());
    CHECK_FALSE(session.lost.contains(data.number()));
    session.end(data, {1});
    const std::uint64_t files = session.acknowledged.size();
    CHECK(describe(session.finish(files)) == "Done");
    CHECK(sandbox.outer().read_file("inbox/file") == content);
    sandbox.outer().remove("inbox/fence");
    sandbox.check_survived();
}

TEST_CASE("digests of extents that never come do not hurt") {
    Sandbox sandbox;
    const std::string content(100'000, 'c');
    RawSession session(sandbox.receiver(), fresh_open(kVerify));
    DataPeer data = session.join();
    std::uint64_t unknown = 1'000'000;
    for (std::size_t frame = 0; frame < 4 * proto::kMaxUnacknowledged / proto::kMaxDigests;
         ++frame) {
        proto::Digests message;
        for (std::size_t entry = 0; entry < proto::kMaxDigests; ++entry) {
            message.entries.push_back({unknown++, some_digest()});
        }
        REQUIRE(session.control.send_message(message));
    }
    const proto::Extent extent = extent_of(1, "file", content.size());
    send_payload(data, extent, content);
    REQUIRE(send_digest(session, extent.id, digest_of(as_bytes(content))));
    session.await_ack(extent.id);
    session.end(data, {1});
    CHECK(describe(session.finish(1)) == "Done");
    CHECK(sandbox.outer().read_file("inbox/file") == content);
    sandbox.check_survived();
}

TEST_CASE("bits that flip between the real programs are noticed and put right") {
    const TempDir source;
    const TempDir destination;
    const ReceiverProcess receiver(destination.path());
    source.write_file("large", random_bytes(kBytes, 1));
    for (int file = 0; file < 100; ++file) {
        source.write_file("small" + std::to_string(file), random_bytes(5'000, 9));
    }
    const std::uint64_t seed = test_seed();
    std::cerr << "SLUICE_TEST_SEED=" << seed << '\n';
    std::mt19937_64 random(seed);
    for (int round = 0; round < 10; ++round) {
        std::uniform_int_distribution<std::uint64_t> place(16 + 24, 400'000 + kBytes);
        const ProxyFault flip{FaultKind::flip, Way::to_server, place(random)};
        const ChaosProxy proxy(port_number(receiver), one_fault(1, flip));
        const std::string path = "to" + std::to_string(round);
        const Finished sent =
            run(send_command(proxy.port(), {"-P", "1", "-J", source.path("") + "/"}, path));
        INFO("round " << round << ": " << sent.err);
        REQUIRE(sent.code == 0);
        CHECK(last_event(sent.out, "summary")["resent_bytes"].get<std::uint64_t>() > 0);
        CHECK(differences(describe_tree(source), describe_tree(destination, path)) == "");
    }
}

TEST_CASE("a source that is rewritten while it is sent arrives old, new or not at all") {
    constexpr int kRounds = kSanitized ? 10 : 40;
    const TempDir source(TempDir::quick_base());
    const TempDir destination(TempDir::quick_base());
    const ReceiverProcess receiver(destination.path());
    const std::uint64_t seed = test_seed();
    std::cerr << "SLUICE_TEST_SEED=" << seed << '\n';
    std::mt19937_64 random(seed);
    std::uniform_int_distribution<int> delay(0, 40);
    int refused = 0;
    for (int round = 0; round < kRounds; ++round) {
        const auto old_letter = static_cast<char>('a' + round % 26);
        source.write_file("file", std::string(kBytes, old_letter));
        const std::string new_content(kBytes, static_cast<char>(old_letter - 'a' + 'A'));
        // In one round at the speed of the machine, whatever that hits; in the next so slowly that
        // it is hit while it is sent, also where programs take long to start.
        const bool slowly = round % 2 == 1;
        std::vector<std::string> arguments{"-q", source.path("file")};
        if (slowly) {
            arguments.insert(arguments.begin(), {"--bwlimit", "64M"}); // a quarter of a second
        }
        Process sender(send_command(receiver, arguments, "to" + std::to_string(round) + "/"));
        if (slowly) {
            eventually("the session is there, or over",
                       [&] { return destination.exists(".sluice") || sender.ends_within({}); });
        }
        static_cast<void>(sender.ends_within(std::chrono::milliseconds{delay(random)}));
        const auto file =
            UniqueFd::adopt(::open(source.path("file").c_str(), O_WRONLY | O_CLOEXEC));
        for (std::size_t at = 0; at < kBytes;) { // from front to back
            const ssize_t wrote =
                ::pwrite(file.get(), new_content.data() + at,
                         std::min(kBytes - at, std::size_t{1} << 20), static_cast<off_t>(at));
            REQUIRE(wrote > 0);
            at += static_cast<std::size_t>(wrote);
        }
        const int code = sender.wait();
        INFO("round " << round << ": " << sender.err());
        const std::string name = "to" + std::to_string(round) + "/file";
        REQUIRE((code == 0 || code == 24));
        if (code == 24) {
            ++refused;
            CHECK_FALSE(destination.exists(name));
            continue;
        }
        const std::string content = destination.read_file(name);
        REQUIRE(content.size() == kBytes);
        CHECK(content.find_first_not_of(content[0]) == std::string::npos);
    }
    CHECK(refused > 0);
}
