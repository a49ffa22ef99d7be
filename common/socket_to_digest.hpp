// Takes bytes from a socket into a digest and drops them: for what is received and not kept, and so
// cannot be read back for its digest. An object belongs to one thread at a time and may serve many
// digests in turn.
#pragma once

#include "common/byte_sink.hpp"
#include "common/zero_copy.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>

namespace sluice {

class SocketToDigest {
public:
    // As SocketToFile::step, with a sink in place of the file: it never says file_failed.
    [[nodiscard]] Step step(int socket, ByteSink& sink, std::uint64_t budget_bytes);

private:
    std::unique_ptr<std::byte[]> buffer_; // made when it is needed
};

} // namespace sluice
