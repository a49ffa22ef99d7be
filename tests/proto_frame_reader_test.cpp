// Cutting a stream into frames, at every place where the network may cut it.
#include "proto/frame_reader.hpp"
#include "tests/support/proto_samples.hpp"

#include <catch2/catch.hpp>
#include <functional>
#include <string>
#include <vector>

using namespace sluice::proto;
using namespace sluice::test;

namespace {

struct Frame {
    FrameType type;
    Bytes body;
    std::size_t payload_bytes = 0; // that follow the frame, outside of it
};

std::vector<Frame> golden_frames(Role role) {
    std::vector<Frame> frames;
    for (const GoldenFrame& sample : kGoldenFrames) {
        if (!allowed_on(sample.type, role))
            continue;
        const Bytes frame = wire_bytes(sample.notation);
        // A real raw extent promises more than a test wants to carry: any length will do here.
        const std::size_t payload = sample.name == "extent_raw" ? 37 : 0;
        frames.push_back({sample.type, {frame.begin() + kFrameHeaderBytes, frame.end()}, payload});
    }
    return frames;
}

Bytes stream_of(const std::vector<Frame>& frames, std::string_view preamble) {
    Bytes stream = wire_bytes(preamble);
    for (const Frame& frame : frames) {
        const Bytes whole = frame_of(frame.type, frame.body);
        stream.insert(stream.end(), whole.begin(), whole.end());
        stream.insert(stream.end(), frame.payload_bytes, std::byte{0xee});
    }
    return stream;
}

// Plays a socket that has `limit(position)` bytes ready at each read, and checks on the way that
// the reader asks for nothing beyond the frame that it is in.
void read_stream(const std::vector<Frame>& frames, std::string_view preamble, Role role,
                 const std::function<std::size_t(std::size_t)>& limit) {
    const Bytes stream = stream_of(frames, preamble);
    const bool expects = !preamble.empty();
    // Where a preamble is expected, the role comes from it and not from the caller.
    const Role told = expects ? (role == Role::control ? Role::data : Role::control) : role;
    FrameReader reader(told, expects);
    std::size_t at = 0;
    std::size_t frame_end = expects ? kPreambleBytes : 0;
    const auto feed = [&] {
        const auto space = reader.space();
        REQUIRE(!space.empty());
        REQUIRE(at + space.size() <= frame_end);
        const std::size_t count = std::min(space.size(), limit(at));
        std::ranges::copy(std::span(stream).subspan(at, count), space.begin());
        REQUIRE(reader.commit(count) == Fault::none);
        at += count;
    };
    while (!reader.preamble_seen()) {
        REQUIRE(!reader.at_boundary());
        feed();
    }
    REQUIRE(reader.role() == role);
    for (const Frame& frame : frames) {
        REQUIRE(at == frame_end);
        REQUIRE(reader.at_boundary());
        frame_end = at + kFrameHeaderBytes + frame.body.size();
        while (!reader.frame_ready()) {
            feed();
            REQUIRE(!reader.at_boundary());
        }
        REQUIRE(at == frame_end);
        REQUIRE(reader.space().empty());
        REQUIRE(reader.type() == frame.type);
        REQUIRE(same_bytes(reader.body(), frame.body));
        // The payload is still in the "socket": somebody else takes it.
        at += frame.payload_bytes;
        frame_end = at;
        reader.next();
    }
    REQUIRE(at == stream.size());
    REQUIRE(reader.at_boundary());
}

// The fault that a stream provokes, fed one byte at a time; none where it just ends.
Fault stream_fault(const Bytes& stream, Role role, bool expect_preamble) {
    FrameReader reader(role, expect_preamble);
    for (const std::byte byte : stream) {
        const auto space = reader.space();
        REQUIRE(!space.empty());
        space[0] = byte;
        if (const Fault fault = reader.commit(1); fault != Fault::none)
            return fault;
        if (reader.frame_ready())
            reader.next();
    }
    return Fault::none;
}

} // namespace

TEST_CASE("every message survives every cut of the stream", "[proto][frame_reader]") {
    for (const Role role : {Role::control, Role::data}) {
        const auto frames = golden_frames(role);
        const auto preamble = role == Role::control ? kGoldenControlPreamble : kGoldenDataPreamble;
        const std::size_t total = stream_of(frames, preamble).size();
        for (std::size_t cut = 1; cut < total; ++cut) {
            CAPTURE(cut);
            // Everything up to the cut is there at once, then everything after it.
            read_stream(frames, preamble, role,
                        [cut, total](std::size_t at) { return at < cut ? cut - at : total - at; });
        }
    }
}

