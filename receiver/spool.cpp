#include "receiver/spool.hpp"

#include "common/usage.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace sluice {

namespace {

constexpr std::size_t kMemoryBytes = std::size_t{1} << 20;

void visit_all(const std::vector<char>& records,
               const std::function<void(std::string_view)>& visit) {
    for (std::size_t at = 0; at < records.size();) {
        std::uint32_t length = 0;
        std::memcpy(&length, records.data() + at, sizeof length);
        at += sizeof length;
        visit({records.data() + at, length});
        at += length;
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

int Spool::append(std::string_view head, std::string_view tail) {
    const auto length = static_cast<std::uint32_t>(head.size() + tail.size());
    const std::scoped_lock lock(mutex_);
    const std::size_t at = memory_.size();
    memory_.resize(at + sizeof length);
    std::memcpy(memory_.data() + at, &length, sizeof length);
    memory_.insert(memory_.end(), head.begin(), head.end());
    memory_.insert(memory_.end(), tail.begin(), tail.end());
    if (memory_.size() < kMemoryBytes) {
        return 0;
    }
    const int error = spill();
    if (error != 0) {
        memory_.resize(at);
    }
    return error;
}

// Moves what is in memory to the end of the file, as one block that begins with its length.
int Spool::spill() {
    if (!file_) {
        const int directory = directory_();
        if (directory < 0) {
            return -directory;
        }
        count_system_call();
        // Another session's, whose place this one has taken, may be there still.
        file_ = UniqueFd::adopt(openat(directory, name_.c_str(),
                                       O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC,
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

int Spool::for_each(const std::function<void(std::string_view)>& visit) const {
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
