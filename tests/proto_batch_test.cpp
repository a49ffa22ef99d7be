// BatchWriter and BatchReader.
#include "proto/batch.hpp"
#include "tests/support/proto_samples.hpp"

#include <catch2/catch.hpp>
#include <string>
#include <tuple>
#include <vector>

using namespace sluice::proto;
using namespace sluice::test;

namespace {

Fault first_fault(ByteView records) {
    const TightCopy copy(records);
    Fault fault = Fault::none;
    [[maybe_unused]] const auto written = rewrite_records(copy.view(), fault);
    return fault;
}

std::string longest_path() {
    std::string path(kMaxPathBytes, 'p');
    for (std::size_t i = kMaxNameBytes; i < path.size() - 1; i += kMaxNameBytes + 1)
        path[i] = '/';
    return path;
}

} // namespace

TEST_CASE("records of every kind and size survive a round trip", "[proto][batch]") {
    const std::string path = longest_path();
    const Bytes largest(kMaxInlineFileBytes, std::byte{0x5a});
    const std::string target(kMaxLinkTargetBytes, '/');
    const std::vector<Record> records = {
        {RecordKind::directory, 07777, {INT64_MIN, 0}, "", {}},
        {RecordKind::directory, 0, {INT64_MAX, 999'999'999}, path, {}},
        {RecordKind::symlink, 0777, {0, 0}, path, bytes_of(target)},
        {RecordKind::symlink, 0777, {-1, 1}, "l", bytes_of("/etc/passwd")},
        {RecordKind::file, 0600, {1, 2}, "empty", {}},
        {RecordKind::file, 04755, {1, 2}, path, largest},
    };
    Bytes memory(kMaxBatchBytes);
    BatchWriter writer(memory);
    CHECK(writer.empty());
    std::size_t expected = 0;
    for (const Record& record : records) {
        REQUIRE(writer.fits(record.path.size(), record.content.size()));
        writer.append(record);
        expected += kRecordHeaderBytes + record.path.size() + record.content.size();
        CHECK(writer.size() == expected);
    }
    BatchReader reader(writer.bytes());
    for (const Record& record : records) {
        Record read;
        REQUIRE(!reader.at_end());
        REQUIRE(reader.next(read) == Fault::none);
        CHECK(read.kind == record.kind);
        CHECK(read.mode == record.mode);
        CHECK(read.mtime == record.mtime);
        CHECK(read.path == record.path);
        CHECK(same_bytes(read.content, record.content));
    }
    CHECK(reader.at_end());
    Fault fault = Fault::bad_value;
    CHECK((rewrite_records(writer.bytes(), fault) ==
           Bytes(writer.bytes().begin(), writer.bytes().end())));
}

TEST_CASE("batch writer says truly what fits", "[proto][batch]") {
    Bytes memory(kRecordHeaderBytes + 10);
    BatchWriter writer(memory);
    CHECK(writer.fits(4, 6));
    CHECK(writer.fits(10, 0));
    CHECK(!writer.fits(4, 7));
    CHECK(!writer.fits(SIZE_MAX, 0));
    CHECK(!writer.fits(1, SIZE_MAX));
    CHECK(!writer.fits(1, SIZE_MAX - kRecordHeaderBytes));
    writer.append({RecordKind::file, 0, {}, "path", bytes_of("sixsix")});
    CHECK(writer.size() == memory.size());
    CHECK(!writer.fits(0, 0));
    writer.clear();
    CHECK(writer.empty());
    CHECK(writer.fits(4, 6));

    Bytes large(kMaxBatchBytes);
    const BatchWriter roomy(large);
    CHECK(roomy.fits(kMaxPathBytes, kMaxInlineFileBytes));
    CHECK(!roomy.fits(kMaxPathBytes + 1, 0));
    CHECK(!roomy.fits(1, kMaxInlineFileBytes + 1));
}

TEST_CASE("a reserved file counts once it is committed, and only then", "[proto][batch]") {
    Bytes memory(1000);
    BatchWriter writer(memory);
    const Record abandoned{RecordKind::file, 0644, {5, 6}, "abandoned", {}};
    CHECK(writer.reserve_file(abandoned, 100).size() == 100);
    CHECK(writer.empty());

    const Record file{RecordKind::directory, 0640, {7, 8}, "file", {}}; // the kind is implied
    const auto space = writer.reserve_file(file, 3);
    REQUIRE(space.size() == 3);
    std::ranges::copy(bytes_of("abc"), space.begin());
    writer.commit_file();
    CHECK(writer.size() == kRecordHeaderBytes + 4 + 3);

    CHECK(writer.reserve_file(abandoned, 100).size() == 100);
    writer.append({RecordKind::directory, 0755, {}, "dir", {}}); // instead of the reserved one

    CHECK(writer.reserve_file({RecordKind::file, 0, {}, "none", {}}, 0).empty());
    writer.commit_file();

    BatchReader reader(writer.bytes());
    Record record;
    REQUIRE(reader.next(record) == Fault::none);
    CHECK(record.kind == RecordKind::file);
    CHECK(record.mode == 0640);
    CHECK(record.path == "file");
    CHECK(text_of(record.content) == "abc");
    REQUIRE(reader.next(record) == Fault::none);
    CHECK(record.path == "dir");
    REQUIRE(reader.next(record) == Fault::none);
    CHECK(record.path == "none");
    CHECK(record.content.empty());
    CHECK(reader.at_end());
}

