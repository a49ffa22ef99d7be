// What the fuzz targets of streams share. Header-only.
#pragma once

#include "proto/frame_reader.hpp"
#include "proto/messages.hpp"
#include "tests/support/proto_samples.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string_view>

namespace sluice::test {

inline void require(bool holds) {
    if (!holds)
        std::abort();
}

// The text may be printed on one line of a terminal: no control characters.
inline void require_printable(std::string_view text) {
    for (const char c : text)
        require(static_cast<unsigned char>(c) >= 0x20 && c != 0x7f);
}

// Sizes of the pieces in which a stream arrives; a seed of zero means all at once.
class Pieces {
public:
    explicit Pieces(unsigned seed) : state_(seed) {}

    std::size_t next() {
        if (state_ == 0)
            return SIZE_MAX;
        state_ = state_ * 1'103'515'245U + 12'345U;
        state_ |= 1U; // never zero
        return 1 + (state_ >> 16) % 13;
    }

private:
    std::uint32_t state_;
};

// Seals the frame at the beginning of a stream, or what there is of it.
inline void seal_first(std::span<std::byte> stream) {
    if (stream.size() < proto::kFrameHeaderBytes)
        return;
    std::size_t length = 0;
    for (std::size_t i = 0; i < 4; ++i)
        length |= std::to_integer<std::size_t>(stream[i]) << (8 * i);
    proto::seal_frame(stream.first(std::min(stream.size(), proto::kFrameHeaderBytes + length)));
}

} // namespace sluice::test
