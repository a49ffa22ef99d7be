// The exact bytes of every message, in both directions.
#include "proto/batch.hpp"
#include "proto/messages.hpp"
#include "tests/support/proto_samples.hpp"

#include <catch2/catch.hpp>
#include <set>
#include <string>

using namespace sluice::proto;
using namespace sluice::test;

namespace {

Bytes golden(std::string_view name) {
    const auto* found = std::ranges::find(kGoldenFrames, name, &GoldenFrame::name);
    REQUIRE(found != kGoldenFrames.end());
    return wire_bytes(found->notation);
}

// Encodes `message`, compares with the golden frame, and decodes that frame again.
template <typename Message>
Message check_golden(std::string_view name, const Message& message, Bytes& keep) {
    INFO(name);
    keep = golden(name);
    Bytes out;
    encode(message, out);
    CHECK(out == keep);
    Message decoded;
    REQUIRE(decode(body_of(keep), decoded) == Fault::none);
    return decoded;
}

Token counting_token(unsigned first) {
    Token token{};
    for (std::size_t i = 0; i < token.size(); ++i)
        token[i] = static_cast<std::byte>(first + i);
    return token;
}

constexpr Timestamp kSomeTime{500'000'000, 999'999'999};
constexpr std::uint64_t kSomeVersion = 0x8877665544332211;

} // namespace

TEST_CASE("preamble has its golden bytes", "[proto][golden]") {
    for (const Role role : {Role::control, Role::data}) {
        const Bytes expected =
            wire_bytes(role == Role::control ? kGoldenControlPreamble : kGoldenDataPreamble);
        REQUIRE(expected.size() == kPreambleBytes);
        const auto bytes = encode_preamble({kVersion, role});
        CHECK(same_bytes(bytes, expected));
        Preamble decoded{99, role == Role::control ? Role::data : Role::control};
        REQUIRE(decode_preamble(bytes, decoded) == Fault::none);
        CHECK(decoded.version == 3);
        CHECK(decoded.role == role);
    }
}