TEST_CASE("batch reader names what is wrong with a record", "[proto][batch]") {
    struct Case {
        std::string_view claim;
        std::string_view notation;
        Fault expected;
    };
    const std::vector<Case> cases = {
        {"kind 0", "00 00 0100 00000000 00000000 00000000 0000000000000000 'd'", Fault::bad_value},
        {"kind 4", "04 00 0100 00000000 00000000 00000000 0000000000000000 'd'", Fault::bad_value},
        {"reserved byte", "01 01 0100 00000000 00000000 00000000 0000000000000000 'd'",
         Fault::reserved_not_zero},
        {"mode", "01 00 0100 00000000 00100000 00000000 0000000000000000 'd'", Fault::bad_value},
        {"nanoseconds", "01 00 0100 00000000 00000000 00ca9a3b 0000000000000000 'd'",
         Fault::bad_value},
        {"path length", "01 00 0010 00000000 00000000 00000000 0000000000000000 'd'",
         Fault::path_too_long},
        {"directory with content", "01 00 0100 01000000 00000000 00000000 0000000000000000 'dx'",
         Fault::bad_value},
        {"link without target", "02 00 0100 00000000 00000000 00000000 0000000000000000 'l'",
         Fault::bad_value},
        {"long link target", "02 00 0100 00100000 00000000 00000000 0000000000000000 'l'",
         Fault::limit_exceeded},
        {"NUL in a link target",
         "02 00 0100 03000000 00000000 00000000 0000000000000000 'l' 'a' 00 'b'",
         Fault::path_has_nul},
        {"large file", "03 00 0100 01000100 00000000 00000000 0000000000000000 'f'",
         Fault::limit_exceeded},
        {"huge file", "03 00 0100 ffffffff 00000000 00000000 0000000000000000 'f'",
         Fault::limit_exceeded},
        {"file without a path", "03 00 0000 00000000 00000000 00000000 0000000000000000",
         Fault::path_empty},
        {"link without a path", "02 00 0000 01000000 00000000 00000000 0000000000000000 'x'",
         Fault::path_empty},
        {"path upwards", "03 00 0200 00000000 00000000 00000000 0000000000000000 '..'",
         Fault::path_component_dot},
        {"absolute path", "01 00 0200 00000000 00000000 00000000 0000000000000000 '/d'",
         Fault::path_absolute},
        {"reserved path", "01 00 0700 00000000 00000000 00000000 0000000000000000 '.sluice'",
         Fault::path_reserved},
        {"one byte", "03", Fault::message_truncated},
    };
    for (const Case& item : cases) {
        INFO(item.claim);
        CHECK(describe(first_fault(wire_bytes(item.notation))) == describe(item.expected));
    }
}

TEST_CASE("batch reader refuses records cut anywhere but between two", "[proto][batch]") {
    Bytes memory(kMaxBatchBytes);
    BatchWriter writer(memory);
    std::vector<std::size_t> boundaries = {0};
    const std::vector<std::tuple<RecordKind, const char*, const char*>> parts = {
        {RecordKind::directory, "dir", ""},
        {RecordKind::symlink, "dir/l", "t"},
        {RecordKind::file, "dir/f", "content"}};
    for (const auto& [kind, path, content] : parts) {
        writer.append({kind, 0700, {}, path, bytes_of(content)});
        boundaries.push_back(writer.size());
    }
    for (std::size_t length = 0; length <= writer.size(); ++length) {
        const bool whole = std::ranges::find(boundaries, length) != boundaries.end();
        CAPTURE(length);
        CHECK(first_fault(writer.bytes().first(length)) ==
              (whole ? Fault::none : Fault::message_truncated));
    }
}

TEST_CASE("batch reader repeats its fault", "[proto][batch]") {
    const Bytes records = wire_bytes("03 00 0200 00000000 00000000 00000000 0000000000000000 '..'");
    BatchReader reader(records);
    Record record;
    CHECK(reader.next(record) == Fault::path_component_dot);
    CHECK(!reader.at_end());
    CHECK(reader.next(record) == Fault::path_component_dot);
    BatchReader at_end(ByteView{});
    CHECK(at_end.next(record) == Fault::message_truncated);
}
