// The largest and the smallest legal messages: they survive a round trip, and the body limits of
// the frame types let them through and little more.
#include "proto/batch.hpp"
#include "proto/messages.hpp"
#include "tests/support/proto_samples.hpp"

#include <catch2/catch.hpp>
#include <map>
#include <string>
#include <vector>

using namespace sluice::proto;
using namespace sluice::test;

namespace {

// A legal path of exactly `length` bytes.
std::string path_of(std::size_t length) {
    std::string path(length, 'p');
    for (std::size_t i = kMaxNameBytes; i + 1 < length; i += kMaxNameBytes + 1)
        path[i] = '/';
    return path;
}

template <typename Message>
Bytes encoded(const Message& message) {
    Bytes frame;
    encode(message, frame);
    return frame;
}

// Encodes, decodes, encodes again, and returns the length of the body.
template <typename Message>
std::size_t round_trip(const Message& message) {
    const Bytes frame = encoded(message);
    const auto type = static_cast<FrameType>(frame[4]);
    const TightCopy body(body_of(frame));
    Bytes again;
    REQUIRE(reencode(type, body.view(), again) == Fault::none);
    CHECK((again == frame)); // in parentheses: not worth printing
    CHECK(body.view().size() <= max_body_bytes(type));
    return body.view().size();
}

} // namespace

TEST_CASE("an open of the largest size fits its frame", "[proto][limits]") {
    const std::string destination = path_of(kMaxPathBytes) + "/";
    const std::string software(kMaxTextBytes, 's');
    Open message{kOpenKnownFlags, kMaxStreams, {}, UINT32_MAX,
                 UINT32_MAX,      destination, {}, software};
    const std::string name(kMaxNameBytes, 'n');
    std::size_t rest = kMaxOpenBytes - round_trip(message);
    while (rest >= 2 + kMaxNameBytes) {
        message.roots.push_back(name);
        rest -= 2 + kMaxNameBytes;
    }
    if (rest >= 2)
        message.roots.push_back(std::string_view(name).substr(0, rest - 2));
    CHECK(message.roots.size() <= kMaxRoots);
    CHECK(round_trip(message) == kMaxOpenBytes);

    message.roots.assign(kMaxRoots, "short");
    round_trip(message);
    round_trip(Open{0, 1, {}, 0, 0, "", {}, ""});
}

TEST_CASE("a welcome of the largest size fills its frame", "[proto][limits]") {
    const std::string software(kMaxTextBytes, 's');
    Welcome message{{}, UINT32_MAX, kWelcomeKnownFlags, {}, software};
    for (std::uint16_t i = 0; i < kMaxRoots; ++i)
        message.fresh.push_back(i);
    CHECK(round_trip(message) == max_body_bytes(FrameType::welcome));
    round_trip(Welcome{});
}

TEST_CASE("offers of the most entries and of the longest paths fit their frame",
          "[proto][limits]") {
    Offer many{UINT64_MAX - (kMaxOfferEntries - 1), {}};
    // What 64 KiB leave for each.
    const std::string path = path_of(kMaxOfferBytes / kMaxOfferEntries - kOfferEntryBytes - 1);
    many.entries.assign(kMaxOfferEntries, {kMaxFileBytes, {INT64_MIN, 0}, 07777, UINT64_MAX, path});
    CHECK(round_trip(many) <= kMaxOfferBytes);

    const std::string longest = path_of(kMaxPathBytes);
    const std::size_t entry = kOfferEntryBytes + longest.size();
    Offer deep{0, {}};
    for (std::size_t bytes = kOfferHeaderBytes; bytes + entry <= kMaxOfferBytes; bytes += entry)
        deep.entries.push_back({0, {INT64_MAX, 999'999'999}, 0, 0, longest});
    CHECK(deep.entries.size() == 15);
    round_trip(deep);
}

TEST_CASE("verdicts of every count survive a round trip", "[proto][limits]") {
    for (std::uint16_t count = 1; count <= kMaxOfferEntries; ++count) {
        // All bits set, those beyond the count too: the encoder clears them.
        const Bytes wanted((count + 7U) / 8, std::byte{0xff});
        const Bytes frame = encoded(Verdict{UINT64_MAX - (count - 1U), count, wanted});
        Verdict decoded;
        REQUIRE(decode(body_of(frame), decoded) == Fault::none);
        REQUIRE(decoded.count == count);
        std::size_t set = 0;
        for (std::size_t i = 0; i < decoded.wanted.size() * 8; ++i)
            set += (std::to_integer<unsigned>(decoded.wanted[i / 8]) >> (i % 8)) & 1U;
        REQUIRE(set == count);
    }
    const Bytes none(kMaxOfferEntries / 8);
    CHECK(round_trip(Verdict{0, kMaxOfferEntries, none}) == max_body_bytes(FrameType::verdict));
}

