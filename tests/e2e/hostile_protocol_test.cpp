// Frames that are malformed, too long, or not allowed where they come, and connections that end at
// any point: each is refused or dropped, and the receiver goes on.
#include "common/compress.hpp"
#include "common/sanitized.hpp"
#include "tests/e2e/hostile.hpp"

#include <fstream>
#include <functional>

using namespace sluice;
using namespace sluice::test;
using proto::FrameType;

namespace {

// What an attempt ended with, and what it should have ended with.
struct Case {
    const char* what;
    int code;
    const char* why; // part of the text
    std::function<Refusal(Sandbox&)> attempt;
};

void check_all(Sandbox& sandbox, const std::vector<Case>& cases) {
    for (const Case& one : cases) {
        INFO(one.what);
        const Refusal refusal = one.attempt(sandbox);
        INFO("the receiver says: " << refusal.code << ' ' << refusal.text);
        CHECK(refusal.code == one.code);
        CHECK(refusal.text.find(one.why) != std::string::npos);
    }
    sandbox.check_survived();
    CHECK(sandbox.outer().list("inbox").empty());
}

// First bytes of a new connection.
auto greeting(proto::Role role, proto::Bytes bytes) {
    return [=](Sandbox& sandbox) {
        RawPeer peer = RawPeer::connect(sandbox.receiver().port(), role);
        peer.send(bytes);
        return read_refusal(peer);
    };
}
// On the control connection of a session.
auto on_control(proto::Bytes bytes) {
    return [=](Sandbox& sandbox) {
        RawSession session(sandbox.receiver());
        session.control.send(bytes);
        return read_refusal(session.control);
    };
}
// On a data connection of a session; the control connection tells what came of it.
auto on_data(proto::Bytes bytes) {
    return [=](Sandbox& sandbox) {
        RawSession session(sandbox.receiver());
        DataPeer data = session.join();
        data.send(bytes);
        return read_refusal(session.control);
    };
}

template <typename Message>
proto::Bytes frame_of(const Message& message) {
    proto::Bytes bytes;
    proto::encode(message, bytes);
    return bytes;
}

proto::Bytes operator+(proto::Bytes left, const proto::Bytes& right) {
    left.insert(left.end(), right.begin(), right.end());
    return left;
}

// A frame header whose check is right, whatever else is wrong with it.
proto::Bytes header(std::uint32_t length, unsigned type, unsigned flags = 0) {
    proto::Bytes bytes = FrameBuilder().number(length).u8(type).u8(flags).zeros(18).bytes();
    proto::seal_frame(bytes);
    return bytes;
}

proto::Bytes preamble(std::string_view magic, unsigned version, unsigned role, unsigned reserved) {
    return FrameBuilder().raw(magic).u16(version).u8(role).zeros(6).u8(reserved).bytes();
}

Refusal after_preamble(Sandbox& sandbox, const proto::Bytes& bytes) {
    auto socket =
        connect_tcp("127.0.0.1", static_cast<std::uint16_t>(std::stoul(sandbox.receiver().port())),
                    std::chrono::seconds{10}, -1);
    REQUIRE(socket);
    RawPeer peer(std::move(*socket), proto::Role::control, false);
    peer.send(bytes);
    return read_refusal(peer);
}

const char* const kMisplaced = "frame is not allowed here";

// Compressed by a thousand and more.
proto::Bytes bomb(std::size_t raw_bytes) {
    const proto::Bytes raw(raw_bytes);
    proto::Bytes packed(raw_bytes / 2);
    packed.resize(Compressor(3).compress(raw, packed));
    REQUIRE(!packed.empty());
    return packed;
}

proto::Bytes packed_frame(FrameType type, std::size_t raw_length, const proto::Bytes& payload) {
    FrameBuilder builder;
    if (type == FrameType::batch) {
        builder.u64(fresh_id());
    }
    return builder.u8(1).zeros(3).u32(raw_length).raw(payload).frame(type);
}

long peak_kib(Sandbox& sandbox) {
    std::ifstream status("/proc/" + std::to_string(sandbox.receiver().process().pid()) + "/status");
    for (std::string line; std::getline(status, line);) {
        if (line.starts_with("VmHWM:")) {
            return std::stol(line.substr(6));
        }
    }
    return 0;
}

} // namespace

