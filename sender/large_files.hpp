// Sends files as extents: by sendfile(2) or its copying twin, as zstd blocks, holes as holes.
// Belongs to its stream's thread.
#pragma once

#include "proto/messages.hpp"
#include "sender/stream_context.hpp"

#include <cstddef>
#include <memory>
#include <vector>

namespace sluice {

class LargeFiles {
public:
    explicit LargeFiles(StreamContext& context);

    // Sends the whole file. A source that shrinks, changes or cannot be read is reported and
    // withdrawn. An Error: the connection broke.
    [[nodiscard]] Status send(const SourceEntry& entry, const SourceFile& source);
    // Sends what has been held back to travel with the next write.
    [[nodiscard]] Status flush();

private:
    // What became of an extent. Withdrawn: the file cannot be completed, all has been said.
    enum class Fate : unsigned char { sent, withdrawn };

    [[nodiscard]] Result<Fate> send_extent(const proto::Extent& extent, const SourceEntry& entry,
                                           const SourceFile& source);
    [[nodiscard]] Result<Fate> send_raw(const proto::Extent& extent, const SourceEntry& entry,
                                        const SourceFile& source);
    [[nodiscard]] Result<Fate> send_compressed(const proto::Extent& extent,
                                               const SourceEntry& entry, const SourceFile& source);
    [[nodiscard]] Status send_block(std::size_t raw_bytes);
    [[nodiscard]] bool worth_compressing(const proto::Extent& extent, const SourceFile& source);
    [[nodiscard]] Result<Fate> withdraw(const proto::Extent& extent, const SourceEntry& entry,
                                        const SourceProblem& problem);
    void note_fallback();

    StreamContext& context_;
    std::unique_ptr<FileToSocket> copier_;
    proto::Bytes pending_;          // small frames that travel with the next write
    std::vector<std::byte> raw_;    // a block frame: header, then the bytes as they are
    std::vector<std::byte> packed_; // a block frame: header, then the bytes compressed
    bool fallback_noted_ = false;
};

} // namespace sluice
