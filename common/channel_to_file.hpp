// Takes file content from a Channel that has to decrypt it, through a buffer. Where the kernel can
// do without one, SocketToFile (common/zero_copy.hpp) does. An object belongs to one thread at a
// time and may serve many transfers in turn.
#pragma once

#include "common/byte_sink.hpp"
#include "common/channel.hpp"
#include "common/zero_copy.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>

namespace sluice {

class ChannelToFile {
public:
    // As SocketToFile::step. What is taken is added to `digester` as well, if there is one.
    [[nodiscard]] Step step(Channel& channel, int file, std::uint64_t offset,
                            std::uint64_t budget_bytes, ByteSink* digester);
    // As SocketToFile::discard, with a digest.
    [[nodiscard]] Step discard(Channel& channel, std::uint64_t budget_bytes, ByteSink* digester);

private:
    // Into the buffer. The bytes that came are in moved.
    [[nodiscard]] Step receive(Channel& channel, std::uint64_t budget_bytes, ByteSink* digester);

    std::unique_ptr<std::byte[]> buffer_; // made when it is needed
};

} // namespace sluice
