// What a session has to bring to the medium before it may report success (--fsync), and in which
// order: the data of a file before the name that leads to it, the names before the last word.
//
// Thread-safe. Where it is not wanted every function does nothing. Errors are errno values. An
// fsync(2) that failed is final: the kernel has dropped the pages that it could not write and would
// report success the next time, so whoever gets an error here must not try again.
#pragma once

#include <cstdint>
#include <mutex>
#include <set>
#include <string>
#include <string_view>

namespace sluice {

class Durability {
public:
    explicit Durability(bool wanted) noexcept : wanted_(wanted) {}

    [[nodiscard]] bool wanted() const noexcept { return wanted_; }

    // Bytes of `file` that are complete: lets the disk begin with them, so that little is left for
    // the end. Waits only where the device's queue is full.
    void start(int file, std::uint64_t offset, std::uint64_t length) const noexcept;
    // The data and metadata of one file.
    [[nodiscard]] int settle_file(int file) const noexcept;
    // Everything on the file system of `directory`: cheaper than file by file where there are many.
    [[nodiscard]] int settle_file_system(int directory) const noexcept;

    // A name in the directory `path` (relative to the receiver's) has changed.
    void note_directory(std::string_view path);
    // So many names have changed that nobody listed them.
    void note_many();
    // All directories that were noted. `root` is the receiver's directory.
    [[nodiscard]] int settle_directories(int root);

private:
    const bool wanted_;
    std::mutex mutex_;
    std::set<std::string, std::less<>> directories_;
    bool many_ = false;
};

} // namespace sluice
