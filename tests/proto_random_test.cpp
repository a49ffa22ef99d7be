// Random and damaged input: it decodes to something that encodes to the same bytes, or it is a
// fault; it never crashes. SLUICE_TEST_SEED repeats a run.
#include "proto/batch.hpp"
#include "proto/frame_reader.hpp"
#include "proto/messages.hpp"
#include "tests/support/proto_samples.hpp"

#include <catch2/catch.hpp>
#include <cstdlib>
#include <iostream>
#include <random>
#include <string>
#include <vector>

using namespace sluice::proto;
using namespace sluice::test;

namespace {

class Random {
public:
    explicit Random(std::uint64_t seed) : engine_(seed) {}

    // 0 .. bound - 1
    std::size_t below(std::size_t bound) {
        return std::uniform_int_distribution<std::size_t>(0, bound - 1)(engine_);
    }
    bool one_in(std::size_t n) { return below(n) == 0; }
    std::uint64_t bits() { return engine_(); }

    Bytes bytes(std::size_t count) {
        Bytes result(count);
        // Small values are lengths and enumerations that make sense: half of the input has them.
        const bool small = one_in(2);
        for (std::byte& byte : result)
            byte = static_cast<std::byte>(small && !one_in(4) ? below(4) : below(256));
        return result;
    }

    // A value near an edge as often as anywhere.
    std::uint64_t edgy(std::uint64_t most) {
        if (most == 0)
            return 0;
        switch (below(4)) {
        case 0: return most - below(2);
        case 1: return below(2);
        default: return most == UINT64_MAX ? bits() : bits() % (most + 1);
        }
    }

    std::string path() {
        std::string result;
        for (std::size_t i = 0, components = 1 + below(4); i < components; ++i) {
            if (i != 0)
                result += '/';
            for (std::size_t k = 0, length = 1 + below(20); k < length; ++k)
                result += static_cast<char>('a' + below(26));
        }
        return result;
    }

    Timestamp timestamp() {
        return {static_cast<std::int64_t>(bits()), static_cast<std::uint32_t>(edgy(999'999'999))};
    }
    std::uint32_t mode() { return static_cast<std::uint32_t>(edgy(07777)); }

private:
    std::mt19937_64 engine_;
};

// Printed before the test does anything, so that a crash names it too.
std::uint64_t seed_for(std::string_view test) {
    std::uint64_t seed = std::random_device{}();
    if (const char* given = std::getenv("SLUICE_TEST_SEED"); given != nullptr)
        seed = std::strtoull(given, nullptr, 0);
    std::clog << test << ": SLUICE_TEST_SEED=" << seed << std::endl;
    return seed;
}

std::vector<Bytes> golden_frames() {
    std::vector<Bytes> frames;
    for (const GoldenFrame& sample : kGoldenFrames)
        frames.push_back(wire_bytes(sample.notation));
    return frames;
}

struct Outcome {
    std::size_t decoded = 0;
    std::size_t faults = 0;
};

// The claim of this file, for one body.
void check_body(FrameType type, ByteView body, Outcome& outcome) {
    const TightCopy copy(body);
    Bytes again;
    if (reencode(type, copy.view(), again) != Fault::none) {
        ++outcome.faults;
        return;
    }
    ++outcome.decoded;
    REQUIRE(same_bytes(body_of(again), body));
    if (type != FrameType::batch)
        return;
    Batch batch;
    REQUIRE(decode(copy.view(), batch) == Fault::none);
    Fault fault = Fault::none;
    if (const auto records = rewrite_records(batch.payload, fault); records)
        REQUIRE(same_bytes(*records, batch.payload));
}

// The same for a stream, cut at random.
void check_stream(ByteView stream, Role role, bool expect_preamble, Random& random,
                  Outcome& outcome) {
    FrameReader reader(role, expect_preamble);
    while (!stream.empty()) {
        const auto space = reader.space();
        REQUIRE(!space.empty());
        const std::size_t count = std::min({space.size(), stream.size(), 1 + random.below(40)});
        std::ranges::copy(stream.first(count), space.begin());
        stream = stream.subspan(count);
        if (reader.commit(count) != Fault::none) {
            ++outcome.faults;
            return;
        }
        if (reader.frame_ready()) {
            REQUIRE(allowed_on(reader.type(), reader.role()));
            check_body(reader.type(), reader.body(), outcome);
            reader.next();
        }
    }
}

void flip_bits(Bytes& bytes, Random& random) {
    for (std::size_t i = 0, flips = 1 + random.below(3); i < flips; ++i) {
        std::byte& byte = bytes[random.below(bytes.size())];
        byte ^= static_cast<std::byte>(1U << random.below(8));
    }
}

} // namespace

TEST_CASE("random bodies decode to themselves or are faults", "[proto][random]") {
    const std::uint64_t seed = seed_for("random bodies");
    CAPTURE(seed);
    Random random(seed);
    Outcome outcome;
    for (int round = 0; round < 20'000; ++round) {
        const auto& sample = kGoldenFrames[random.below(kGoldenFrames.size())];
        const std::size_t most = std::min<std::size_t>(max_body_bytes(sample.type), 200);
        check_body(sample.type, random.bytes(random.below(most + 1)), outcome);
    }
    CHECK(outcome.faults > 0);
}

