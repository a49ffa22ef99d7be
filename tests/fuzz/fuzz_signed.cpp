// What somebody on the way makes of a data connection in clear whose frames have codes in place of
// digests: a genuine stream, with pieces of it changed, left out, repeated. What the receiver takes
// for frames of the sender must be these, byte by byte, from the first one on and in their order.
//
// Input: one byte of choices (bit 0: there is no genuine stream, the rest is what is sent; the
// other bits choose the pieces in which it arrives), then edits of four bytes: what, where (two),
// how many or what instead.
#include "common/data_keys.hpp"
#include "tests/fuzz/fuzz.hpp"

#include <optional>
#include <string_view>
#include <utility>
#include <vector>

using namespace sluice;
using namespace sluice::proto;
using namespace sluice::test;

namespace {

Secret frames_key() {
    Secret key;
    std::ranges::fill(key.bytes(), std::byte{0x5a});
    return key;
}

struct Genuine {
    Genuine() {
        // Without raw extents: frames say nothing of their payload, digests do.
        const FrameCode code = frame_codes(frames_key(), kConnection);
        const auto preamble = encode_preamble({kVersion, Role::data});
        stream.assign(preamble.begin(), preamble.end());
        for (const std::string_view name :
             {"join", "batch_raw", "extent_hole", "batch_raw", "extent_zstd", "block_raw"}) {
            const auto* const sample = std::ranges::find(kGoldenFrames, name, &GoldenFrame::name);
            require(sample != kGoldenFrames.end());
            Bytes frame = wire_bytes(sample->notation);
            sign_frames(frame, code);
            frames.push_back(frame);
            stream.insert(stream.end(), frame.begin(), frame.end());
        }
    }

    static constexpr std::uint32_t kConnection = 0x01020304; // of the Join among the samples
    std::vector<Bytes> frames;
    Bytes stream;
};

void edit(Bytes& stream, ByteView edit) {
    if (stream.empty())
        return;
    const auto value = [&](std::size_t at) { return std::to_integer<std::size_t>(edit[at]); };
    const std::size_t at = (value(1) | value(2) << 8) % stream.size();
    const std::size_t count = std::min(value(3), stream.size() - at);
    const Bytes piece(stream.begin() + static_cast<std::ptrdiff_t>(at),
                      stream.begin() + static_cast<std::ptrdiff_t>(at + count));
    switch (value(0) % 4) {
    case 0: stream[at] = edit[3]; break;
    case 1:
        stream.erase(stream.begin() + static_cast<std::ptrdiff_t>(at),
                     stream.begin() + static_cast<std::ptrdiff_t>(at + count));
        break;
    case 2:
        stream.insert(stream.begin() + static_cast<std::ptrdiff_t>(at), piece.begin(), piece.end());
        break;
    default: stream.insert(stream.end(), piece.begin(), piece.end());
    }
}

// The reader for what follows a Join, or nothing where the connection is not let in: as Admission
// and DataConnection do it.
std::optional<FrameReader> admit(const FrameReader& lobby) {
    Join join;
    if (lobby.role() != Role::data || lobby.type() != FrameType::join ||
        decode(lobby.body(), join) != Fault::none)
        return std::nullopt;
    FrameCode code = frame_codes(frames_key(), join.connection);
    if (!lobby.frame_is_signed(code))
        return std::nullopt;
    FrameReader reader(Role::data, false);
    reader.expect_codes(std::move(code));
    return reader;
}

// Returns how many frames were taken for genuine.
std::size_t check_connection(ByteView stream, const Genuine& genuine, Pieces pieces) {
    FrameReader reader(Role::control, true);
    reader.leave_joins_unchecked();
    std::size_t taken = 0;
    while (!stream.empty()) {
        const auto space = reader.space();
        require(!space.empty());
        const std::size_t count = std::min({space.size(), stream.size(), pieces.next()});
        std::ranges::copy(stream.first(count), space.begin());
        stream = stream.subspan(count);
        if (const Fault fault = reader.commit(count); fault != Fault::none) {
            require(taken == 0 || fault == Fault::corrupted);
            break;
        }
        if (!reader.frame_ready())
            continue;
        auto admitted = taken == 0 ? admit(reader) : std::nullopt;
        if (taken == 0 && !admitted)
            break;
        require(taken < genuine.frames.size());
        require(same_bytes(reader.body(), body_of(genuine.frames[taken])));
        ++taken;
        if (admitted)
            reader = std::move(*admitted);
        else
            reader.next();
    }
    return taken;
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const Genuine genuine;
    if (size == 0)
        return 0;
    ByteView input = std::as_bytes(std::span(data + 1, size - 1));
    const Pieces pieces(data[0] >> 1);
    if ((data[0] & 1U) != 0) {
        require(check_connection(input, genuine, pieces) == 0);
        return 0;
    }
    Bytes stream = genuine.stream;
    for (; input.size() >= 4; input = input.subspan(4))
        edit(stream, input);
    const std::size_t taken = check_connection(stream, genuine, pieces);
    require(stream != genuine.stream || taken == genuine.frames.size());
    return 0;
}
