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
        visit({stored.staged, stored.set_mode, stored.mode, {stored.seconds, stored.nanoseconds},
               {notes.data() + at, stored.path_bytes}});
        at += stored.path_bytes;
    }
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
    return memory_.size() < kMemoryBytes ? 0 : spill();
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
    const std::uint64_t length = memory_.size();
    memory_.insert(memory_.begin(), sizeof length, '\0');
    std::memcpy(memory_.data(), &length, sizeof length);
    for (std::size_t at = 0; at < memory_.size();) {
        count_system_call();
        const ssize_t wrote = pwrite(file_.get(), memory_.data() + at, memory_.size() - at,
                                     static_cast<off_t>(file_bytes_ + at));
        if (wrote < 0 && errno != EINTR) {
            return errno;
        }
        at += wrote > 0 ? static_cast<std::size_t>(wrote) : 0;
    }
    file_bytes_ += memory_.size();
    memory_.clear();
    return 0;
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