TEST_CASE("a connection that does not begin as it should is refused") {
    Sandbox sandbox;
    const auto begins = [](proto::Bytes bytes) {
        return [=](Sandbox& box) { return after_preamble(box, bytes); };
    };
    check_all(sandbox,
              {{"version 0", 2, "version", begins(preamble("sluice", 0, 0, 0))},
               {"version 2", 2, "version 3", begins(preamble("sluice", 2, 0, 0))},
               {"version 4", 2, "version 3", begins(preamble("sluice", 4, 0, 0))},
               {"another version, other rules", 2, "version", begins(preamble("sluice", 9, 9, 9))},
               {"role 2", 12, "neither", begins(preamble("sluice", 3, 2, 0))},
               {"reserved bytes", 12, "reserved", begins(preamble("sluice", 3, 0, 1))},
               {"wrong magic: not a word", -1, "", begins(preamble("slurry", 3, 0, 0))},
               {"a web browser: not a word", -1, "",
                begins(FrameBuilder().raw("GET / HTTP/1.1\r\nHost: x\r\n\r\n").bytes())},
               {"TLS: not a word", -1, "",
                begins(FrameBuilder().raw("\x16\x03\x01").zeros(200).bytes())}});
}

TEST_CASE("a first frame other than Open or Join is refused") {
    Sandbox sandbox;
    const auto control = [](const proto::Bytes& bytes) {
        return greeting(proto::Role::control, bytes);
    };
    const auto data = [](const proto::Bytes& bytes) { return greeting(proto::Role::data, bytes); };
    proto::Offer offer;
    offer.entries.push_back({1, {}, 0644, 0, "a"});
    check_all(sandbox,
              {{"Offer", 12, kMisplaced, control(frame_of(offer))},
               {"Finish", 12, kMisplaced, control(frame_of(proto::Finish{0}))},
               {"FileAbort", 12, kMisplaced, control(frame_of(proto::FileAbort{1}))},
               {"Join on a control connection", 12, kMisplaced, control(frame_of(proto::Join{}))},
               {"Open on a data connection", 12, kMisplaced, data(frame_of(proto::Open{}))},
               {"Batch", 12, kMisplaced, data(file_frame("a", "b"))},
               {"Batch that is long, and whose body has yet to come", 12, kMisplaced,
                data(header(100'000, static_cast<unsigned>(FrameType::batch)))},
               {"Extent", 12, kMisplaced, data(extent_frame(extent_of(1, "a", 100)))},
               {"unknown token", 5, "token is unknown", data(frame_of(proto::Join{}))},
               {"stream 64", 12, "", data(FrameBuilder().zeros(20).u16(64).frame(32))},
               {"stream 65535", 12, "", data(FrameBuilder().zeros(20).u16(65535).frame(32))}});
}

TEST_CASE("a session's token is of no use once the session is over") {
    Sandbox sandbox;
    proto::Token token;
    {
        RawSession session(sandbox.receiver());
        token = session.token;
        RawSession other(sandbox.receiver());
        CHECK((other.token != token));
    }
    eventually("the receiver has forgotten the session", [&] {
        RawPeer data = RawPeer::connect(sandbox.receiver().port(), proto::Role::data);
        data.send_message(proto::Join{token, 1, 0});
        data.shut_down_sending();
        return read_refusal(data).code == 5;
    });
    for (std::size_t bit = 0; bit < 8; ++bit) { // nor is one that is almost right
        RawSession session(sandbox.receiver());
        token = session.token;
        token[bit * 2] ^= std::byte{1} << bit;
        RawPeer data = RawPeer::connect(sandbox.receiver().port(), proto::Role::data);
        data.send_message(proto::Join{token, 1, 0});
        CHECK(read_refusal(data).code == 5);
    }
    sandbox.check_survived();
}

TEST_CASE("a frame that its state does not allow ends the session") {
    Sandbox sandbox;
    proto::Offer offer;
    offer.entries.push_back({1, {}, 0644, 0, "a"});
    const proto::Bytes finish = frame_of(proto::Finish{0});
    const proto::Bytes zstd = extent_frame(extent_of(1, "a", 1000, proto::Encoding::zstd));
    const proto::Bytes block = frame_of(proto::Block{proto::Encoding::raw, 1, as_bytes("x")});
    proto::Digests digests;
    digests.entries.push_back({1, {}});
    proto::Bytes ping;
    proto::encode_ping(ping);
    check_all(
        sandbox,
        {{"Open twice", 12, kMisplaced, on_control(frame_of(proto::Open{}))},
         {"Welcome", 12, kMisplaced, on_control(frame_of(proto::Welcome{}))},
         {"Done", 12, kMisplaced, on_control(frame_of(proto::Done{}))},
         {"FileError", 12, kMisplaced,
          on_control(frame_of(proto::FileError{proto::FileFault::io, 0, "a", "b"}))},
         {"Batch on control", 12, kMisplaced, on_control(file_frame("a", "b"))},
         {"Offer after Finish", 12, kMisplaced, on_control(finish + frame_of(offer))},
         {"Finish twice", 12, kMisplaced, on_control(finish + finish)},
         {"Join twice", 12, kMisplaced, on_data(frame_of(proto::Join{}))},
         {"Offer on data", 12, kMisplaced, on_data(frame_of(offer))},
         {"Finish on data", 12, kMisplaced, on_data(finish)},
         {"Block without extent", 12, kMisplaced, on_data(block)},
         {"Batch between blocks", 12, kMisplaced, on_data(zstd + block + file_frame("b", "c"))},
         {"Extent between blocks", 12, kMisplaced, on_data(zstd + zstd)},
         {"FileEnd between blocks", 12, kMisplaced, on_data(zstd + frame_of(proto::FileEnd{1}))},
         {"FileAbort of another file between blocks", 12, kMisplaced,
          on_data(zstd + frame_of(proto::FileAbort{2}))},
         {"Digests after Finish", 12, kMisplaced, on_control(finish + frame_of(digests))},
         {"FileEnd after Finish", 12, kMisplaced, on_control(finish + frame_of(proto::FileEnd{1}))},
         {"Drop after Finish", 12, kMisplaced, on_control(finish + frame_of(proto::Drop{1}))},
         {"Ack", 12, kMisplaced, on_control(frame_of(proto::Ack{{1}}))},
         {"Again", 12, kMisplaced, on_control(frame_of(proto::Again{1, {}}))},
         {"Lost", 12, kMisplaced, on_control(frame_of(proto::Lost{1}))},
         {"Present", 12, kMisplaced, on_control(frame_of(proto::Present{1, {{0, 1}}}))},
         {"Digests on data", 12, kMisplaced, on_data(frame_of(digests))},
         {"FileEnd on data", 12, kMisplaced, on_data(frame_of(proto::FileEnd{1}))},
         {"Drop on data", 12, kMisplaced, on_data(frame_of(proto::Drop{1}))},
         {"Ping on data", 12, kMisplaced, on_data(ping)}});
}

TEST_CASE("a frame header that breaks a rule is refused before its body comes") {
    Sandbox sandbox;
    std::vector<Case> cases;
    for (const unsigned type : {0U, 9U, 15U, 24U, 31U, 36U, 47U, 50U, 128U, 255U}) {
        cases.push_back({"unknown type", 12, "frame type is unknown", on_control(header(0, type))});
        cases.push_back({"unknown type", 12, "frame type is unknown", on_data(header(0, type))});
    }
    const char* const too_long = "longer than its type allows";
    for (const FrameType type :
         {FrameType::offer, FrameType::finish, FrameType::digests, FrameType::file_end,
          FrameType::file_abort, FrameType::drop, FrameType::all_sent, FrameType::ping,
          FrameType::error, FrameType::batch, FrameType::extent, FrameType::block}) {
        const auto most = static_cast<std::uint32_t>(proto::max_body_bytes(type));
        const auto number = static_cast<unsigned>(type);
        for (const std::uint32_t length : {most + 1, 0x7fffffffU, 0xffffffffU}) {
            cases.push_back(
                {"too long", 12, too_long,
                 proto::allowed_on(type, proto::Role::control)
                     ? on_control(header(length, number))
                     : std::function<Refusal(Sandbox&)>(on_data(header(length, number)))});
        }
    }
    cases.push_back({"Open too long", 12, too_long,
                     greeting(proto::Role::control, header(proto::kMaxOpenBytes + 1, 1))});
    cases.push_back({"Join too long", 12, too_long, greeting(proto::Role::data, header(23, 32))});
    cases.push_back({"flags", 12, "reserved", on_data(header(0, 35, 1))});
    cases.push_back({"flags", 12, "reserved", on_control(header(0, 48, 128))});
    check_all(sandbox, cases);
}

TEST_CASE("a body that is too short, too long or out of range is refused") {
    Sandbox sandbox;
    const auto extent = [](std::uint64_t offset, std::uint64_t length, std::uint64_t size,
                           unsigned encoding) {
        proto::Extent bad = extent_of(1, "a", size);
        bad.offset = offset;
        bad.length = length;
        bad.encoding = static_cast<proto::Encoding>(encoding);
        return on_data(extent_frame(bad));
    };
    proto::Extent nanoseconds = extent_of(1, "a", 1);
    nanoseconds.mtime.nanoseconds = 1'000'000'000;
    check_all(
        sandbox,
        {{"Finish cut", 12, "ends inside", on_control(FrameBuilder().u32(0).frame(3))},
         {"Offer of nothing", 12, "", on_control(FrameBuilder().u64(0).u16(0).frame(2))},
         {"Offer of more than it holds", 12, "",
          on_control(FrameBuilder().u64(0).u16(1024).zeros(100).frame(2))},
         {"Offer whose ids wrap", 12, "",
          on_control(FrameBuilder()
                         .u64(UINT64_MAX)
                         .u16(2)
                         .zeros(32)
                         .string("a")
                         .zeros(32)
                         .string("b")
                         .frame(2))},
         {"FileEnd cut", 12, "ends inside", on_control(FrameBuilder().u32(1).frame(5))},
         {"Digests with more than they say", 12, "after its last field",
          on_control(FrameBuilder().u16(1).zeros(25).frame(4))},
         {"Digests of nothing", 12, "", on_control(FrameBuilder().u16(0).frame(4))},
         {"Digests above the limit", 12, "",
          on_control(FrameBuilder().u16(proto::kMaxDigests + 1).zeros(64 * 24).frame(4))},
         {"extent of length 0", 12, "", extent(0, 0, 100, 0)},
         {"extent above the limit", 12, "", extent(0, (64U << 20) + 1, 1U << 30, 0)},
         {"extent behind the end", 12, "", extent(90, 11, 100, 0)},
         {"extent whose end wraps", 12, "", extent(UINT64_MAX, 2, 100, 0)},
         {"hole whose end wraps", 12, "", extent(UINT64_MAX - 5, 10, UINT64_MAX, 2)},
         {"size above the limit", 12, "", extent(0, 10, UINT64_MAX, 2)},
         {"encoding 3", 12, "", extent(0, 10, 10, 3)},
         {"mode above 07777", 12, "", on_data(file_frame("a", "b", 010000))},
         {"nanoseconds", 12, "", on_data(extent_frame(nanoseconds))},
         {"empty batch", 12, "", on_data(FrameBuilder().zeros(16).frame(33))},
         {"batch of less than announced", 12, "",
          on_data(FrameBuilder().u64(1).u32(0).u32(1000).zeros(100).frame(33))},
         {"batch of a hole", 12, "",
          on_data(FrameBuilder().u64(1).u32(2).u32(30).zeros(30).frame(33))},
         {"record of kind 0", 12, "",
          on_data(FrameBuilder().u64(1).u32(0).u32(24).zeros(24).frame(33))},
         {"record cut", 12, "", on_data(FrameBuilder().u64(1).u32(0).u32(9).zeros(9).frame(33))},
         {"directory with content", 12, "",
          on_data(batch_frame(proto::RecordKind::directory, "d", "x"))},
         {"link to nothing", 12, "", on_data(batch_frame(proto::RecordKind::symlink, "l", ""))},
         {"link with a NUL", 12, "",
          on_data(batch_frame(proto::RecordKind::symlink, "l", std::string_view("a\0b", 3)))},
         {"inline file above the limit", 12, "",
          on_data(file_frame("f", std::string((64U << 10) + 1, 'x')))},
         {"unknown flag of Open", 12, "",
          greeting(proto::Role::control,
                   FrameBuilder().u32(1U << 8).u16(1).zeros(30).frame(FrameType::open))},
         {"no streams", 12, "",
          greeting(proto::Role::control,
                   FrameBuilder().u32(1).u16(0).zeros(30).frame(FrameType::open))}});
}

TEST_CASE("a damaged frame costs its connection, and on a data connection nothing else") {
    Sandbox sandbox;
    const proto::Bytes good = file_frame("t/a", "first");
    const proto::Bytes next = file_frame("t/b", "second");
    for (std::size_t byte = 0; byte < next.size(); ++byte) {
        INFO("byte " << byte);
        proto::Bytes damaged = next;
        damaged[byte] ^= std::byte{1};
        RawSession session(sandbox.receiver());
        DataPeer first = session.join();
        first.send(good);
        first.send(damaged);
        REQUIRE(session.note_until([&] { return session.lost.contains(first.number()); }));
        CHECK(session.acknowledged.size() == 1);
        DataPeer second = session.join();
        second.send(next);
        session.end(second);
        REQUIRE(describe(session.finish(2)) == "Done");
        REQUIRE(sandbox.outer().read_file("inbox/t/b") == "second");
        sandbox.outer().remove("inbox/t");
    }
    sandbox.check_survived();
}

TEST_CASE("a damaged frame on the control connection ends the session as a lost one does") {
    Sandbox sandbox;
    proto::Offer offer;
    offer.entries.push_back({1, {}, 0644, 0, "a"});
    const proto::Bytes frame = frame_of(offer);
    std::vector<Case> cases;
    for (std::size_t byte = 0; byte < frame.size(); ++byte) {
        proto::Bytes damaged = frame;
        damaged[byte] ^= std::byte{0x10};
        cases.push_back({"an offer with a damaged byte", 10, "damaged", on_control(damaged)});
    }
    check_all(sandbox, cases);
}

TEST_CASE("compressed data that is not what it says ends the session and takes no memory") {
    Sandbox sandbox;
    const proto::Bytes huge = bomb(std::size_t{64} << 20);
    const proto::Bytes small = bomb(1000);
    const proto::Bytes zstd = extent_frame(extent_of(1, "a", 200'000, proto::Encoding::zstd));
    const long before_kib = peak_kib(sandbox);
    proto::Bytes damaged = small;
    damaged[damaged.size() / 2] ^= std::byte{0xff};
    check_all(sandbox,
              {{"batch bomb", 12, "", on_data(packed_frame(FrameType::batch, 131072, huge))},
               {"block bomb", 12, "", on_data(zstd + packed_frame(FrameType::block, 131072, huge))},
               {"longer than announced", 12, "",
                on_data(zstd + packed_frame(FrameType::block, 999, small))},
               {"shorter than announced", 12, "",
                on_data(zstd + packed_frame(FrameType::block, 1001, small))},
               {"bytes behind it", 12, "",
                on_data(zstd + packed_frame(FrameType::block, 1000, small + proto::Bytes(1)))},
               {"two frames", 12, "",
                on_data(zstd + packed_frame(FrameType::block, 2000, small + small))},
               {"no zstd at all", 12, "",
                on_data(zstd + packed_frame(FrameType::block, 1000, proto::Bytes(50)))},
               {"damaged", 12, "", on_data(zstd + packed_frame(FrameType::block, 1000, damaged))},
               {"block above its limit", 12, "",
                on_data(zstd + packed_frame(FrameType::block, 131073, small))},
               {"more blocks than the extent", 12, "above its limit",
                on_data(zstd + packed_frame(FrameType::block, 131072, bomb(131072)) +
                        packed_frame(FrameType::block, 131072, bomb(131072)))}});
    if (!kSanitized) {
        CHECK(peak_kib(sandbox) - before_kib < 32 * 1024);
    }
}

TEST_CASE("an error frame from the sender ends its session without an answer") {
    Sandbox sandbox;
    const proto::ErrorMessage message{20, "I give up\n\x1b[31m"};
    RawSession session(sandbox.receiver());
    REQUIRE(session.control.send_message(message));
    const Frame answer = session.control.receive();
    CHECK((answer.type == FrameType::error && answer.body.empty())); // the end of the stream
    sandbox.check_survived();
    const Process& process = sandbox.receiver().process();
    eventually("the reason is in the log",
               [&] { return process.err().find("I give up\\n\\x1b[31m") != std::string::npos; });
    CHECK(process.err().find('\x1b') == std::string::npos);
}

TEST_CASE("an error frame on a data connection ends the session with the sender's reason") {
    Sandbox sandbox;
    RawSession session(sandbox.receiver());
    DataPeer data = session.join();
    REQUIRE(data.send_message(proto::ErrorMessage{20, "the disk caught fire"}));
    read_refusal(session.control);
    sandbox.check_survived();
    const Process& process = sandbox.receiver().process();
    eventually("the reason is in the log",
               [&] { return process.err().find("the disk caught fire") != std::string::npos; });
}

TEST_CASE("an error frame with a code that nobody knows ends the session") {
    Sandbox sandbox;
    for (const unsigned code : {0U, 1U, 999U, 65535U}) {
        on_control(FrameBuilder().u16(code).string("?").frame(FrameType::error))(sandbox);
        on_data(FrameBuilder().u16(code).string("?").frame(FrameType::error))(sandbox);
    }
    sandbox.check_survived();
}
