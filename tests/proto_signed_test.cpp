// Frames of a signed data connection: what its sender did not send in this place is never given
// out, whoever made it.
#include "common/data_keys.hpp"
#include "proto/frame_reader.hpp"
#include "tests/support/proto_samples.hpp"

#include <catch2/catch.hpp>
#include <vector>

using namespace sluice;
using namespace sluice::proto;
using namespace sluice::test;

namespace {

constexpr std::uint32_t kConnection = 5;

Secret key_of(std::byte fill) {
    Secret key;
    std::ranges::fill(key.bytes(), fill);
    return key;
}
const Secret kKey = key_of(std::byte{0x11});

// All golden frames of data connections, each a whole frame with a digest.
std::vector<Bytes> golden_frames() {
    std::vector<Bytes> frames;
    for (const GoldenFrame& sample : kGoldenFrames) {
        if (allowed_on(sample.type, Role::data)) {
            frames.push_back(wire_bytes(sample.notation));
        }
    }
    return frames;
}

// The same with codes, in this order.
std::vector<Bytes> with_codes(std::vector<Bytes> frames, const Secret& key = kKey,
                              std::uint32_t connection = kConnection) {
    const FrameCode code = frame_codes(key, connection);
    for (Bytes& frame : frames) {
        sign_frames(frame, code);
    }
    return frames;
}

Bytes joined(const std::vector<Bytes>& frames) {
    Bytes stream;
    for (const Bytes& frame : frames) {
        stream.insert(stream.end(), frame.begin(), frame.end());
    }
    return stream;
}

struct Outcome {
    Fault fault = Fault::none;
    std::vector<Bytes> given; // type and body of each frame that became ready
    bool at_boundary = false;
};

Outcome read_all(ByteView stream) {
    Outcome outcome;
    FrameReader reader(Role::data, false);
    reader.expect_codes(frame_codes(kKey, kConnection));
    while (!stream.empty()) {
        const auto space = reader.space();
        REQUIRE(!space.empty());
        const ByteView piece = stream.first(std::min(space.size(), stream.size()));
        std::ranges::copy(piece, space.begin());
        stream = stream.subspan(piece.size());
        outcome.fault = reader.commit(piece.size());
        if (outcome.fault != Fault::none) {
            return outcome;
        }
        if (reader.frame_ready()) {
            outcome.given.push_back(frame_of(reader.type(), reader.body()));
            reader.next();
        }
    }
    outcome.at_boundary = reader.at_boundary();
    return outcome;
}

// Whether nothing was given out but the first frames, as they were sent.
bool only_the_first(const Outcome& outcome, const std::vector<Bytes>& sent, std::size_t most) {
    return outcome.given.size() <= most &&
           std::equal(outcome.given.begin(), outcome.given.end(), sent.begin());
}

} // namespace

TEST_CASE("signed frames are given out as they were sent", "[proto][signed]") {
    const std::vector<Bytes> frames = golden_frames();
    REQUIRE(frames.size() == 9);
    const Outcome outcome = read_all(joined(with_codes(frames)));
    CHECK(outcome.fault == Fault::none);
    CHECK(outcome.at_boundary);
    CHECK(outcome.given == frames);
}

TEST_CASE("signing several frames at once is signing each in its turn", "[proto][signed]") {
    Bytes stream = joined(golden_frames());
    sign_frames(stream, frame_codes(kKey, kConnection));
    CHECK(stream == joined(with_codes(golden_frames())));
}

TEST_CASE("every flipped bit of every signed frame is noticed", "[proto][signed]") {
    const std::vector<Bytes> frames = golden_frames();
    Bytes stream = joined(with_codes(frames));
    std::size_t begin = 0;
    for (std::size_t index = 0; index < frames.size(); ++index) {
        for (std::size_t bit = 8 * begin; bit < 8 * (begin + frames[index].size()); ++bit) {
            INFO("frame " << index << ", bit " << bit - 8 * begin);
            const auto flip = static_cast<std::byte>(1U << (bit % 8));
            stream[bit / 8] ^= flip;
            const Outcome outcome = read_all(stream);
            stream[bit / 8] ^= flip;
            CHECK(outcome.fault == Fault::corrupted);
            CHECK(outcome.given.size() == index);
            CHECK(only_the_first(outcome, frames, index));
        }
        begin += frames[index].size();
    }
}

