// Gathers directories, symbolic links and small files into batches: one write for many entries.
// Belongs to its stream's thread.
#pragma once

#include "proto/batch.hpp"
#include "sender/stream_context.hpp"

#include <cstddef>
#include <vector>

namespace sluice {

class SmallEntries {
public:
    explicit SmallEntries(StreamContext& context);

    // A directory or a symbolic link. An Error: the connection broke (also below).
    [[nodiscard]] Status add(const SourceEntry& entry);
    // A file of at most proto::kMaxInlineFileBytes. A source that cannot be read is reported and
    // left out.
    [[nodiscard]] Status add_file(const SourceEntry& entry, const SourceFile& source);
    // Sends what has been gathered.
    [[nodiscard]] Status flush();

private:
    [[nodiscard]] Status make_room(std::size_t path_bytes, std::size_t content_bytes);

    StreamContext& context_;
    std::vector<std::byte> memory_; // the frame: header, then records
    proto::BatchWriter writer_;
    std::uint64_t file_bytes_ = 0; // of the files in the batch
    std::uint64_t files_ = 0;
    std::vector<std::byte> packed_; // the frame, compressed
};

} // namespace sluice