TEST_CASE("every message survives a stream that trickles", "[proto][frame_reader]") {
    for (const Role role : {Role::control, Role::data}) {
        const auto preamble = role == Role::control ? kGoldenControlPreamble : kGoldenDataPreamble;
        for (const std::size_t step : std::array<std::size_t, 9>{1, 2, 3, 5, 7, 8, 23, 24, 64}) {
            CAPTURE(step);
            const auto at_most = [step](std::size_t) { return step; };
            read_stream(golden_frames(role), preamble, role, at_most);
            // The side that accepts nothing and connects reads no preamble.
            read_stream(golden_frames(role), "", role, at_most);
        }
    }
}

TEST_CASE("reader cuts a frame with a body of the largest size", "[proto][frame_reader]") {
    const Bytes body(max_body_bytes(FrameType::batch), std::byte{1});
    const std::vector<Frame> frames = {{FrameType::batch, body},
                                       {FrameType::block, Bytes(8, std::byte{2})},
                                       {FrameType::join, {}},
                                       {FrameType::batch, body}};
    for (const std::size_t step : {std::size_t{1000}, SIZE_MAX})
        read_stream(frames, kGoldenDataPreamble, Role::data, [step](std::size_t) { return step; });
}

TEST_CASE("a commit of nothing changes nothing", "[proto][frame_reader]") {
    FrameReader reader(Role::data, true);
    const auto feed = [&](const Bytes& bytes) {
        for (const std::byte byte : bytes) {
            CHECK(reader.commit(0) == Fault::none);
            reader.space()[0] = byte;
            REQUIRE(reader.commit(1) == Fault::none);
        }
    };
    feed(wire_bytes(kGoldenDataPreamble));
    feed(frame_of(FrameType::block, wire_bytes("0807060504030201")));
    CHECK(reader.frame_ready());
    CHECK(reader.commit(0) == Fault::none);
    CHECK(reader.frame_ready());
    CHECK(reader.body().size() == 8);
}

TEST_CASE("reader rejects a stream that does not begin with the preamble",
          "[proto][frame_reader]") {
    const auto fault = [](std::string_view notation) {
        return stream_fault(wire_bytes(notation), Role::control, true);
    };
    CHECK(fault("'sluicf' 0300 00 00000000000000") == Fault::bad_magic);
    CHECK(fault("'GET / HTTP/1.1'0d0a") == Fault::bad_magic);
    CHECK(fault("'sluice' 0000 00 00000000000000") == Fault::unsupported_version);
    CHECK(fault("'sluice' 0100 00 00000000000000") == Fault::unsupported_version);
    CHECK(fault("'sluice' 0200 00 00000000000000") == Fault::unsupported_version);
    CHECK(fault("'sluice' 0400 00 00000000000000") == Fault::unsupported_version);
    // A later version may give the bytes after it another meaning: the version is named first.
    CHECK(fault("'sluice' 0400 09 01020304050607") == Fault::unsupported_version);
    CHECK(fault("'sluice' 0003 00 00000000000000") == Fault::unsupported_version);
    CHECK(fault("'sluice' 0300 02 00000000000000") == Fault::bad_role);
    CHECK(fault("'sluice' 0300 00 01000000000000") == Fault::reserved_not_zero);
    CHECK(fault("'sluice' 0300 01 00000000000001") == Fault::reserved_not_zero);
}

