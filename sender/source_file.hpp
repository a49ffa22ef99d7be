// A regular source file, open for reading, as it was at that moment; or one that is made up
// (sender/generated.hpp), whose bytes come round again and again in a file in memory.
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
    // `name` is relative to `directory`, a descriptor that may be O_PATH.
    [[nodiscard]] static std::variant<SourceFile, SourceProblem> open_at(int directory,
                                                                         const char* name);

    // The bytes of one segment (see segment_at) lie in fd() without a gap, that at `offset` at
    // position(offset).
    [[nodiscard]] int fd() const noexcept { return fd_.get(); }
    [[nodiscard]] std::uint64_t position(std::uint64_t offset) const noexcept {
        return period_ == 0 ? offset : offset % period_;
    }
    [[nodiscard]] std::uint64_t size() const noexcept {
        return static_cast<std::uint64_t>(status_.st_size);
    }
    [[nodiscard]] std::uint32_t mode() const noexcept;
    [[nodiscard]] proto::Timestamp mtime() const noexcept;
    // Changes whenever content or status do; see proto::OfferEntry.
    [[nodiscard]] std::uint64_t version() const noexcept { return version_of(status_); }

    // Reads up to memory.size() bytes from `offset`; fewer only at the end of the file. The number
    // of bytes, or the negative errno.
    [[nodiscard]] std::int64_t read(std::uint64_t offset, std::span<std::byte> memory) const;

    // The same from the beginning. Afterwards waited() says whether the medium had to be waited
    // for, because the page cache did not have it all.
    [[nodiscard]] std::int64_t read_small(std::span<std::byte> memory);
    [[nodiscard]] bool waited() const noexcept { return waited_; }

    // Makes the kernel read it into the page cache, as much as it will at once (see
    // will_be_read_in_order()), and does not wait for that.
    void start_reading() const noexcept;
    // From here on the kernel reads ahead twice as much as usual: POSIX_FADV_SEQUENTIAL. Not
    // POSIX_FADV_WILLNEED, which is cut off at what it would read ahead by itself, and allocates
    // single pages (force_page_cache_ra() in mm/readahead.c, Linux 6.18).
    void will_be_read_in_order() const noexcept;

    // Whether size, mtime or ctime differ from what they were when it was opened.
    [[nodiscard]] bool changed() const;

    // The next run of data or hole: [offset, end), of which the end is known beforehand where there
    // are no holes. `offset` is below size().
    struct Segment {
        std::uint64_t end = 0;
        bool hole = false;
    };
    [[nodiscard]] Segment segment_at(std::uint64_t offset) const;

private:
    [[nodiscard]] static std::variant<SourceFile, SourceProblem> generate(std::uint64_t bytes);
    // Fewer blocks than the size needs: there may be holes.
    [[nodiscard]] bool sparse() const noexcept;

    UniqueFd fd_;
    struct stat status_ {};
    std::uint64_t period_ = 0; // after so many bytes fd_ begins anew; 0: it is the file itself
    bool waited_ = false;
};

} // namespace sluice
