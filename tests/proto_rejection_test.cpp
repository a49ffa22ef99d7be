// What decoders refuse, and the name they give it.
#include "proto/batch.hpp"
#include "proto/frame_reader.hpp"
#include "proto/messages.hpp"
#include "tests/support/proto_samples.hpp"

#include <catch2/catch.hpp>
#include <set>
#include <string>
#include <vector>

using namespace sluice::proto;
using namespace sluice::test;

namespace {

struct Rejection {
    std::string_view claim;
    FrameType type;
    std::string body; // in the notation of wire_bytes
    Fault expected;
};

// `count` bytes in notation, all 'x'.
std::string filler(std::size_t count) {
    std::string notation(count + 2, 'x');
    notation.front() = notation.back() = '\'';
    return notation;
}

// A string field: length and that many bytes.
std::string string_field(std::size_t count) {
    constexpr std::string_view digits = "0123456789abcdef";
    std::string notation;
    for (const std::size_t shift : {4U, 0U, 12U, 8U})
        notation += digits[(count >> shift) & 15U];
    return notation + filler(count);
}

// Of an Open: a run and two times between its beginning and the rest.
std::string open_body(std::string_view beginning, const std::string& rest) {
    return std::string(beginning) + "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf 30750000 60ea0000" + rest;
}

// Of an Extent: the ids come before these.
std::string extent_body(std::string_view offset, std::string_view length, std::string_view size,
                        std::string_view rest) {
    std::string body = "0600000000000000 0700000000000000";
    for (const std::string_view part : {offset, length, size, rest})
        body += part;
    return body;
}

constexpr std::string_view kToken = "000102030405060708090a0b0c0d0e0f";
constexpr std::string_view kZero = "0000000000000000";
constexpr std::string_view kOne = "0100000000000000";
constexpr std::string_view kTwo = "0200000000000000";
constexpr std::string_view kHuge = "0000000000000080"; // 2^63
constexpr std::string_view kAll = "ffffffffffffffff";
constexpr std::string_view kExtentRest =
    "0000000000000000 00000000 00000000 1122334455667788 00 0100 'f'";

std::vector<Rejection> open_rejections() {
    return {
        {"open with an unknown flag", FrameType::open, open_body("00010000 0100", "0000 0000 0000"),
         Fault::bad_value},
        {"open with an unknown high flag", FrameType::open,
         open_body("00000080 0100", "0000 0000 0000"), Fault::bad_value},
        {"open without streams", FrameType::open, open_body("00000000 0000", "0000 0000 0000"),
         Fault::bad_value},
        {"open with too many streams", FrameType::open,
         open_body("00000000 4100", "0000 0000 0000"), Fault::limit_exceeded},
        {"open to an absolute path", FrameType::open,
         open_body("00000000 0100", "0200 '/a' 0000 0000"), Fault::path_absolute},
        {"open to the root", FrameType::open, open_body("00000000 0100", "0100 '/' 0000 0000"),
         Fault::path_absolute},
        {"open to two slashes at the end", FrameType::open,
         open_body("00000000 0100", "0300 'a//' 0000 0000"), Fault::path_component_empty},
        {"open upwards", FrameType::open, open_body("00000000 0100", "0300 '../' 0000 0000"),
         Fault::path_component_dot},
        {"open to the work area", FrameType::open,
         open_body("00000000 0100", "0700 '.sluice' 0000 0000"), Fault::path_reserved},
        {"open to a long path", FrameType::open,
         open_body("00000000 0100", string_field(kMaxPathBytes + 2) + "0000 0000"),
         Fault::path_too_long},
        {"open with too many roots", FrameType::open,
         open_body("00000000 0100", "0000 0101" + std::string(257 * 4, '0') + "0000"),
         Fault::limit_exceeded},
        {"open with more roots than bytes", FrameType::open,
         open_body("00000000 0100", "0000 0200 0000"), Fault::message_truncated},
        {"open with a root of two components", FrameType::open,
         open_body("00000000 0100", "0000 0100 0300 'a/b' 0000"), Fault::bad_value},
        {"open with a root with a trailing slash", FrameType::open,
         open_body("00000000 0100", "0000 0100 0200 'a/' 0000"), Fault::path_component_empty},
        {"open with a reserved root", FrameType::open,
         open_body("00000000 0100", "0000 0100 0700 '.sluice' 0000"), Fault::path_reserved},
        {"open with a long root", FrameType::open,
         open_body("00000000 0100", "0000 0100" + string_field(256) + "0000"),
         Fault::path_component_too_long},
        {"open with a long software name", FrameType::open,
         open_body("00000000 0100", "0000 0000" + string_field(kMaxTextBytes + 1)),
         Fault::limit_exceeded},
    };
}

std::vector<Rejection> control_rejections() {
    const auto entry = [](std::string_view size, std::string_view times, std::string_view rest) {
        return std::string(kZero) + "0100" + std::string(size) + std::string(times) +
               std::string(rest);
    };
    const std::string_view epoch = "0000000000000000 00000000";
    return {
        {"welcome with too many fresh roots", FrameType::welcome,
         std::string(kToken) + "00000000 00000000 0101" + std::string(257 * 4, '0') + "0000",
         Fault::limit_exceeded},
        {"welcome with a root that cannot be", FrameType::welcome,
         std::string(kToken) + "00000000 00000000 0100 0001 0000", Fault::limit_exceeded},
        {"welcome with an unknown flag", FrameType::welcome,
         std::string(kToken) + "00000000 02000000 0000 0000", Fault::bad_value},
        {"offer of nothing", FrameType::offer, std::string(kZero) + "0000", Fault::bad_value},
        {"offer of too many", FrameType::offer, std::string(kZero) + "0104" + filler(1025 * 35),
         Fault::limit_exceeded},
        {"offer of more than its bytes hold", FrameType::offer,
         std::string(kZero) + "0200" + filler(2 * 34 - 1), Fault::message_truncated},
        {"offer whose ids wrap around", FrameType::offer,
         std::string(kAll) + "0200" + filler(2 * 34), Fault::bad_value},
        {"offer of a file too large", FrameType::offer,
         entry(kHuge, epoch, "00000000 1122334455667788 0100 'f'"), Fault::limit_exceeded},
        {"offer with a second of nanoseconds", FrameType::offer,
         entry(kZero, "0000000000000000 00ca9a3b", "00000000 1122334455667788 0100 'f'"),
         Fault::bad_value},
        {"offer with a file type in the mode", FrameType::offer,
         entry(kZero, epoch, "a4810000 1122334455667788 0100 'f'"), Fault::bad_value},
        {"offer without a path", FrameType::offer,
         entry(kZero, epoch, "00000000 1122334455667788 0000"), Fault::path_empty},
        {"offer of a path with NUL", FrameType::offer,
         entry(kZero, epoch, "00000000 1122334455667788 0300 'a' 00 'b'"), Fault::path_has_nul},
        {"verdict on nothing", FrameType::verdict, std::string(kZero) + "0000", Fault::bad_value},
        {"verdict on too many", FrameType::verdict, std::string(kZero) + "0104" + filler(129),
         Fault::limit_exceeded},
        {"verdict whose ids wrap around", FrameType::verdict, std::string(kAll) + "0200 03",
         Fault::bad_value},
        {"verdict with too few bits", FrameType::verdict, std::string(kZero) + "0900 ff",
         Fault::message_truncated},
        {"verdict with too many bits", FrameType::verdict, std::string(kZero) + "0800 ff 00",
         Fault::trailing_bytes},
        {"verdict with bits beyond its count", FrameType::verdict, std::string(kZero) + "0700 80",
         Fault::reserved_not_zero},
        {"file error of kind 0", FrameType::file_error, "00 00000000 0100 'f' 0000",
         Fault::bad_value},
        {"file error of kind 5", FrameType::file_error, "05 00000000 0100 'f' 0000",
         Fault::bad_value},
        {"file error with a negative errno", FrameType::file_error, "01 ffffffff 0100 'f' 0000",
         Fault::bad_value},
        {"file error about a path upwards", FrameType::file_error, "01 00000000 0200 '..' 0000",
         Fault::path_component_dot},
        {"file error with a long text", FrameType::file_error,
         "01 00000000 0100 'f'" + string_field(kMaxTextBytes + 1), Fault::limit_exceeded},
        {"error with a long text", FrameType::error, "0100" + string_field(kMaxTextBytes + 1),
         Fault::limit_exceeded},
        {"error with a text that is missing", FrameType::error, "0100 0500 'four'",
         Fault::message_truncated},
    };
}

// The lists: no element, too many, more than there are bytes; and what is in them.
std::vector<Rejection> list_rejections() {
    const auto present = [](std::string_view offset, std::string_view length) {
        return std::string(kOne) + "0100" + std::string(offset) + std::string(length);
    };
    const std::string_view most = "ffffffffffffff7f"; // kMaxFileBytes
    return {
        {"digests of nothing", FrameType::digests, "0000", Fault::bad_value},
        {"digests of too many", FrameType::digests, "4100" + filler(65 * 24),
         Fault::limit_exceeded},
        {"digests of the most, without them", FrameType::digests, "4000" + filler(64 * 24 - 1),
         Fault::message_truncated},
        {"digests of too few", FrameType::digests, "0100" + filler(25), Fault::trailing_bytes},
        {"ack of nothing", FrameType::ack, "0000", Fault::bad_value},
        {"ack of too many", FrameType::ack, "0104" + filler(1025 * 8), Fault::limit_exceeded},
        {"ack of the most, without them", FrameType::ack, "0004" + filler(1024 * 8 - 1),
         Fault::message_truncated},
        {"ack of too few", FrameType::ack, "0100" + filler(9), Fault::trailing_bytes},
        {"present of nothing", FrameType::present, std::string(kOne) + "0000", Fault::bad_value},
        {"present of too many", FrameType::present, std::string(kOne) + "0110" + filler(4097 * 16),
         Fault::limit_exceeded},
        {"present of the most, without them", FrameType::present,
         std::string(kOne) + "0010" + filler(4096 * 16 - 1), Fault::message_truncated},
        {"present of too few", FrameType::present, present(kZero, kOne) + "00",
         Fault::trailing_bytes},
        {"present with an empty range", FrameType::present, present(kZero, kZero),
         Fault::bad_value},
        {"present with an empty second range", FrameType::present,
         std::string(kOne) + "0200" + std::string(kZero) + std::string(kOne) + std::string(kOne) +
             std::string(kZero),
         Fault::bad_value},
        {"present with an empty range at the end", FrameType::present, present(most, kZero),
         Fault::bad_value},
        {"present that is a byte too long", FrameType::present, present(kOne, most),
         Fault::bad_value},
        {"present past the end", FrameType::present, present(most, kOne), Fault::bad_value},
        {"present beyond all files", FrameType::present, present(kHuge, kOne), Fault::bad_value},
        {"present longer than all files", FrameType::present, present(kZero, kHuge),
         Fault::bad_value},
        {"present whose end is zero again", FrameType::present, present(kAll, kOne),
         Fault::bad_value},
        {"present whose end wraps around", FrameType::present, present(kTwo, kAll),
         Fault::bad_value},
        {"present of all and everything", FrameType::present, present(kAll, kAll),
         Fault::bad_value},
    };
}

std::vector<Rejection> data_rejections() {
    return {
        {"join of a stream too many", FrameType::join, std::string(kToken) + "01000000 4000",
         Fault::limit_exceeded},
        {"batch as a hole", FrameType::batch, "0500000000000000 02 000000 01000000 'x'",
         Fault::bad_value},
        {"batch of unknown encoding", FrameType::batch, "0500000000000000 03 000000 01000000 'x'",
         Fault::bad_value},
        {"batch with a reserved byte", FrameType::batch, "0500000000000000 00 010000 01000000 'x'",
         Fault::reserved_not_zero},
        {"batch with a reserved half", FrameType::batch, "0500000000000000 00 000001 01000000 'x'",
         Fault::reserved_not_zero},
        {"batch of nothing", FrameType::batch, "0500000000000000 00 000000 00000000",
         Fault::bad_value},
        {"batch that unpacks to too much", FrameType::batch,
         "0500000000000000 01 000000 01000200 'x'", Fault::limit_exceeded},
        {"batch that unpacks to everything", FrameType::batch,
         "0500000000000000 01 000000 ffffffff 'x'", Fault::limit_exceeded},
        {"raw batch that is short", FrameType::batch, "0500000000000000 00 000000 02000000 'x'",
         Fault::message_truncated},
        {"raw batch that is long", FrameType::batch, "0500000000000000 00 000000 02000000 'xxx'",
         Fault::trailing_bytes},
        {"compressed batch without payload", FrameType::batch,
         "0500000000000000 01 000000 02000000", Fault::message_truncated},
        {"compressed batch that did not shrink", FrameType::batch,
         "0500000000000000 01 000000 02000000 'xx'", Fault::bad_value},
        {"block as a hole", FrameType::block, "02 000000 01000000", Fault::bad_value},
        {"block of nothing", FrameType::block, "01 000000 00000000", Fault::bad_value},
        {"block that unpacks to too much", FrameType::block, "01 000000 01000200 'x'",
         Fault::limit_exceeded},
        {"raw block that is short", FrameType::block, "00 000000 02000000 'x'",
         Fault::message_truncated},
        {"raw block that is long", FrameType::block, "00 000000 01000000 'xx'",
         Fault::trailing_bytes},
        {"compressed block that did not shrink", FrameType::block, "01 000000 02000000 'xx'",
         Fault::bad_value},
    };
}

std::vector<Rejection> extent_rejections() {
    return {
        {"extent of nothing", FrameType::extent, extent_body(kZero, kZero, kOne, kExtentRest),
         Fault::bad_value},
        {"extent past the end", FrameType::extent, extent_body(kOne, kOne, kOne, kExtentRest),
         Fault::bad_value},
        {"extent across the end", FrameType::extent, extent_body(kOne, kTwo, kTwo, kExtentRest),
         Fault::bad_value},
        {"extent that starts past the end", FrameType::extent,
         extent_body(kTwo, kOne, kOne, kExtentRest), Fault::bad_value},
        {"extent whose end wraps around", FrameType::extent,
         extent_body(kAll, kTwo, kTwo, kExtentRest), Fault::bad_value},
        {"extent of a file too large", FrameType::extent,
         extent_body(kZero, kOne, kHuge, kExtentRest), Fault::limit_exceeded},
        {"extent too long", FrameType::extent,
         extent_body(kZero, "0100000400000000", "0100000400000000", kExtentRest),
         Fault::limit_exceeded},
        {"extent of everything", FrameType::extent,
         extent_body(kZero, kAll, "ffffffffffffff7f", kExtentRest), Fault::limit_exceeded},
        {"hole longer than its file", FrameType::extent,
         extent_body(kZero, kTwo, kOne,
                     "0000000000000000 00000000 00000000 1122334455667788 02 0100 'f'"),
         Fault::bad_value},
        {"hole whose end wraps around", FrameType::extent,
         extent_body(kTwo, kAll, kTwo,
                     "0000000000000000 00000000 00000000 1122334455667788 02 0100 'f'"),
         Fault::bad_value},
        {"extent of unknown encoding", FrameType::extent,
         extent_body(kZero, kOne, kOne,
                     "0000000000000000 00000000 00000000 1122334455667788 03 0100 'f'"),
         Fault::bad_value},
        {"extent with a second of nanoseconds", FrameType::extent,
         extent_body(kZero, kOne, kOne,
                     "0000000000000000 00ca9a3b 00000000 1122334455667788 00 0100 'f'"),
         Fault::bad_value},
        {"extent with a file type in the mode", FrameType::extent,
         extent_body(kZero, kOne, kOne,
                     "0000000000000000 00000000 00100000 1122334455667788 00 0100 'f'"),
         Fault::bad_value},
        {"extent without a path", FrameType::extent,
         extent_body(kZero, kOne, kOne,
                     "0000000000000000 00000000 00000000 1122334455667788 00 0000"),
         Fault::path_empty},
        {"extent with an empty component", FrameType::extent,
         extent_body(kZero, kOne, kOne,
                     "0000000000000000 00000000 00000000 1122334455667788 00 0400 'a//b'"),
         Fault::path_component_empty},
        {"extent with a long component", FrameType::extent,
         extent_body(kZero, kOne, kOne,
                     "0000000000000000 00000000 00000000 1122334455667788 00" + string_field(256)),
         Fault::path_component_too_long},
        {"extent with a long path", FrameType::extent,
         extent_body(kZero, kOne, kOne,
                     "0000000000000000 00000000 00000000 1122334455667788 00" + string_field(4096)),
         Fault::path_too_long},
    };
}

std::vector<Rejection> all_rejections() {
    std::vector<Rejection> all;
    for (const auto& part : {open_rejections(), control_rejections(), list_rejections(),
                             data_rejections(), extent_rejections()})
        all.insert(all.end(), part.begin(), part.end());
    return all;
}

Fault decode_fault(FrameType type, ByteView body) {
    const TightCopy copy(body);
    Bytes ignored;
    return reencode(type, copy.view(), ignored);
}

Fault reader_fault(const Bytes& stream, Role role, bool expect_preamble) {
    FrameReader reader(role, expect_preamble);
    Fault fault = Fault::none;
    for (const std::byte byte : stream) {
        if (fault != Fault::none || reader.frame_ready())
            break;
        reader.space()[0] = byte;
        fault = reader.commit(1);
    }
    return fault;
}

} // namespace

