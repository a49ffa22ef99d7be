// A regular source file, open for reading, as it was at that moment.
#pragma once

#include "common/result.hpp"
#include "common/unique_fd.hpp"
#include "proto/messages.hpp"
#include "sender/walk.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <sys/stat.h>
#include <variant>

namespace sluice {

// Why a source cannot be sent. Kinds: source_changed (vanished, changed) or some_files.
struct SourceProblem {
    ErrorKind kind = ErrorKind::some_files;
    const char* what = "";
    int error_number = 0; // 0: `what` says it all
};

class SourceFile {
public:
    [[nodiscard]] static std::variant<SourceFile, SourceProblem> open(const SourceEntry& entry);

    [[nodiscard]] int fd() const noexcept { return fd_.get(); }
    [[nodiscard]] std::uint64_t size() const noexcept {
        return static_cast<std::uint64_t>(status_.st_size);
    }
    [[nodiscard]] std::uint32_t mode() const noexcept;
    [[nodiscard]] proto::Timestamp mtime() const noexcept;
    // Changes whenever content or status do; see proto::OfferEntry.
    [[nodiscard]] std::uint64_t version() const noexcept { return version_of(status_); }
    // Fewer blocks than the size needs: there may be holes.
    [[nodiscard]] bool sparse() const noexcept;

    // Reads up to memory.size() bytes from `offset`; fewer only at the end of the file. The number
    // of bytes, or the negative errno.
    [[nodiscard]] std::int64_t read(std::uint64_t offset, std::span<std::byte> memory) const;

    // Whether size, mtime or ctime differ from what they were when it was opened.
    [[nodiscard]] bool changed() const;

    // The next run of data or hole: [offset, end).
    struct Segment {
        std::uint64_t end = 0;
        bool hole = false;
    };
    [[nodiscard]] Segment segment_at(std::uint64_t offset) const;

private:
    UniqueFd fd_;
    struct stat status_ {};
};

} // namespace sluice
