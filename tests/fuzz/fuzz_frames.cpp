// Everything that parses bytes of a peer, over arbitrary bytes in arbitrary pieces: preamble,
// FrameReader, every decoder, BatchReader. What decodes must encode to the same bytes, those of the
// header included.
//
// Input: one byte of choices (bit 0: the stream has a preamble; bit 1: role where it has none;
// bit 2: every frame is sealed before it is read, for no fuzzer finds a digest; the other bits
// choose the pieces), then the stream. The bytes after a raw extent are its payload.
#include "proto/batch.hpp"
#include "tests/fuzz/fuzz.hpp"

#include <optional>

using namespace sluice::proto;
using namespace sluice::test;

namespace {

void check_records(ByteView records) {
    const TightCopy copy(records);
    Fault fault = Fault::none;
    if (const auto written = rewrite_records(copy.view(), fault); written)
        require(same_bytes(*written, records));
    else
        require(fault != Fault::none);
}

// Checks one frame and returns how many bytes of payload follow it, or nothing where the
// connection would be closed.
std::optional<std::uint64_t> check_frame(FrameType type, ByteView body, ByteView sent) {
    const TightCopy copy(body);
    Bytes again;
    if (reencode(type, copy.view(), again) != Fault::none)
        return std::nullopt;
    require(same_bytes(body_of(sent), body));
    require(same_bytes(again, sent));
    if (type == FrameType::batch) {
        Batch batch;
        require(decode(copy.view(), batch) == Fault::none);
        require(batch.raw_length >= 1 && batch.raw_length <= kMaxBatchBytes);
        check_records(batch.payload);
    }
    if (type == FrameType::extent) {
        Extent extent;
        require(decode(copy.view(), extent) == Fault::none);
        require(extent.length >= 1 && extent.file_size <= kMaxFileBytes);
        require(extent.offset + extent.length <= extent.file_size);
        return extent.encoding == Encoding::raw ? extent.length : 0;
    }
    return 0;
}

void check_stream(std::span<std::byte> stream, Role role, bool expect_preamble, bool seal,
                  Pieces pieces) {
    FrameReader reader(role, expect_preamble);
    ByteView frame; // from the beginning of the current one to the end of the stream
    while (!stream.empty()) {
        if (reader.at_boundary()) {
            if (seal)
                seal_first(stream);
            frame = stream;
        }
        const auto space = reader.space();
        require(!space.empty());
        const std::size_t count = std::min({space.size(), stream.size(), pieces.next()});
        std::ranges::copy(stream.first(count), space.begin());
        stream = stream.subspan(count);
        if (const Fault fault = reader.commit(count); fault != Fault::none) {
            require(!describe(fault).empty());
            require(reader.space().empty());
            return;
        }
        if (!reader.frame_ready())
            continue;
        require(allowed_on(reader.type(), reader.role()));
        require(reader.body().size() <= max_body_bytes(reader.type()));
        const auto payload =
            check_frame(reader.type(), reader.body(),
                        frame.first(static_cast<std::size_t>(stream.data() - frame.data())));
        if (!payload)
            return;
        stream = stream.subspan(
            static_cast<std::size_t>(std::min<std::uint64_t>(*payload, stream.size())));
        reader.next();
        require(reader.at_boundary());
    }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0)
        return 0;
    const unsigned choices = data[0];
    const ByteView input = std::as_bytes(std::span(data + 1, size - 1));
    Bytes stream(input.begin(), input.end());
    check_stream(stream, (choices & 2U) != 0 ? Role::data : Role::control, (choices & 1U) != 0,
                 (choices & 4U) != 0, Pieces(choices >> 3));
    return 0;
}