TEST_CASE("decoder names what is wrong with a message", "[proto][rejection]") {
    for (const Rejection& item : all_rejections()) {
        INFO(item.claim);
        CHECK(describe(decode_fault(item.type, wire_bytes(item.body))) == describe(item.expected));
    }
}

TEST_CASE("decoder rejects every message that is cut short", "[proto][rejection]") {
    for (const GoldenFrame& sample : kGoldenFrames) {
        const Bytes frame = wire_bytes(sample.notation);
        const ByteView body = body_of(frame);
        // The payload of a compressed frame ends where the frame ends: any shorter one is as good.
        const std::size_t limit = sample.name == "batch_zstd"   ? 17
                                  : sample.name == "block_zstd" ? 9
                                                                : body.size();
        for (std::size_t length = 0; length < limit; ++length) {
            INFO(sample.name << " cut to " << length);
            CHECK(decode_fault(sample.type, body.first(length)) == Fault::message_truncated);
        }
    }
}

TEST_CASE("decoder rejects every message that goes on after its end", "[proto][rejection]") {
    for (const GoldenFrame& sample : kGoldenFrames) {
        if (sample.name == "batch_zstd" || sample.name == "block_zstd")
            continue;
        Bytes frame = wire_bytes(sample.notation);
        frame.push_back(std::byte{0});
        INFO(sample.name);
        CHECK(decode_fault(sample.type, body_of(frame)) == Fault::trailing_bytes);
    }
}

TEST_CASE("every fault is provoked by some input", "[proto][rejection]") {
    // A token is looked up by whoever keeps the sessions, so this one is raised outside of proto/.
    std::set<Fault> missing;
    for (unsigned value = 1; value < static_cast<unsigned>(Fault::unknown_session); ++value)
        missing.insert(static_cast<Fault>(value));
    for (const Rejection& item : all_rejections())
        missing.erase(decode_fault(item.type, wire_bytes(item.body)));
    const auto preamble = [&](std::string_view notation) {
        missing.erase(reader_fault(wire_bytes(notation), Role::control, true));
    };
    preamble("'slurry' 0300 00 00000000000000");
    preamble("'sluice' 0700 00 00000000000000");
    preamble("'sluice' 0300 07 00000000000000");
    const auto header = [&](std::string_view notation) {
        missing.erase(reader_fault(sealed(wire_bytes(notation)), Role::control, false));
    };
    header("00000000 63 00");
    header("16000000 20 00");
    header("ffffff7f 03 00");
    missing.erase(reader_fault(Bytes(kFrameHeaderBytes), Role::control, false)); // not sealed
    for (const Fault fault : missing) {
        INFO(describe(fault));
        CHECK(false);
    }
    CHECK(missing.empty());
}
