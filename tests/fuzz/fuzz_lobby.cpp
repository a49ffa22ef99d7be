// What a stranger can make the receiver read before it knows who that is: a preamble and the first
// frame of a connection, in arbitrary pieces, treated as Lobby and Admission treat them. Whatever
// decodes must encode to the same bytes; the texts in it must come out of escape() harmless.
//
// Input: one byte of choices (bit 0: the frame is sealed before it is read, for no fuzzer finds a
// digest; the other bits choose the pieces), then the stream.
#include "common/text.hpp"
#include "tests/fuzz/fuzz.hpp"

using namespace sluice;
using namespace sluice::proto;
using namespace sluice::test;

namespace {

void require_harmless(std::string_view text) {
    const std::string shown = escape(text);
    require(shown.size() <= 4096);
    require_printable(shown);
}

template <typename Message>
void check_message(const FrameReader& reader, ByteView sent, const auto& check_fields) {
    const TightCopy copy(reader.body());
    Message message;
    if (decode(copy.view(), message) != Fault::none)
        return;
    check_fields(message);
    Bytes again;
    encode(message, again);
    require(same_bytes(body_of(again), body_of(sent)));
    require(same_bytes(again, sent) == reader.frame_is_intact());
}

void check_first_frame(const FrameReader& reader, ByteView sent) {
    // A Join is checked later, when it is known with what.
    require(reader.frame_is_intact() || reader.type() == FrameType::join);
    if (reader.role() == Role::control && reader.type() == FrameType::open) {
        check_message<Open>(reader, sent, [](const Open& request) {
            require(request.streams >= 1 && request.streams <= kMaxStreams);
            require(request.roots.size() <= kMaxRoots);
            require((request.flags & ~kOpenKnownFlags) == 0);
            require_harmless(request.software);
            require_harmless(request.destination);
        });
    } else if (reader.role() == Role::data && reader.type() == FrameType::join) {
        check_message<Join>(reader, sent,
                            [](const Join& join) { require(join.stream < kMaxStreams); });
    }
}

void check_guest(std::span<std::byte> stream, bool seal, Pieces pieces) {
    FrameReader reader(Role::control, true);
    reader.leave_joins_unchecked();
    if (seal && stream.size() > kPreambleBytes)
        seal_first(stream.subspan(kPreambleBytes));
    const ByteView frame = stream.subspan(std::min(kPreambleBytes, stream.size()));
    while (!stream.empty() && !reader.frame_ready()) {
        const auto space = reader.space();
        require(!space.empty());
        const std::size_t count = std::min({space.size(), stream.size(), pieces.next()});
        std::ranges::copy(stream.first(count), space.begin());
        stream = stream.subspan(count);
        if (const Fault fault = reader.commit(count); fault != Fault::none) {
            require(!describe(fault).empty());
            return;
        }
    }
    if (reader.frame_ready())
        check_first_frame(reader, frame.first(kFrameHeaderBytes + reader.body().size()));
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0)
        return 0;
    const ByteView input = std::as_bytes(std::span(data + 1, size - 1));
    Bytes stream(input.begin(), input.end());
    check_guest(stream, (data[0] & 1U) != 0, Pieces(data[0] >> 1));
    return 0;
}
