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

    // A directory or a symbolic link. An Error: the connection broke (also below), and nothing was
    // taken of the entry.
    [[nodiscard]] Status add(SourceEntry& entry);
    // A file of at most proto::kMaxInlineFileBytes. An entry that was not taken is as it was.
    enum class Fate : unsigned char {
        taken,
        unreadable, // and reported
        changed,    // while it was being read
    };
    [[nodiscard]] Result<Fate> add_file(SourceEntry& entry, SourceFile& source);
    // Sends what has been gathered, and what is in the pipeline.
    [[nodiscard]] Status flush();
    // Gives back what has been gathered and not sent.
    [[nodiscard]] Chunk take_back();

private:
    [[nodiscard]] Status make_room(std::size_t path_bytes, std::size_t content_bytes);
    [[nodiscard]] Status send_batch();
    [[nodiscard]] Status send_as_is(std::uint64_t id);
    [[nodiscard]] Status post(std::uint64_t id);
    void clear();

    StreamContext& context_;
    std::vector<std::byte> memory_; // the frame: header, then records
    proto::BatchWriter writer_;
    Chunk entries_;                // those of the records
    std::uint64_t file_bytes_ = 0; // of the files in the batch
    std::uint64_t files_ = 0;
};

} // namespace sluice
