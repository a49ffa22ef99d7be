#include "sender/source_file.hpp"

#include "common/usage.hpp"
#include "sender/generated.hpp"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>
#include <utility>

namespace sluice {

namespace {

constexpr std::uint64_t kStatBlockBytes = 512; // of st_blocks, whatever the file system's own

// The beginning of a file, but EAGAIN instead of waiting for the medium (RWF_NOWAIT in preadv2(2)).
ssize_t read_if_cached(int file, std::span<std::byte> memory) noexcept {
    const iovec whole{memory.data(), memory.size()};
    count_system_call();
    return preadv2(file, &whole, 1, 0, RWF_NOWAIT);
}

} // namespace

std::variant<SourceFile, SourceProblem> SourceFile::open(const SourceEntry& entry) {
    if (entry.root->generated) {
        return generate(entry.size);
    }
    return open_at(entry.root->directory.get(), entry.relative_path());
}

std::variant<SourceFile, SourceProblem> SourceFile::open_at(int directory, const char* name) {
    SourceFile file;
    // O_NONBLOCK: the name may have become a FIFO since the walk saw it.
    count_system_call();
    file.fd_ =
        UniqueFd::adopt(openat(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    if (!file.fd_) {
        if (errno == ENOENT) {
            return SourceProblem{ErrorKind::source_changed, "vanished before it was sent", 0};
        }
        return SourceProblem{ErrorKind::some_files, "cannot open", errno};
    }
    count_system_call();
    if (fstat(file.fd_.get(), &file.status_) != 0) {
        return SourceProblem{ErrorKind::some_files, "cannot stat", errno};
    }
    if (!S_ISREG(file.status_.st_mode)) {
        return SourceProblem{ErrorKind::source_changed, "is no longer a regular file", 0};
    }
    return file;
}

std::variant<SourceFile, SourceProblem> SourceFile::generate(std::uint64_t bytes) {
    Result<UniqueFd> made = make_generated_file(bytes);
    if (!made) {
        return SourceProblem{ErrorKind::some_files, "cannot make it up", made.error().error_number};
    }
    SourceFile file;
    file.fd_ = std::move(*made);
    file.period_ = kGeneratedMemoryBytes;
    file.status_.st_size = static_cast<off_t>(bytes);
    file.status_.st_mode = S_IFREG | kGeneratedMode;
    file.status_.st_mtim.tv_sec = kGeneratedTime.seconds;
    file.status_.st_ctim.tv_nsec = kGeneratedVersion; // see version_of()
    return file;
}

std::uint32_t SourceFile::mode() const noexcept {
    return status_.st_mode & 0777U;
}

proto::Timestamp SourceFile::mtime() const noexcept {
    return {status_.st_mtim.tv_sec, static_cast<std::uint32_t>(status_.st_mtim.tv_nsec)};
}

bool SourceFile::sparse() const noexcept {
    return static_cast<std::uint64_t>(status_.st_blocks) * kStatBlockBytes < size();
}

std::int64_t SourceFile::read(std::uint64_t offset, std::span<std::byte> memory) const {
    if (period_ != 0) { // fd_ does not end where the file does
        memory = memory.first(std::min(memory.size(), size() - std::min(offset, size())));
    }
    std::size_t filled = 0;
    while (filled < memory.size()) {
        const std::uint64_t at = position(offset + filled);
        std::size_t wanted = memory.size() - filled;
        if (period_ != 0) {
            wanted = std::min(wanted, period_ - at);
        }
        count_system_call();
        const ssize_t got =
            pread(fd_.get(), memory.data() + filled, wanted, static_cast<off_t>(at));
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return -errno;
        }
        if (got == 0) {
            break;
        }
        filled += static_cast<std::size_t>(got);
    }
    return static_cast<std::int64_t>(filled);
}

std::int64_t SourceFile::read_small(std::span<std::byte> memory) {
    const ssize_t got = read_if_cached(fd_.get(), memory);
    if (got == static_cast<ssize_t>(memory.size())) {
        return got;
    }
    waited_ = got < 0 ? errno == EAGAIN : true;
    return read(0, memory);
}

void SourceFile::start_reading() const noexcept {
    count_system_call();
    static_cast<void>(posix_fadvise(fd_.get(), 0, 0, POSIX_FADV_WILLNEED)); // 0: to the end
}

void SourceFile::will_be_read_in_order() const noexcept {
    count_system_call();
    static_cast<void>(posix_fadvise(fd_.get(), 0, 0, POSIX_FADV_SEQUENTIAL));
}

bool SourceFile::changed() const {
    if (period_ != 0) {
        return false; // sealed
    }
    struct stat now {};
    count_system_call();
    // The ctime tells what the mtime may hide: utimensat(2) and a write within one tick of the
    // clock.
    return fstat(fd_.get(), &now) != 0 || now.st_size != status_.st_size ||
           now.st_mtim.tv_sec != status_.st_mtim.tv_sec ||
           now.st_mtim.tv_nsec != status_.st_mtim.tv_nsec || version_of(now) != version_of(status_);
}

SourceFile::Segment SourceFile::segment_at(std::uint64_t offset) const {
    if (period_ != 0) {
        return {std::min(size() - offset, period_ - position(offset)) + offset, false};
    }
    if (!sparse()) {
        return {size(), false};
    }
    const auto at = static_cast<off_t>(offset);
    count_system_call();
    const off_t data = lseek(fd_.get(), at, SEEK_DATA);
    if (data < 0) {
        // ENXIO: nothing but a hole up to the end. Anything else: no holes known, all is data.
        return {size(), errno == ENXIO};
    }
    if (data > at) {
        return {static_cast<std::uint64_t>(data), true};
    }
    count_system_call();
    const off_t hole = lseek(fd_.get(), at, SEEK_HOLE);
    return {hole > at ? static_cast<std::uint64_t>(hole) : size(), false};
}

} // namespace sluice
