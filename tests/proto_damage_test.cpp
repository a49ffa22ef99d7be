// Frames that change on their way. Whatever happens to the bytes, the reader gives out what was
// sent or nothing.
#include "proto/frame_reader.hpp"
#include "tests/support/proto_samples.hpp"

#include <catch2/catch.hpp>
#include <vector>

using namespace sluice::proto;
using namespace sluice::test;

namespace {

Role role_of(FrameType type) {
    return allowed_on(type, Role::control) ? Role::control : Role::data;
}

struct Outcome {
    Fault fault = Fault::none;
    std::size_t taken = 0;     // bytes that the reader was given before the fault, or all
    std::vector<Bytes> frames; // that became ready, as they would be sent
    bool at_boundary = false;
};

// Feeds a stream in pieces as large as the reader wants, so that a fault is dated to the header or
// to the body.
Outcome read_all(ByteView stream, Role role, bool expect_preamble = false) {
    Outcome outcome;
    FrameReader reader(role, expect_preamble);
    while (outcome.taken < stream.size()) {
        const auto space = reader.space();
        REQUIRE(!space.empty());
        const ByteView piece =
            stream.subspan(outcome.taken, std::min(space.size(), stream.size() - outcome.taken));
        std::ranges::copy(piece, space.begin());
        outcome.taken += piece.size();
        outcome.fault = reader.commit(piece.size());
        if (outcome.fault != Fault::none)
            return outcome;
        if (reader.frame_ready()) {
            outcome.frames.push_back(frame_of(reader.type(), reader.body()));
            reader.next();
        }
    }
    outcome.at_boundary = reader.at_boundary();
    return outcome;
}

// Bytes of a header that its check covers, the check included.
constexpr std::size_t kCheckedBytes = 8;

void flip(Bytes& bytes, std::size_t bit) {
    bytes[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
}

} // namespace

TEST_CASE("every flipped bit of every frame is noticed", "[proto][damage]") {
    for (const GoldenFrame& sample : kGoldenFrames) {
        Bytes frame = wire_bytes(sample.notation);
        for (std::size_t bit = 0; bit < 8 * frame.size(); ++bit) {
            INFO(sample.name << ", bit " << bit);
            flip(frame, bit);
            const Outcome outcome = read_all(frame, role_of(sample.type));
            CHECK(outcome.fault == Fault::corrupted);
            CHECK(outcome.frames.empty());
            // One in the header before anything of the body is read.
            CHECK(outcome.taken == (bit < 8 * kCheckedBytes ? kFrameHeaderBytes : frame.size()));
            flip(frame, bit);
        }
        CHECK(read_all(frame, role_of(sample.type)).frames == std::vector<Bytes>{frame});
    }
}

TEST_CASE("every two flipped bits of a frame are noticed", "[proto][damage]") {
    for (const std::string_view name : {"ping", "drop", "file_end", "block_zstd"}) {
        const auto* sample = std::ranges::find(kGoldenFrames, name, &GoldenFrame::name);
        REQUIRE(sample != kGoldenFrames.end());
        Bytes frame = wire_bytes(sample->notation);
        for (std::size_t first = 0; first < 8 * frame.size(); ++first) {
            flip(frame, first);
            for (std::size_t second = 0; second < first; ++second) {
                flip(frame, second);
                const Outcome outcome = read_all(frame, role_of(sample->type));
                flip(frame, second);
                // Sixteen bits of check may let a header pass; then the digest has to see it, if
                // all the bytes that the header promises come.
                if (outcome.fault == Fault::corrupted && outcome.frames.empty())
                    continue;
                INFO(name << ", bits " << first << " and " << second);
                CHECK(outcome.frames.empty());
                CHECK((outcome.fault != Fault::none || !outcome.at_boundary));
            }
            flip(frame, first);
        }
    }
}

TEST_CASE("a frame that is cut short never becomes ready", "[proto][damage]") {
    for (const GoldenFrame& sample : kGoldenFrames) {
        const Bytes frame = wire_bytes(sample.notation);
        for (std::size_t length = 1; length < frame.size(); ++length) {
            INFO(sample.name << " cut to " << length);
            const Outcome outcome = read_all(ByteView(frame).first(length), role_of(sample.type));
            CHECK(outcome.fault == Fault::none);
            CHECK(outcome.frames.empty());
            CHECK(!outcome.at_boundary);
        }
    }
}

TEST_CASE("a length that fits its check, but not the digest, is noticed", "[proto][damage]") {
    for (const GoldenFrame& sample : kGoldenFrames) {
        const Bytes frame = wire_bytes(sample.notation);
        Bytes body(body_of(frame).begin(), body_of(frame).end());
        // The header of one that is shorter or longer by a byte, before this body.
        for (const bool longer : {false, true}) {
            if (longer ? body.size() == max_body_bytes(sample.type) : body.empty())
                continue;
            INFO(sample.name << (longer ? " longer" : " shorter"));
            Bytes other = body;
            other.resize(longer ? body.size() + 1 : body.size() - 1, std::byte{1});
            Bytes stream = frame_of(sample.type, other);
            stream.resize(kFrameHeaderBytes);
            std::ranges::copy(ByteView(frame).first(24).subspan(8), stream.begin() + 8);
            stream.insert(stream.end(), body.begin(), body.end());
            stream.push_back(std::byte{0});
            const Outcome outcome = read_all(stream, role_of(sample.type));
            CHECK(outcome.fault == Fault::corrupted);
            CHECK(outcome.frames.empty());
        }
    }
}

TEST_CASE("a stream that lost or gained a byte gives out nothing new", "[proto][damage]") {
    for (const GoldenFrame& sample : kGoldenFrames) {
        const Bytes frame = wire_bytes(sample.notation);
        Bytes stream = frame;
        for (int i = 0; i < 2; ++i)
            stream.insert(stream.end(), frame.begin(), frame.end());
        for (std::size_t at = 0; at < frame.size(); ++at) {
            for (const bool lost : {true, false}) {
                INFO(sample.name << (lost ? " lost " : " gained ") << at);
                Bytes damaged = stream;
                const auto place = damaged.begin() + static_cast<std::ptrdiff_t>(at);
                if (lost)
                    damaged.erase(place);
                else
                    damaged.insert(place, std::byte{0x42});
                const Outcome outcome = read_all(damaged, role_of(sample.type));
                CHECK(outcome.fault == Fault::corrupted);
                // The last byte, say, may come from the next frame and be the same.
                CHECK(outcome.frames.size() <= 1);
                CHECK(std::ranges::all_of(outcome.frames,
                                          [&](const Bytes& given) { return given == frame; }));
            }
        }
    }
}

TEST_CASE("the body of another frame of the same type and length is noticed", "[proto][damage]") {
    for (const GoldenFrame& sample : kGoldenFrames) {
        const Bytes frame = wire_bytes(sample.notation);
        if (body_of(frame).empty())
            continue;
        INFO(sample.name);
        Bytes other = frame;
        std::ranges::fill(std::span(other).subspan(kFrameHeaderBytes), std::byte{0});
        CHECK(read_all(other, role_of(sample.type)).fault == Fault::corrupted);
        // With the digest of that body, but of a frame of another type: the seed tells.
        const FrameType wrong = sample.type == FrameType::error ? FrameType::ack : FrameType::error;
        const Bytes foreign = frame_of(wrong, body_of(frame));
        std::ranges::copy(body_of(frame), other.begin() + kFrameHeaderBytes);
        std::ranges::copy(ByteView(foreign).first(kFrameHeaderBytes).subspan(kCheckedBytes),
                          other.begin() + kCheckedBytes);
        CHECK(read_all(other, role_of(sample.type)).fault == Fault::corrupted);
    }
}

TEST_CASE("every flipped bit of a preamble is a fault or leads to one", "[proto][damage]") {
    for (const auto& [preamble, first] :
         {std::pair{kGoldenControlPreamble, "open"}, std::pair{kGoldenDataPreamble, "join"}}) {
        Bytes stream = wire_bytes(preamble);
        const auto* sample =
            std::ranges::find(kGoldenFrames, std::string_view(first), &GoldenFrame::name);
        REQUIRE(sample != kGoldenFrames.end());
        const Bytes frame = wire_bytes(sample->notation);
        stream.insert(stream.end(), frame.begin(), frame.end());
        for (std::size_t bit = 0; bit < 8 * kPreambleBytes; ++bit) {
            INFO(first << ", bit " << bit);
            flip(stream, bit);
            const Outcome outcome = read_all(stream, Role::control, true);
            CHECK(outcome.fault != Fault::none);
            CHECK(outcome.frames.empty());
            flip(stream, bit);
        }
        CHECK(read_all(stream, Role::control, true).frames == std::vector<Bytes>{frame});
    }
}
