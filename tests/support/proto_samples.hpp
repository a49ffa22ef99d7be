// What the tests and the fuzz target of proto/ share: golden frames, a notation for wire bytes,
// re-encoding of whatever decodes, and a driver for FrameReader. Header-only; free of Catch2, so
// that the fuzz target can use it.
#pragma once

#include "proto/batch.hpp"
#include "proto/frame_reader.hpp"
#include "proto/messages.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sluice::test {

// Wire bytes from notation: hexadecimal pairs, text between apostrophes, blanks ignored. A typing
// error in a test ends the program.
inline proto::Bytes wire_bytes(std::string_view notation) {
    const auto digit = [](char c) -> unsigned {
        if (c >= '0' && c <= '9')
            return static_cast<unsigned>(c - '0');
        if (c >= 'a' && c <= 'f')
            return static_cast<unsigned>(c - 'a') + 10;
        std::abort();
    };
    proto::Bytes bytes;
    bool quoted = false;
    for (std::size_t i = 0; i < notation.size(); ++i) {
        const char c = notation[i];
        if (c == '\'') {
            quoted = !quoted;
        } else if (quoted) {
            bytes.push_back(static_cast<std::byte>(c));
        } else if (c != ' ' && c != '\n') {
            if (++i == notation.size())
                std::abort();
            bytes.push_back(static_cast<std::byte>(digit(c) << 4 | digit(notation[i])));
        }
    }
    return bytes;
}

inline proto::ByteView bytes_of(std::string_view text) {
    return std::as_bytes(std::span(text.data(), text.size()));
}

