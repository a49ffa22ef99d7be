// What the directories of a session shall look like in the end. Times and modes can only be set
// once nothing more is written into a directory, that is at the very end, and there may be
// millions of directories: so they are noted here, in memory at first, then in a file.
#pragma once

#include "common/result.hpp"
#include "common/unique_fd.hpp"
#include "proto/messages.hpp"

#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sluice {

struct DirectoryNote {
    bool staged = false;   // below the staged tree, not yet at the destination
    bool set_mode = false; // it was made, or found, with another mode
    std::uint32_t mode = 0;
    proto::Timestamp mtime;
    std::string_view path;
};

// append() is thread-safe; for_each() is not, and comes after the last append().
class DirectoryJournal {
public:
    // `directory` gives the directory in which to make the file, or the negative errno; it is
    // called only once there are more notes than fit into memory.
    explicit DirectoryJournal(std::function<int()> directory) : directory_(std::move(directory)) {}

    // 0, or the errno of a failed write.
    [[nodiscard]] int append(const DirectoryNote& note);

    // In the order of append(). 0, or the errno of a failed read.
    [[nodiscard]] int for_each(const std::function<void(const DirectoryNote&)>& visit) const;

private:
    [[nodiscard]] int spill();

    std::function<int()> directory_;
    std::mutex mutex_;
    std::vector<char> memory_;
    UniqueFd file_;
    std::uint64_t file_bytes_ = 0;
};

} // namespace sluice
