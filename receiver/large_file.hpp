// A file that arrives as extents. Its state is guarded by the table that holds it; only its
// descriptor is used without a lock, by the connections that write extents into it.
#pragma once

#include "common/unique_fd.hpp"
#include "proto/messages.hpp"
#include "receiver/range_set.hpp"

#include <atomic>
#include <cstdint>
#include <string>

namespace sluice {

// Permission bits only: set-id and sticky bits of a peer's choosing mean trouble.
inline constexpr std::uint32_t kKeptModeBits = 0777;

struct LargeFile {
    explicit LargeFile(const proto::Extent& first)
        : id(first.file_id), path(first.path), size(first.file_size),
          mode(first.mode & kKeptModeBits), mtime(first.mtime), version(first.version) {}

    // What its bytes are written to.
    [[nodiscard]] int target() const noexcept { return fd ? fd.get() : shared_fd; }

    const std::uint64_t id;
    const std::string path; // on the wire
    const std::uint64_t size;
    const std::uint32_t mode;
    const proto::Timestamp mtime;
    const std::uint64_t version; // of the source (proto::OfferEntry)

    // Set before the first extent is written.
    UniqueFd fd;
    int shared_fd = -1;      // where there is none of its own: what takes the bytes, borrowed
    bool staged = false;     // it lies under its own name in the staged tree ...
    std::string stored_path; // ... which is this; otherwise where it will go
    std::string work_name;   // its name among the session's files, where it is not staged

    RangeSet received;                // and verified, where that is asked for
    unsigned writers = 0;             // extents that are being received or verified
    std::uint64_t journal_number = 0; // in the resume journal; 0: it is not in there
    bool aborted = false;             // FileAbort has come
    // Something may have been written where nothing has been received.
    std::atomic<bool> soiled{false};
    // It cannot be stored, or was given up; bytes that still come are dropped.
    std::atomic<bool> dead{false};
};

} // namespace sluice