TEST_CASE("open has its golden bytes", "[proto][golden]") {
    const Open message{kOpenPreserve | kOpenDryRun | kOpenVerify | kOpenSync,
                       8,
                       counting_token(0xa0),
                       30'000,
                       60'000,
                       "in/x/",
                       {"a", ""},
                       "sluice 0.1.0"};
    Bytes keep;
    const Open decoded = check_golden("open", message, keep);
    CHECK(decoded.flags == message.flags);
    CHECK(decoded.streams == 8);
    CHECK(decoded.run == message.run);
    CHECK(decoded.timeout_ms == 30'000);
    CHECK(decoded.retry_ms == 60'000);
    CHECK(decoded.destination == "in/x/");
    CHECK(decoded.roots == message.roots);
    CHECK(decoded.software == "sluice 0.1.0");
}

TEST_CASE("offer has its golden bytes", "[proto][golden]") {
    Offer message{0x0807060504030201, {}};
    message.entries.push_back({65536, kSomeTime, 0644, kSomeVersion, "a/b"});
    message.entries.push_back({kMaxFileBytes, {-1, 0}, 07777, UINT64_MAX, "c\nd\xff"});
    Bytes keep;
    const Offer decoded = check_golden("offer", message, keep);
    CHECK(decoded.first_id == 0x0807060504030201);
    REQUIRE(decoded.entries.size() == 2);
    CHECK(decoded.entries[0].size == 65536);
    CHECK(decoded.entries[0].mtime == kSomeTime);
    CHECK(decoded.entries[0].mode == 0644);
    CHECK(decoded.entries[0].version == kSomeVersion);
    CHECK(decoded.entries[0].path == "a/b");
    CHECK(decoded.entries[1].size == kMaxFileBytes);
    CHECK(decoded.entries[1].mtime == Timestamp{-1, 0});
    CHECK(decoded.entries[1].mode == 07777);
    CHECK(decoded.entries[1].version == UINT64_MAX);
    CHECK(decoded.entries[1].path == "c\nd\xff");
}

TEST_CASE("finish has its golden bytes", "[proto][golden]") {
    Bytes keep;
    const Finish decoded = check_golden("finish", Finish{123456}, keep);
    CHECK(decoded.files == 123456);
}

TEST_CASE("all_sent has its golden bytes", "[proto][golden]") {
    Bytes keep;
    const AllSent message{123456, 0x0102030405060708, 0xfffffffe};
    const AllSent decoded = check_golden("all_sent", message, keep);
    CHECK(decoded.files == 123456);
    CHECK(decoded.acknowledged == 0x0102030405060708);
    CHECK(decoded.lost == 0xfffffffe);
}

TEST_CASE("welcome has its golden bytes", "[proto][golden]") {
    const Welcome message{counting_token(0), 15'000, kWelcomeDiscards, {0, 255}, "sluice/r"};
    Bytes keep;
    const Welcome decoded = check_golden("welcome", message, keep);
    CHECK(decoded.token == message.token);
    CHECK(decoded.timeout_ms == 15'000);
    CHECK(decoded.flags == kWelcomeDiscards);
    CHECK(decoded.fresh == message.fresh);
    CHECK(decoded.software == "sluice/r");
}

TEST_CASE("verdict has its golden bytes", "[proto][golden]") {
    // Entries 0, 2 and 9 of ten.
    const Bytes wanted = wire_bytes("0502");
    Bytes keep;
    const Verdict decoded = check_golden("verdict", Verdict{0x0807060504030201, 10, wanted}, keep);
    CHECK(decoded.first_id == 0x0807060504030201);
    CHECK(decoded.count == 10);
    CHECK(same_bytes(decoded.wanted, wanted));
}

TEST_CASE("file error has its golden bytes", "[proto][golden]") {
    const FileError message{FileFault::io, 28, "big/f", "no space left"};
    Bytes keep;
    const FileError decoded = check_golden("file_error", message, keep);
    CHECK(decoded.fault == FileFault::io);
    CHECK(decoded.error_number == 28);
    CHECK(decoded.path == "big/f");
    CHECK(decoded.text == "no space left");
}

TEST_CASE("done has its golden bytes", "[proto][golden]") {
    const Done message{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, UINT64_MAX};
    Bytes keep;
    const Done decoded = check_golden("done", message, keep);
    CHECK(decoded.files == 1);
    CHECK(decoded.unchanged == 2);
    CHECK(decoded.directories == 3);
    CHECK(decoded.symlinks == 4);
    CHECK(decoded.failed == 5);
    CHECK(decoded.reused_files == 6);
    CHECK(decoded.reused_bytes == 7);
    CHECK(decoded.bytes_spliced == 8);
    CHECK(decoded.bytes_copied == 9);
    CHECK(decoded.bytes_inline == 10);
    CHECK(decoded.bytes_decompressed == 11);
    CHECK(decoded.cpu_us == 12);
    CHECK(decoded.system_calls == 13);
    CHECK(decoded.context_switches == UINT64_MAX);
}

TEST_CASE("present has its golden bytes", "[proto][golden]") {
    const Present message{0x0102030405060708, {{0, 1U << 20}, {kMaxFileBytes - 1, 1}}};
    Bytes keep;
    const Present decoded = check_golden("present", message, keep);
    CHECK(decoded.id == message.id);
    CHECK((decoded.ranges == message.ranges));
}

TEST_CASE("digests, ack and again have their golden bytes", "[proto][golden]") {
    Bytes keep;
    const Digests digests = check_golden(
        "digests", Digests{{{7, counting_token(0)}, {UINT64_MAX, counting_token(0xf0)}}}, keep);
    REQUIRE(digests.entries.size() == 2);
    CHECK(digests.entries[0].id == 7);
    CHECK(digests.entries[0].digest == counting_token(0));
    CHECK(digests.entries[1].id == UINT64_MAX);
    CHECK(digests.entries[1].digest == counting_token(0xf0));

    const Ack ack{{1, 0, UINT64_MAX}};
    CHECK(check_golden("ack", ack, keep).ids == ack.ids);

    const Again again = check_golden("again", Again{7, counting_token(0xf0)}, keep);
    CHECK(again.id == 7);
    CHECK(again.digest == counting_token(0xf0));
}

TEST_CASE("drop and lost have their golden bytes", "[proto][golden]") {
    Bytes keep;
    CHECK(check_golden("drop", Drop{0x01020304}, keep).connection == 0x01020304);
    CHECK(check_golden("lost", Lost{UINT32_MAX - 1}, keep).connection == UINT32_MAX - 1);
}

TEST_CASE("join has its golden bytes", "[proto][golden]") {
    Bytes keep;
    const Join decoded = check_golden("join", Join{counting_token(0xf0), 0x01020304, 63}, keep);
    CHECK(decoded.token == counting_token(0xf0));
    CHECK(decoded.connection == 0x01020304);
    CHECK(decoded.stream == 63);
}

TEST_CASE("batch and its records have their golden bytes", "[proto][golden]") {
    const Bytes content = wire_bytes("00ff0a");
    Bytes memory(kMaxBatchBytes);
    BatchWriter writer(memory);
    writer.append({RecordKind::directory, 0755, {1, 1}, "d", {}});
    writer.append({RecordKind::symlink, 0777, {-2, 0}, "d/l", bytes_of("..")});
    writer.append({RecordKind::file, 0644, kSomeTime, "d/f", content});

    const auto length = static_cast<std::uint32_t>(writer.size());
    Bytes keep;
    const Batch decoded =
        check_golden("batch_raw", Batch{5, Encoding::raw, length, writer.bytes()}, keep);
    CHECK(decoded.encoding == Encoding::raw);
    CHECK(decoded.raw_length == length);
    CHECK(decoded.id == 5);

    BatchReader reader(decoded.payload);
    Record record;
    REQUIRE(reader.next(record) == Fault::none);
    CHECK(record.kind == RecordKind::directory);
    CHECK(record.mode == 0755);
    CHECK(record.mtime == Timestamp{1, 1});
    CHECK(record.path == "d");
    CHECK(record.content.empty());
    REQUIRE(reader.next(record) == Fault::none);
    CHECK(record.kind == RecordKind::symlink);
    CHECK(record.mtime == Timestamp{-2, 0});
    CHECK(text_of(record.content) == "..");
    CHECK(!reader.at_end());
    REQUIRE(reader.next(record) == Fault::none);
    CHECK(record.kind == RecordKind::file);
    CHECK(record.path == "d/f");
    CHECK(same_bytes(record.content, content));
    CHECK(reader.at_end());
}

TEST_CASE("compressed batch and blocks have their golden bytes", "[proto][golden]") {
    Bytes keep;
    const Bytes packed = wire_bytes("28b52ffd");
    const Batch batch =
        check_golden("batch_zstd", Batch{UINT64_MAX, Encoding::zstd, 131072, packed}, keep);
    CHECK(batch.id == UINT64_MAX);
    CHECK(batch.encoding == Encoding::zstd);
    CHECK(batch.raw_length == kMaxBatchBytes);
    CHECK(same_bytes(batch.payload, packed));

    const Block raw = check_golden("block_raw", Block{Encoding::raw, 3, bytes_of("abc")}, keep);
    CHECK(raw.encoding == Encoding::raw);
    CHECK(raw.raw_length == 3);
    CHECK(text_of(raw.payload) == "abc");

    const Bytes five = wire_bytes("28b52ffd00");
    const Block zstd = check_golden("block_zstd", Block{Encoding::zstd, 6, five}, keep);
    CHECK(zstd.encoding == Encoding::zstd);
    CHECK(zstd.raw_length == 6);
    CHECK(same_bytes(zstd.payload, five));
}

TEST_CASE("extent has its golden bytes in every encoding", "[proto][golden]") {
    const auto check = [](std::string_view name, const Extent& message) {
        Bytes keep;
        const Extent decoded = check_golden(name, message, keep);
        CHECK(decoded.id == message.id);
        CHECK(decoded.file_id == message.file_id);
        CHECK(decoded.offset == message.offset);
        CHECK(decoded.length == message.length);
        CHECK(decoded.file_size == message.file_size);
        CHECK(decoded.mtime == message.mtime);
        CHECK(decoded.mode == message.mode);
        CHECK(decoded.version == message.version);
        CHECK(decoded.encoding == message.encoding);
        CHECK(decoded.path == message.path);
    };
    check("extent_raw", {6,
                         7,
                         1U << 28,
                         kMaxExtentBytes,
                         kMaxFileBytes,
                         {500'000'000, 123'456'789},
                         0600,
                         kSomeVersion,
                         Encoding::raw,
                         "a b"});
    check("extent_zstd", {0, 8, 0, 1, 1, {INT64_MIN, 0}, 0, 0, Encoding::zstd, "z"});
    check("extent_hole", {UINT64_MAX - 1,
                          UINT64_MAX,
                          1,
                          kMaxFileBytes - 1,
                          kMaxFileBytes,
                          {INT64_MAX, 999'999'999},
                          07777,
                          UINT64_MAX,
                          Encoding::hole,
                          "x/y/z"});
}

TEST_CASE("file end, file abort, ping and error have their golden bytes", "[proto][golden]") {
    Bytes keep;
    CHECK(check_golden("file_end", FileEnd{0x0102030405060708}, keep).file_id ==
          0x0102030405060708);
    CHECK(check_golden("file_abort", FileAbort{UINT64_MAX}, keep).file_id == UINT64_MAX);
    const ErrorMessage error = check_golden("error", ErrorMessage{12, "protocol violated"}, keep);
    CHECK(error.code == 12);
    CHECK(error.text == "protocol violated");
    Bytes out;
    encode_ping(out);
    CHECK(out == golden("ping"));
}

TEST_CASE("every frame type travels on its connections only", "[proto][golden]") {
    const std::set<unsigned> control = {1,  2,  3,  4,  5,  6,  7,  8,  16,
                                        17, 18, 19, 20, 21, 22, 23, 48, 49};
    const std::set<unsigned> data = {32, 33, 34, 35, 49};
    for (unsigned type = 0; type < 256; ++type) {
        INFO("type " << type);
        CHECK(allowed_on(static_cast<FrameType>(type), Role::control) == control.contains(type));
        CHECK(allowed_on(static_cast<FrameType>(type), Role::data) == data.contains(type));
    }
}

TEST_CASE("every frame type has a golden frame that re-encodes to itself", "[proto][golden]") {
    std::set<unsigned> seen;
    for (const GoldenFrame& sample : kGoldenFrames) {
        INFO(sample.name);
        const Bytes frame = wire_bytes(sample.notation);
        CHECK(frame_of(sample.type, body_of(frame)) == frame);
        const auto header = ByteView(frame).first<kFrameHeaderBytes>();
        CHECK(header_is_intact(header));
        CHECK(frame_is_intact(header, body_of(frame)));
        const TightCopy body(body_of(frame));
        Bytes again;
        CHECK(reencode(sample.type, body.view(), again) == Fault::none);
        CHECK(again == frame);
        seen.insert(static_cast<unsigned>(sample.type));
    }
    for (unsigned type = 0; type < 256; ++type) {
        const auto candidate = static_cast<FrameType>(type);
        const bool known =
            allowed_on(candidate, Role::control) || allowed_on(candidate, Role::data);
        INFO("type " << type);
        CHECK(known == (seen.count(type) == 1));
        CHECK((known || max_body_bytes(candidate) == 0));
    }
}