TEST_CASE("file errors and errors of the largest size fill their frames", "[proto][limits]") {
    const std::string path = path_of(kMaxPathBytes);
    const std::string text(kMaxTextBytes, 't');
    CHECK(round_trip(FileError{FileFault::corrupt, INT32_MAX, path, text}) ==
          max_body_bytes(FrameType::file_error));
    CHECK(round_trip(ErrorMessage{UINT16_MAX, text}) == max_body_bytes(FrameType::error));
    round_trip(ErrorMessage{});
    // About the destination itself.
    round_trip(FileError{FileFault::io, 0, "", ""});
}

TEST_CASE("encoder cuts text to its limit and not inside a UTF-8 sequence", "[proto][limits]") {
    struct Case {
        std::string text;
        std::size_t kept;
    };
    const std::string base(kMaxTextBytes - 1, 't');
    const std::vector<Case> cases = {
        {base + "xy", kMaxTextBytes},
        {base + "x\xc3\xa9", kMaxTextBytes},
        {base + "\xc3\xa9", kMaxTextBytes - 1},
        {base + "\xe2\x82\xac", kMaxTextBytes - 1},
        {base.substr(2) + "\xf0\x9f\x92\xa7", kMaxTextBytes - 3},
        {std::string(5000, '\x80'), kMaxTextBytes - 3}, // not UTF-8 at all
        {std::string(100'000, 'a'), kMaxTextBytes},
    };
    for (const Case& item : cases) {
        const Bytes error = encoded(ErrorMessage{11, item.text});
        ErrorMessage decoded;
        REQUIRE(decode(body_of(error), decoded) == Fault::none);
        CHECK(decoded.text == item.text.substr(0, item.kept));

        const Bytes file_error = encoded(FileError{FileFault::io, 5, "f", item.text});
        FileError decoded_file;
        REQUIRE(decode(body_of(file_error), decoded_file) == Fault::none);
        CHECK(decoded_file.text == item.text.substr(0, item.kept));
    }
}

TEST_CASE("lists of one and of the most elements survive a round trip", "[proto][limits]") {
    Digest digest;
    digest.fill(std::byte{0xd1});
    Digests digests{{{UINT64_MAX, digest}}};
    CHECK(round_trip(digests) == 2 + 24);
    digests.entries.resize(kMaxDigests, {1, digest});
    CHECK(round_trip(digests) == max_body_bytes(FrameType::digests));

    Ack ack{{UINT64_MAX}};
    CHECK(round_trip(ack) == 2 + 8);
    ack.ids.resize(kMaxAcks, 2);
    CHECK(round_trip(ack) == max_body_bytes(FrameType::ack));

    Present present{UINT64_MAX, {{0, kMaxFileBytes}}};
    CHECK(round_trip(present) == 8 + 2 + 16);
    present.ranges.resize(kMaxRanges, {kMaxFileBytes - 1, 1});
    CHECK(round_trip(present) == max_body_bytes(FrameType::present));
}

TEST_CASE("every frame type has the limit that the protocol names", "[proto][limits]") {
    const std::map<FrameType, std::size_t> limits = {
        {FrameType::open, 65'536},      {FrameType::offer, 65'536},  {FrameType::finish, 8},
        {FrameType::digests, 1'538},    {FrameType::file_end, 8},    {FrameType::file_abort, 8},
        {FrameType::drop, 4},           {FrameType::welcome, 1'564}, {FrameType::verdict, 138},
        {FrameType::file_error, 5'128}, {FrameType::done, 112},      {FrameType::present, 65'546},
        {FrameType::ack, 8'194},        {FrameType::again, 24},      {FrameType::lost, 4},
        {FrameType::join, 22},          {FrameType::batch, 131'088}, {FrameType::extent, 4'162},
        {FrameType::block, 131'080},    {FrameType::ping, 0},        {FrameType::error, 1'028},
        {FrameType::all_sent, 20},
    };
    for (unsigned number = 0; number < 256; ++number) {
        CAPTURE(number);
        const auto type = static_cast<FrameType>(number);
        const auto found = limits.find(type);
        CHECK(max_body_bytes(type) == (found == limits.end() ? 0 : found->second));
    }
}

TEST_CASE("messages of a fixed size fill their frames", "[proto][limits]") {
    CHECK(round_trip(Finish{}) == max_body_bytes(FrameType::finish));
    CHECK(round_trip(Finish{UINT64_MAX}) == max_body_bytes(FrameType::finish));
    CHECK(round_trip(AllSent{}) == max_body_bytes(FrameType::all_sent));
    CHECK(round_trip(AllSent{UINT64_MAX, UINT64_MAX, UINT32_MAX}) ==
          max_body_bytes(FrameType::all_sent));
    CHECK(round_trip(Done{}) == max_body_bytes(FrameType::done));
    CHECK(round_trip(Join{}) == max_body_bytes(FrameType::join));
    CHECK(round_trip(FileEnd{}) == max_body_bytes(FrameType::file_end));
    CHECK(round_trip(FileAbort{}) == max_body_bytes(FrameType::file_abort));
    CHECK(round_trip(Again{}) == max_body_bytes(FrameType::again));
    CHECK(round_trip(Drop{}) == max_body_bytes(FrameType::drop));
    CHECK(round_trip(Drop{UINT32_MAX}) == max_body_bytes(FrameType::drop));
    CHECK(round_trip(Lost{}) == max_body_bytes(FrameType::lost));
    Bytes ping;
    encode_ping(ping);
    CHECK(ping.size() == kFrameHeaderBytes);
}

TEST_CASE("batches and blocks of the largest size fill their frames", "[proto][limits]") {
    const Bytes raw(kMaxBatchBytes, std::byte{7});
    CHECK(round_trip(Batch{UINT64_MAX, Encoding::raw, kMaxBatchBytes, raw}) ==
          max_body_bytes(FrameType::batch));
    CHECK(round_trip(Block{Encoding::raw, kMaxBlockBytes, raw}) ==
          max_body_bytes(FrameType::block));
    const ByteView packed = ByteView(raw).first(kMaxBatchBytes - 1);
    round_trip(Batch{0, Encoding::zstd, kMaxBatchBytes, packed});
    round_trip(Block{Encoding::zstd, kMaxBlockBytes, packed});
    round_trip(Block{Encoding::raw, 1, packed.first(1)});
    round_trip(Block{Encoding::zstd, 2, packed.first(1)});
}

TEST_CASE("a header for a payload that comes from elsewhere equals the whole frame's",
          "[proto][limits]") {
    const Bytes payload(1000, std::byte{3});
    const auto seal_behind = [&](Bytes& frame) {
        frame.insert(frame.end(), payload.begin(), payload.end());
        const auto intact = [&] {
            const auto header = ByteView(frame).first<kFrameHeaderBytes>();
            return header_is_intact(header) && frame_is_intact(header, body_of(frame));
        };
        CHECK(!intact()); // not before it is sealed
        seal_frame(frame);
        CHECK(intact());
    };
    for (const Encoding encoding : {Encoding::raw, Encoding::zstd}) {
        const std::uint32_t raw_length = encoding == Encoding::raw ? 1000 : 1001;
        Bytes header;
        encode_batch_header(9, encoding, raw_length, payload.size(), header);
        CHECK(header.size() == kBatchHeaderBytes);
        seal_behind(header);
        CHECK((header == encoded(Batch{9, encoding, raw_length, payload})));

        header.clear();
        encode_block_header(encoding, raw_length, payload.size(), header);
        CHECK(header.size() == kBlockHeaderBytes);
        seal_behind(header);
        CHECK((header == encoded(Block{encoding, raw_length, payload})));
    }
}

TEST_CASE("extents at the edges of a file survive a round trip", "[proto][limits]") {
    const std::string path = path_of(kMaxPathBytes);
    const auto extent = [&](std::uint64_t offset, std::uint64_t length, std::uint64_t size,
                            Encoding encoding) {
        return Extent{1, 2, offset, length, size, {}, 0, 3, encoding, path};
    };
    CHECK(round_trip(extent(0, 1, 1, Encoding::raw)) == max_body_bytes(FrameType::extent));
    round_trip(extent(0, kMaxExtentBytes, kMaxExtentBytes, Encoding::raw));
    round_trip(
        extent(kMaxFileBytes - kMaxExtentBytes, kMaxExtentBytes, kMaxFileBytes, Encoding::zstd));
    round_trip(extent(kMaxFileBytes - 1, 1, kMaxFileBytes, Encoding::raw));
    round_trip(extent(0, kMaxFileBytes, kMaxFileBytes, Encoding::hole));
}

TEST_CASE("encoders append and leave what is there alone", "[proto][limits]") {
    Bytes out;
    Bytes expected;
    for (const GoldenFrame& sample : kGoldenFrames) {
        const Bytes frame = wire_bytes(sample.notation);
        expected.insert(expected.end(), frame.begin(), frame.end());
        REQUIRE(reencode(sample.type, body_of(frame), out) == Fault::none);
    }
    CHECK((out == expected));
}
