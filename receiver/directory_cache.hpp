// Open directories, most recently used first, so that the files of one directory do not each
// resolve its path. Belongs to one worker thread and is shared by the sessions it serves; its size
// bounds the descriptors that a peer's choice of paths can take.
#pragma once

#include "common/beneath.hpp"

#include <cstddef>
#include <cstdint>
#include <list>
#include <string>
#include <string_view>
#include <unordered_map>

namespace sluice {

class DirectoryCache {
public:
    explicit DirectoryCache(std::size_t capacity) : capacity_(capacity) {}

    // The directory `path` below `base`, made with `mode` where it is missing (0: not made).
    // `owner` tells bases of different sessions apart. Returns a borrowed descriptor, good until
    // the next call, or the negative errno.
    [[nodiscard]] int get(std::uint64_t owner, int base, std::string_view path, mode_t mode);

    // Closes everything that belongs to `owner`.
    void forget(std::uint64_t owner);

private:
    struct Entry {
        std::uint64_t owner;
        std::string key;
        UniqueFd fd;
    };

    std::size_t capacity_;
    std::list<Entry> entries_; // most recently used first
    std::unordered_map<std::string_view, std::list<Entry>::iterator> index_; // views into entries_
    std::string key_;
};

} // namespace sluice
