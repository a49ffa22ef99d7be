#include "receiver/directory_journal.hpp"

#include "common/usage.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>

namespace sluice {

namespace {

constexpr std::size_t kMemoryBytes = std::size_t{1} << 20;
constexpr const char* kFileName = "directories";

// How a note lies in memory and in the file; both are read by this process only.
struct StoredNote {
    std::int64_t seconds;
    std::uint32_t nanoseconds;
    std::uint32_t mode;
    std::uint16_t path_bytes;
    bool staged;
    bool set_mode;
};

void visit_all(const std::vector<char>& notes,
               const std::function<void(const DirectoryNote&)>& visit) {
    for (std::size_t at = 0; at < notes.size();) {
        StoredNote stored{};
        std::memcpy(&stored, notes.data() + at, sizeof stored);
        at += sizeof stored;
        visit({stored.staged,
               stored.set_mode,
               stored.mode,
               {stored.seconds, stored.nanoseconds},
               {notes.data() + at, stored.path_bytes}});
        at += stored.path_bytes;
    }
}

int write_all_at(int file, const void* data, std::size_t bytes, std::uint64_t offset) {
    for (std::size_t done = 0; done < bytes;) {
        count_system_call();
        const ssize_t wrote = pwrite(file, static_cast<const char*>(data) + done, bytes - done,
                                     static_cast<off_t>(offset + done));
        if (wrote < 0 && errno != EINTR) {
            return errno;
        }
        done += wrote > 0 ? static_cast<std::size_t>(wrote) : 0;
    }
    return 0;
}

} // namespace

int DirectoryJournal::append(const DirectoryNote& note) {
    const StoredNote stored{note.mtime.seconds, note.mtime.nanoseconds,
                            note.mode,          static_cast<std::uint16_t>(note.path.size()),
                            note.staged,        note.set_mode};
    const std::scoped_lock lock(mutex_);
    const std::size_t at = memory_.size();
    memory_.resize(at + sizeof stored + note.path.size());
    std::memcpy(memory_.data() + at, &stored, sizeof stored);
    std::memcpy(memory_.data() + at + sizeof stored, note.path.data(), note.path.size());
    if (memory_.size() < kMemoryBytes) {
        return 0;
    }
    const int error = spill();
    if (error != 0) {
        memory_.resize(at); // this note is refused, those before it stay
    }
    return error;
}

// Moves what is in memory to the end of the file, as one block that begins with its length.
int DirectoryJournal::spill() {
    if (!file_) {
        const int directory = directory_();
        if (directory < 0) {
            return -directory;
        }
        count_system_call();
        file_ = UniqueFd::adopt(openat(directory, kFileName,
                                       O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                                       S_IRUSR | S_IWUSR));
        if (!file_) {
            return errno;
        }
    }
    // What a failed attempt has written lies beyond file_bytes_ and is overwritten by the next.
    const std::uint64_t length = memory_.size();
    int error = write_all_at(file_.get(), &length, sizeof length, file_bytes_);
    if (error == 0) {
        error = write_all_at(file_.get(), memory_.data(), length, file_bytes_ + sizeof length);
    }
    if (error == 0) {
        file_bytes_ += sizeof length + length;
        memory_.clear();
    }
    return error;
}

int DirectoryJournal::for_each(const std::function<void(const DirectoryNote&)>& visit) const {
    std::vector<char> block;
    for (std::uint64_t at = 0; at < file_bytes_;) {
        std::uint64_t length = 0;
        if (pread(file_.get(), &length, sizeof length, static_cast<off_t>(at)) !=
            static_cast<ssize_t>(sizeof length)) {
            return EIO;
        }
        at += sizeof length;
        block.resize(length);
        if (pread(file_.get(), block.data(), length, static_cast<off_t>(at)) !=
            static_cast<ssize_t>(length)) {
            return EIO;
        }
        at += length;
        visit_all(block, visit);
    }
    visit_all(memory_, visit);
    return 0;
}

} // namespace sluice
