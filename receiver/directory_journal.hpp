// What the directories of a session shall look like in the end. Times and modes can only be set
// once nothing more is written into a directory, that is at the very end, and there may be
// millions of directories: so they are noted here.
#pragma once

#include "proto/messages.hpp"
#include "receiver/spool.hpp"

#include <cstdint>
#include <functional>
#include <string_view>
#include <utility>

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
    // `directory`: as in Spool.
    explicit DirectoryJournal(std::function<int()> directory)
        : notes_(std::move(directory), "directories") {}

    // 0, or the errno of a failed write.
    [[nodiscard]] int append(const DirectoryNote& note);

    // In the order of append(). 0, or the errno of a failed read.
    [[nodiscard]] int for_each(const std::function<void(const DirectoryNote&)>& visit) const;

private:
    Spool notes_;
};

} // namespace sluice
