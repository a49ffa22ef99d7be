#include "sender/source_file.hpp"

#include "common/usage.hpp"

#include <cerrno>
#include <fcntl.h>
#include <unistd.h>

namespace sluice {

namespace {

constexpr std::uint64_t kStatBlockBytes = 512; // of st_blocks, whatever the file system's own

} // namespace

std::variant<SourceFile, SourceProblem> SourceFile::open(const SourceEntry& entry) {
    SourceFile file;
    // O_NONBLOCK: the name may have become a FIFO since the walk saw it.
    count_system_call();
    file.fd_ = UniqueFd::adopt(openat(entry.root->directory.get(), entry.relative_path(),
                                      O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
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
    std::size_t filled = 0;
    while (filled < memory.size()) {
        count_system_call();
        const ssize_t got = pread(fd_.get(), memory.data() + filled, memory.size() - filled,
                                  static_cast<off_t>(offset + filled));
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

bool SourceFile::changed() const {
    struct stat now {};
    count_system_call();
    // The ctime tells what the mtime may hide: utimensat(2) and a write within one tick of the
    // clock.
    return fstat(fd_.get(), &now) != 0 || now.st_size != status_.st_size ||
           now.st_mtim.tv_sec != status_.st_mtim.tv_sec ||
           now.st_mtim.tv_nsec != status_.st_mtim.tv_nsec || version_of(now) != version_of(status_);
}

SourceFile::Segment SourceFile::segment_at(std::uint64_t offset) const {
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
