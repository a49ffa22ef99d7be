#include "receiver/durability.hpp"

#include "common/beneath.hpp"
#include "common/usage.hpp"

#include <cerrno>
#include <fcntl.h>
#include <unistd.h>

namespace sluice {

namespace {

// More directories than this are not synced one by one.
constexpr std::size_t kMaxDirectories = 64;

} // namespace

void Durability::start(int file, std::uint64_t offset, std::uint64_t length) const noexcept {
    if (wanted_) {
        count_system_call();
        // Only a hint: settle_file waits for all of it and reports what went wrong.
        static_cast<void>(sync_file_range(file, static_cast<off64_t>(offset),
                                          static_cast<off64_t>(length), SYNC_FILE_RANGE_WRITE));
    }
}

int Durability::settle_file(int file) const noexcept {
    if (!wanted_) {
        return 0;
    }
    count_system_call();
    return fsync(file) == 0 ? 0 : errno;
}

int Durability::settle_file_system(int directory) const noexcept {
    if (!wanted_) {
        return 0;
    }
    count_system_call();
    return syncfs(directory) == 0 ? 0 : errno; // reports write errors since Linux 5.8
}

void Durability::note_directory(std::string_view path) {
    if (!wanted_) {
        return;
    }
    const std::scoped_lock lock(mutex_);
    if (many_ || directories_.find(path) != directories_.end()) {
        return;
    }
    directories_.emplace(path);
    many_ = directories_.size() > kMaxDirectories;
}

void Durability::note_many() {
    const std::scoped_lock lock(mutex_);
    many_ = true;
}

int Durability::settle_directories(int root) {
    if (!wanted_) {
        return 0;
    }
    const std::scoped_lock lock(mutex_);
    if (many_) {
        return settle_file_system(root);
    }
    for (const std::string& path : directories_) {
        const Opened directory = open_directory_beneath(root, path);
        const int error = directory.ok() ? settle_file(directory.fd.get()) : directory.error_number;
        if (error != 0) {
            return error;
        }
    }
    return 0;
}

} // namespace sluice