TEST_CASE("damaged messages decode to themselves or are faults", "[proto][random]") {
    const std::uint64_t seed = seed_for("damaged messages");
    CAPTURE(seed);
    Random random(seed);
    const auto frames = golden_frames();
    Outcome outcome;
    for (int round = 0; round < 40'000; ++round) {
        const std::size_t pick = random.below(frames.size());
        Bytes body(body_of(frames[pick]).begin(), body_of(frames[pick]).end());
        if (body.empty())
            continue;
        flip_bits(body, random);
        check_body(kGoldenFrames[pick].type, body, outcome);
    }
    CHECK(outcome.decoded > 0);
    CHECK(outcome.faults > 0);
}

TEST_CASE("damaged streams decode to themselves or are faults", "[proto][random]") {
    const std::uint64_t seed = seed_for("damaged streams");
    CAPTURE(seed);
    Random random(seed);
    const auto frames = golden_frames();
    Outcome outcome;
    for (int round = 0; round < 5'000; ++round) {
        const Role role = random.one_in(2) ? Role::control : Role::data;
        const bool expect_preamble = random.one_in(2);
        Bytes stream;
        if (expect_preamble) {
            const auto preamble = encode_preamble({kVersion, role});
            stream.assign(preamble.begin(), preamble.end());
        }
        for (int i = 0; i < 6; ++i) {
            const std::size_t pick = random.below(frames.size());
            if (!allowed_on(kGoldenFrames[pick].type, role) && !random.one_in(20))
                continue;
            // Damaged before it is sealed: a peer that means what it says, whatever that is.
            Bytes frame = frames[pick];
            if (random.one_in(4)) {
                flip_bits(frame, random);
                seal_frame(frame);
            }
            stream.insert(stream.end(), frame.begin(), frame.end());
        }
        if (!stream.empty() && random.one_in(4))
            flip_bits(stream, random);
        check_stream(stream, role, expect_preamble, random, outcome);
        const Bytes noise = random.bytes(random.below(100));
        check_stream(noise, role, random.one_in(4), random, outcome);
    }
    CHECK(outcome.decoded > 0);
    CHECK(outcome.faults > 0);
}

TEST_CASE("random legal messages survive a round trip", "[proto][random]") {
    const std::uint64_t seed = seed_for("legal messages");
    CAPTURE(seed);
    Random random(seed);
    Outcome outcome;
    for (int round = 0; round < 3'000; ++round) {
        std::vector<std::string> paths(1 + random.below(30));
        Offer offer{random.edgy(UINT64_MAX - 100), {}};
        for (std::string& path : paths) {
            path = random.path();
            offer.entries.push_back({random.edgy(kMaxFileBytes), random.timestamp(), random.mode(),
                                     random.bits(), path});
        }
        Bytes frame;
        encode(offer, frame);
        check_body(FrameType::offer, body_of(frame), outcome);

        Extent extent;
        extent.id = random.bits();
        extent.version = random.bits();
        extent.file_id = random.bits();
        extent.encoding = Encoding{static_cast<std::uint8_t>(random.below(3))};
        const std::uint64_t most =
            extent.encoding == Encoding::hole ? kMaxFileBytes : kMaxExtentBytes;
        extent.length = std::max<std::uint64_t>(1, random.edgy(most));
        extent.offset = random.edgy(kMaxFileBytes - extent.length);
        const std::uint64_t end = extent.offset + extent.length;
        extent.file_size = end + random.edgy(kMaxFileBytes - end);
        extent.mtime = random.timestamp();
        extent.mode = random.mode();
        extent.path = paths.front();
        frame.clear();
        encode(extent, frame);
        check_body(FrameType::extent, body_of(frame), outcome);

        Bytes memory(4096);
        BatchWriter writer(memory);
        for (const std::string& path : paths) {
            const auto kind = RecordKind{static_cast<std::uint8_t>(1 + random.below(3))};
            const Bytes content = kind == RecordKind::directory ? Bytes{}
                                  : kind == RecordKind::file    ? random.bytes(random.below(99))
                                                                : Bytes(3, std::byte{'t'});
            if (writer.fits(path.size(), content.size()))
                writer.append({kind, random.mode(), random.timestamp(), path, content});
        }
        frame.clear();
        encode(Batch{random.bits(), Encoding::raw, static_cast<std::uint32_t>(writer.size()),
                     writer.bytes()},
               frame);
        check_body(FrameType::batch, body_of(frame), outcome);

        Present present{random.bits(), {}};
        for (std::size_t i = 0, ranges = 1 + random.below(9); i < ranges; ++i) {
            const std::uint64_t length = std::max<std::uint64_t>(1, random.edgy(kMaxFileBytes));
            present.ranges.push_back({random.edgy(kMaxFileBytes - length), length});
        }
        frame.clear();
        encode(present, frame);
        check_body(FrameType::present, body_of(frame), outcome);
    }
    CHECK(outcome.decoded == 12'000);
    CHECK(outcome.faults == 0);
}
