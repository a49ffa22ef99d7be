// The records inside a Batch: directories, symbolic links and small files, one after the other.
// Pure, like messages.hpp.
#pragma once

#include "proto/messages.hpp"

#include <span>
#include <string_view>

namespace sluice::proto {

enum class RecordKind : std::uint8_t { directory = 1, symlink = 2, file = 3 };

struct Record {
    RecordKind kind = RecordKind::file;
    std::uint32_t mode = 0; // permission bits only
    Timestamp mtime;
    // An empty path is allowed for a directory only: the destination itself.
    std::string_view path;
    ByteView content; // of a file (at most kMaxInlineFileBytes), the target of a link, else empty
};

// Bytes that a record takes besides its path and content.
inline constexpr std::size_t kRecordHeaderBytes = 24;

// Writes records into memory that it is given, so that a file can be read straight into place.
class BatchWriter {
public:
    // `buffer` is borrowed and holds at most kMaxBatchBytes.
    explicit BatchWriter(std::span<std::byte> buffer) noexcept : buffer_(buffer) {}

    // Whether a record with a path and a content of these lengths still fits.
    [[nodiscard]] bool fits(std::size_t path_bytes, std::size_t content_bytes) const noexcept;

    // Appends a whole record; it must fit.
    void append(const Record& record) noexcept;

    // Starts a file record (record.content is ignored) of `content_bytes` and returns where its
    // content belongs. The record counts only once commit_file has been called; a second
    // reserve_file without it starts over.
    [[nodiscard]] std::span<std::byte> reserve_file(const Record& record,
                                                    std::size_t content_bytes) noexcept;
    void commit_file() noexcept;

    [[nodiscard]] std::size_t size() const noexcept { return used_; }
    [[nodiscard]] bool empty() const noexcept { return used_ == 0; }
    [[nodiscard]] ByteView bytes() const noexcept { return buffer_.first(used_); }
    void clear() noexcept { used_ = reserved_ = 0; }

private:
    std::span<std::byte> buffer_;
    std::size_t used_ = 0;
    std::size_t reserved_ = 0; // length of the record that waits for commit_file
};

// Reads the records of one batch. Views in a Record point into the batch's bytes.
class BatchReader {
public:
    explicit BatchReader(ByteView records) noexcept : rest_(records) {}

    [[nodiscard]] bool at_end() const noexcept { return rest_.empty(); }
    // Fills `out` with the next record, or names what is wrong; then the batch is unusable.
    [[nodiscard]] Fault next(Record& out) noexcept;

private:
    ByteView rest_;
};

} // namespace sluice::proto