TEST_CASE("reader rejects a frame whose header is not allowed", "[proto][frame_reader]") {
    struct Case {
        std::string_view head;
        Role role;
        Fault expected;
    };
    const std::vector<Case> cases = {
        {"00000000 00 00", Role::control, Fault::unknown_frame},
        {"00000000 09 00", Role::control, Fault::unknown_frame},
        {"00000000 24 00", Role::data, Fault::unknown_frame},
        {"00000000 ff 00", Role::data, Fault::unknown_frame},
        {"00000000 ff ff", Role::data, Fault::unknown_frame},
        {"00000000 21 00", Role::control, Fault::misplaced_frame},
        {"00000000 21 01", Role::control, Fault::misplaced_frame},
        {"3a000000 01 00", Role::data, Fault::misplaced_frame},
        {"08000000 03 01", Role::control, Fault::reserved_not_zero},
        {"08000000 03 80", Role::control, Fault::reserved_not_zero},
        {"ffffffff 03 80", Role::control, Fault::reserved_not_zero},
        {"ffffffff 01 00", Role::control, Fault::frame_too_long},
        {"01000000 30 00", Role::control, Fault::frame_too_long},
    };
    for (const Case& item : cases) {
        INFO(item.head);
        const Bytes head = wire_bytes(item.head);
        CHECK(describe(stream_fault(sealed(head), item.role, false)) == describe(item.expected));
        // With a check that is not its own, nothing that a header says is believed.
        Bytes broken = sealed(head);
        broken[6] ^= std::byte{1};
        CHECK(stream_fault(broken, item.role, false) == Fault::corrupted);
    }
}

TEST_CASE("a frame of any type on the wrong connection is refused by its header",
          "[proto][frame_reader]") {
    for (const GoldenFrame& sample : kGoldenFrames) {
        for (const Role role : {Role::control, Role::data}) {
            INFO(sample.name << (role == Role::control ? " on control" : " on data"));
            const Bytes frame = wire_bytes(sample.notation);
            FrameReader reader(role, false);
            std::ranges::copy(ByteView(frame).first(kFrameHeaderBytes), reader.space().begin());
            CHECK(reader.commit(kFrameHeaderBytes) ==
                  (allowed_on(sample.type, role) ? Fault::none : Fault::misplaced_frame));
        }
    }
}

TEST_CASE("every frame type is held to its own length limit, and on its own role",
          "[proto][frame_reader]") {
    for (unsigned number = 0; number < 256; ++number) {
        const auto type = static_cast<FrameType>(number);
        for (const Role role : {Role::control, Role::data}) {
            if (!allowed_on(type, role))
                continue;
            for (const std::size_t excess : {std::size_t{0}, std::size_t{1}}) {
                CAPTURE(number, excess);
                FrameReader reader(role, false);
                const std::size_t length = max_body_bytes(type) + excess;
                const Bytes frame = frame_of(type, Bytes(length));
                std::ranges::copy(ByteView(frame).first(kFrameHeaderBytes), reader.space().begin());
                const Fault fault = reader.commit(kFrameHeaderBytes);
                CHECK(fault == (excess == 0 ? Fault::none : Fault::frame_too_long));
                // Room for a body is made for a legal length only.
                CHECK(reader.space().size() == (excess == 0 ? length : 0));
            }
        }
    }
}

TEST_CASE("after a fault the reader wants nothing and repeats it", "[proto][frame_reader]") {
    const auto check = [](bool expect_preamble, const Bytes& stream, Fault expected) {
        CAPTURE(stream);
        FrameReader reader(Role::control, expect_preamble);
        Fault fault = Fault::none;
        for (std::size_t at = 0; at < stream.size();) {
            REQUIRE(fault == Fault::none);
            const auto space = reader.space();
            REQUIRE(!space.empty());
            const std::size_t count = std::min(space.size(), stream.size() - at);
            std::ranges::copy(std::span(stream).subspan(at, count), space.begin());
            fault = reader.commit(count);
            at += count;
        }
        CHECK(fault == expected);
        CHECK(reader.space().empty());
        CHECK(reader.commit(0) == fault);
        CHECK(!reader.frame_ready());
        CHECK(!reader.at_boundary());
    };
    check(true, Bytes(kPreambleBytes, std::byte{0xff}), Fault::bad_magic);
    check(false, Bytes(kFrameHeaderBytes, std::byte{0xff}), Fault::corrupted);
    check(false, sealed(wire_bytes("00000000 63 00")), Fault::unknown_frame);
    // Damage that only the digest shows: to a body, to the digest, and where there is no body.
    for (const FrameType type : {FrameType::finish, FrameType::ping}) {
        Bytes frame = frame_of(type, Bytes(max_body_bytes(type)));
        frame.back() ^= std::byte{1};
        check(false, frame, Fault::corrupted);
    }
    Bytes frame = frame_of(FrameType::finish, Bytes(8));
    frame[8] ^= std::byte{1};
    check(false, frame, Fault::corrupted);
}