inline std::string text_of(proto::ByteView bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

inline bool same_bytes(proto::ByteView left, proto::ByteView right) {
    return std::ranges::equal(left, right);
}

struct GoldenFrame {
    std::string_view name;
    proto::FrameType type;
    std::string_view notation; // the whole frame
};

inline constexpr std::string_view kGoldenControlPreamble = "'sluice' 0300 00 00000000000000";
inline constexpr std::string_view kGoldenDataPreamble = "'sluice' 0300 01 00000000000000";

// One frame of every type, and every encoding of the types that have several. These bytes are the
// protocol: whoever changes one changes the version and PROTOCOL.md with it. Checks and digests
// were not computed by proto/, but by calls of libxxhash from a program that knows nothing of it;
// `xxhsum -H3` of the first six bytes of a frame ends with the check, its two bytes reversed.
// Each first line is the header: length, type, flags, check, digest.
inline constexpr auto kGoldenFrames = std::to_array<GoldenFrame>({
    {"open", proto::FrameType::open,
     "3a000000 01 00 3327 472ff074279898e832bd804ab87e5d24"
     "65000000 0800 a0a1a2a3a4a5a6a7a8a9aaabacadaeaf 30750000 60ea0000"
     "0500 'in/x/' 0200 0100 'a' 0000 0c00 'sluice 0.1.0'"},
    {"offer", proto::FrameType::offer,
     "55000000 02 00 e605 5d2b3b6c5ec422424d162e7850c4a698"
     "0102030405060708 0200"
     "0000010000000000 0065cd1d00000000 ffc99a3b a4010000 1122334455667788"
     "0300 'a/b'"
     "ffffffffffffff7f ffffffffffffffff 00000000 ff0f0000 ffffffffffffffff"
     "0400 'c\x0a"
     "d\xff'"},
    {"finish", proto::FrameType::finish,
     "08000000 03 00 3eec aa3844909a065a577769e87025a77bea"
     "40e2010000000000"},
    {"digests", proto::FrameType::digests,
     "32000000 04 00 66a8 9aa14144c2c20b5451e868db896468e4"
     "0200 0700000000000000 000102030405060708090a0b0c0d0e0f"
     "ffffffffffffffff f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"},
    {"file_end", proto::FrameType::file_end,
     "08000000 05 00 18ec 84e0fda1646a08a3c98520fb739103c4"
     "0807060504030201"},
    {"file_abort", proto::FrameType::file_abort,
     "08000000 06 00 8896 1277eb39e99ffa724a7beaed19990d26"
     "ffffffffffffffff"},
    {"drop", proto::FrameType::drop,
     "04000000 07 00 9b5e 017ad5de51cb309c7b8ec56c41186ef3"
     "04030201"},
    {"all_sent", proto::FrameType::all_sent,
     "14000000 08 00 258c ef9f59f16b7de9a1feab1d49e24bbfcd"
     "40e2010000000000 0807060504030201 feffffff"},
    {"welcome", proto::FrameType::welcome,
     "28000000 10 00 73ad 215495fedc20894ca56fdbe4baf7fb1d"
     "000102030405060708090a0b0c0d0e0f 983a0000 01000000 0200 0000 ff00 0800 'sluice/r'"},
    {"verdict", proto::FrameType::verdict,
     "0c000000 11 00 cbdd 24e855b7805723dc740420b8ce51ada5"
     "0102030405060708 0a00 0502"},
    {"file_error", proto::FrameType::file_error,
     "1b000000 12 00 724b 2dbc9d042a3bcbd2dd5e2fe5031af8b2"
     "01 1c000000 0500 'big/f' 0d00 'no space left'"},
    {"done", proto::FrameType::done,
     "70000000 13 00 407c cae6eaa1b154efee2e0b2bcb960d9c08"
     "0100000000000000 0200000000000000 0300000000000000 0400000000000000"
     "0500000000000000 0600000000000000 0700000000000000 0800000000000000"
     "0900000000000000 0a00000000000000 0b00000000000000 0c00000000000000"
     "0d00000000000000 ffffffffffffffff"},
    {"present", proto::FrameType::present,
     "2a000000 14 00 bf20 224c169f2a8cea5e442be0c94f176dd5"
     "0807060504030201 0200"
     "0000000000000000 0000100000000000 feffffffffffff7f 0100000000000000"},
    {"ack", proto::FrameType::ack,
     "1a000000 15 00 7b67 250772cebc965389c916b8bc3895a9b1"
     "0300 0100000000000000 0000000000000000 ffffffffffffffff"},
    {"again", proto::FrameType::again,
     "18000000 16 00 b5c5 fe074a8428c8414a72765fba39333a14"
     "0700000000000000 f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"},
    {"lost", proto::FrameType::lost,
     "04000000 17 00 cd47 00abfc46c48a4cc353af9b9cc78fcdb7"
     "feffffff"},
    {"join", proto::FrameType::join,
     "16000000 20 00 8945 d54518a2884761a9740e65937b4ef383"
     "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff 04030201 3f00"},
    {"batch_raw", proto::FrameType::batch,
     "64000000 21 00 152f f4c3d5c4853775450e9f4c1ffc09db79"
     "0500000000000000 00 000000 54000000"
     "01 00 0100 00000000 ed010000 01000000 0100000000000000 'd'"
     "02 00 0300 02000000 ff010000 00000000 feffffffffffffff 'd/l' '..'"
     "03 00 0300 03000000 a4010000 ffc99a3b 0065cd1d00000000 'd/f' 00ff0a"},
    {"batch_zstd", proto::FrameType::batch,
     "14000000 21 00 b6d8 b61ffb12b74e16c359de354eb79b2090"
     "ffffffffffffffff 01 000000 00000200 28b52ffd"},
    {"extent_raw", proto::FrameType::extent,
     "46000000 22 00 c5e9 dc69b9411f7b6533f1508244c9f0e163"
     "0600000000000000 0700000000000000 0000001000000000 0000000400000000"
     "ffffffffffffff7f 0065cd1d00000000 15cd5b07 80010000 1122334455667788"
     "00 0300 'a b'"},
    {"extent_zstd", proto::FrameType::extent,
     "44000000 22 00 c10d 20dd36d261fa9d657f3ebdb9784dc842"
     "0000000000000000 0800000000000000 0000000000000000 0100000000000000"
     "0100000000000000 0000000000000080 00000000 00000000 0000000000000000"
     "01 0100 'z'"},
    {"extent_hole", proto::FrameType::extent,
     "48000000 22 00 f42a 51973bd5e0641ebe2310b9bc33fd23dc"
     "feffffffffffffff ffffffffffffffff 0100000000000000 feffffffffffff7f"
     "ffffffffffffff7f ffffffffffffff7f ffc99a3b ff0f0000 ffffffffffffffff"
     "02 0500 'x/y/z'"},
    {"block_raw", proto::FrameType::block,
     "0b000000 23 00 ff38 dd3aa3784e0c3692d982783cd4a932d6"
     "00 000000 03000000 'abc'"},
    {"block_zstd", proto::FrameType::block,
     "0d000000 23 00 f289 7c6747efd5e69da235e9752d241423bd"
     "01 000000 06000000 28b52ffd00"},
    {"ping", proto::FrameType::ping, "00000000 30 00 96ff 7037077fcc7be04bf64c7547548aec6c"},
    {"error", proto::FrameType::error,
     "15000000 31 00 c173 1e081dcf19d37b75ed4014b10f2e0fa2"
     "0c00 1100 'protocol violated'"},
});

inline proto::ByteView body_of(proto::ByteView frame) {
    if (frame.size() < proto::kFrameHeaderBytes)
        std::abort();
    return frame.subspan(proto::kFrameHeaderBytes);
}

// A frame of the first bytes of a header (length, type, flags) and a body that need not fit them:
// with a check and a digest that are right nevertheless.
inline proto::Bytes sealed(proto::ByteView head, proto::ByteView body = {}) {
    proto::Bytes frame(head.begin(), head.end());
    frame.resize(proto::kFrameHeaderBytes);
    frame.insert(frame.end(), body.begin(), body.end());
    proto::seal_frame(frame);
    return frame;
}

// A frame of any type around any body.
inline proto::Bytes frame_of(proto::FrameType type, proto::ByteView body) {
    proto::Bytes head;
    for (unsigned i = 0; i < 4; ++i)
        head.push_back(static_cast<std::byte>((body.size() >> (8 * i)) & 0xffU));
    head.push_back(static_cast<std::byte>(type));
    return sealed(head, body);
}

// Decodes a body as a Message; where that succeeds, appends its encoding to `frame`.
template <typename Message>
proto::Fault decode_and_encode(proto::ByteView body, proto::Bytes& frame) {
    Message message;
    const proto::Fault fault = proto::decode(body, message);
    if (fault == proto::Fault::none)
        proto::encode(message, frame);
    return fault;
}

inline proto::Fault reencode(proto::FrameType type, proto::ByteView body, proto::Bytes& frame) {
    using proto::FrameType;
    switch (type) {
    case FrameType::open: return decode_and_encode<proto::Open>(body, frame);
    case FrameType::offer: return decode_and_encode<proto::Offer>(body, frame);
    case FrameType::finish: return decode_and_encode<proto::Finish>(body, frame);
    case FrameType::digests: return decode_and_encode<proto::Digests>(body, frame);
    case FrameType::file_end: return decode_and_encode<proto::FileEnd>(body, frame);
    case FrameType::file_abort: return decode_and_encode<proto::FileAbort>(body, frame);
    case FrameType::drop: return decode_and_encode<proto::Drop>(body, frame);
    case FrameType::all_sent: return decode_and_encode<proto::AllSent>(body, frame);
    case FrameType::welcome: return decode_and_encode<proto::Welcome>(body, frame);
    case FrameType::verdict: return decode_and_encode<proto::Verdict>(body, frame);
    case FrameType::file_error: return decode_and_encode<proto::FileError>(body, frame);
    case FrameType::done: return decode_and_encode<proto::Done>(body, frame);
    case FrameType::present: return decode_and_encode<proto::Present>(body, frame);
    case FrameType::ack: return decode_and_encode<proto::Ack>(body, frame);
    case FrameType::again: return decode_and_encode<proto::Again>(body, frame);
    case FrameType::lost: return decode_and_encode<proto::Lost>(body, frame);
    case FrameType::join: return decode_and_encode<proto::Join>(body, frame);
    case FrameType::batch: return decode_and_encode<proto::Batch>(body, frame);
    case FrameType::extent: return decode_and_encode<proto::Extent>(body, frame);
    case FrameType::block: return decode_and_encode<proto::Block>(body, frame);
    case FrameType::error: return decode_and_encode<proto::ErrorMessage>(body, frame);
    case FrameType::ping:
        // It has no fields, and the limit of its body is zero.
        proto::encode_ping(frame);
        return body.empty() ? proto::Fault::none : proto::Fault::trailing_bytes;
    }
    return proto::Fault::unknown_frame;
}

// Reads all records and writes them again; nothing where they do not decode.
inline std::optional<proto::Bytes> rewrite_records(proto::ByteView records, proto::Fault& fault) {
    proto::Bytes memory(records.size());
    proto::BatchWriter writer(memory);
    proto::BatchReader reader(records);
    while (!reader.at_end()) {
        proto::Record record;
        fault = reader.next(record);
        if (fault != proto::Fault::none)
            return std::nullopt;
        if (!writer.fits(record.path.size(), record.content.size()))
            std::abort();
        if (record.kind == proto::RecordKind::file) {
            const auto space = writer.reserve_file(record, record.content.size());
            std::ranges::copy(record.content, space.begin());
            writer.commit_file();
        } else {
            writer.append(record);
        }
    }
    fault = proto::Fault::none;
    return proto::Bytes(writer.bytes().begin(), writer.bytes().end());
}

// A copy of a body in memory of exactly its size, so that AddressSanitizer sees a decoder that
// reads past the end of it (the memory that FrameReader keeps may be larger).
class TightCopy {
public:
    explicit TightCopy(proto::ByteView body)
        : memory_(std::make_unique<std::byte[]>(body.size())), size_(body.size()) {
        std::ranges::copy(body, memory_.get());
    }
    [[nodiscard]] proto::ByteView view() const { return {memory_.get(), size_}; }

private:
    std::unique_ptr<std::byte[]> memory_;
    std::size_t size_;
};

} // namespace sluice::test