TEST_CASE("a signed frame is good in its place only", "[proto][signed]") {
    const std::vector<Bytes> frames = golden_frames();
    const std::vector<Bytes> codes = with_codes(frames);
    const auto expect = [&](const std::vector<Bytes>& stream, std::size_t good) {
        const Outcome outcome = read_all(joined(stream));
        CHECK(outcome.fault == Fault::corrupted);
        CHECK(outcome.given.size() == good);
        CHECK(only_the_first(outcome, frames, good));
    };
    for (std::size_t at = 0; at < frames.size(); ++at) {
        INFO("frame " << at);
        const auto place = static_cast<std::ptrdiff_t>(at);
        std::vector<Bytes> other = codes; // sent twice
        other.insert(other.begin() + place, codes[at]);
        expect(other, at + 1);
        if (at + 1 < frames.size()) {
            other = codes; // left out
            other.erase(other.begin() + place);
            expect(other, at);
            other = codes; // swapped
            std::swap(other[at], other[at + 1]);
            expect(other, at);
        }
        // The same frame of another connection, of another session, or in clear.
        other = codes;
        other[at] = with_codes(frames, kKey, kConnection + 1)[at];
        expect(other, at);
        other[at] = with_codes(frames, key_of(std::byte{0x12}))[at];
        expect(other, at);
        other[at] = frames[at];
        expect(other, at);
        // One that was made up: its first bytes are right, as anybody can make them.
        other[at] = frame_of(FrameType::batch, Bytes(20));
        expect(other, at);
    }
}

TEST_CASE("a signed stream that is cut, or lost or gained a byte, gives out nothing new",
          "[proto][signed]") {
    const std::vector<Bytes> frames = golden_frames();
    const Bytes stream = joined(with_codes(frames));
    for (std::size_t at = 0; at < stream.size(); ++at) {
        INFO("at " << at);
        const Outcome cut = read_all(ByteView(stream).first(at));
        CHECK(cut.fault == Fault::none);
        CHECK(only_the_first(cut, frames, frames.size() - 1));
        Bytes other = stream;
        other.erase(other.begin() + static_cast<std::ptrdiff_t>(at));
        CHECK(only_the_first(read_all(other), frames, frames.size() - 1));
        other = stream;
        other.insert(other.begin() + static_cast<std::ptrdiff_t>(at), std::byte{0x42});
        const Outcome gained = read_all(other);
        CHECK(gained.fault == Fault::corrupted);
        CHECK(only_the_first(gained, frames, frames.size()));
    }
}

// Its first bytes prove nothing: who broke the protocol is not known.
TEST_CASE("a header that breaks a rule is damage where frames are signed", "[proto][signed]") {
    Bytes too_long(5);
    too_long[3] = std::byte{0x7f};
    too_long[4] = static_cast<std::byte>(FrameType::batch);
    for (const Bytes& frame : {frame_of(FrameType::open, Bytes(3)),
                               frame_of(FrameType{0x77}, Bytes(3)), sealed(too_long)}) {
        const Outcome outcome = read_all(frame);
        CHECK(outcome.fault == Fault::corrupted);
        CHECK(outcome.given.empty());
    }
}

TEST_CASE("a signed frame means nothing where frames have digests", "[proto][signed]") {
    for (const Bytes& frame : with_codes(golden_frames())) {
        const auto header = ByteView(frame).first<kFrameHeaderBytes>();
        CHECK_FALSE(frame_is_intact(header, body_of(frame)));
    }
}

TEST_CASE("a Join that is left unchecked can be checked either way, and only the right one holds",
          "[proto][signed]") {
    Bytes plain;
    encode(Join{Token{}, kConnection, 3}, plain);
    Bytes coded = plain;
    sign_frames(coded, frame_codes(kKey, kConnection));
    const auto read = [](const Bytes& frame, Role role = Role::data) {
        FrameReader reader(role, false);
        reader.leave_joins_unchecked();
        for (ByteView rest = frame; !rest.empty();) {
            const auto space = reader.space();
            const ByteView piece = rest.first(std::min(space.size(), rest.size()));
            std::ranges::copy(piece, space.begin());
            rest = rest.subspan(piece.size());
            if (reader.commit(piece.size()) != Fault::none) {
                break;
            }
        }
        return reader;
    };
    const FrameReader clear = read(plain);
    REQUIRE(clear.frame_ready());
    CHECK(clear.frame_is_intact());
    CHECK_FALSE(clear.frame_is_signed(frame_codes(kKey, kConnection)));
    const FrameReader with_code = read(coded);
    REQUIRE(with_code.frame_ready());
    CHECK_FALSE(with_code.frame_is_intact());
    CHECK(with_code.frame_is_signed(frame_codes(kKey, kConnection)));
    CHECK_FALSE(with_code.frame_is_signed(frame_codes(kKey, kConnection + 1)));
    CHECK_FALSE(with_code.frame_is_signed(frame_codes(key_of(std::byte{1}), kConnection)));
    // Nothing else is left unchecked.
    Bytes ping;
    encode_ping(ping);
    ping[8] ^= std::byte{1};
    CHECK_FALSE(read(ping, Role::control).frame_ready());
}
