#include "receiver/directory_cache.hpp"

#include <fmt/format.h>
#include <iterator>
#include <utility>

namespace sluice {

int DirectoryCache::get(std::uint64_t owner, int base, std::string_view path, mode_t mode) {
    key_.clear();
    fmt::format_to(std::back_inserter(key_), "{}:{}:", owner, base);
    key_.append(path);
    if (!entries_.empty() && entries_.front().key == key_) {
        return entries_.front().fd.get();
    }
    if (const auto found = index_.find(key_); found != index_.end()) {
        entries_.splice(entries_.begin(), entries_, found->second);
        return entries_.front().fd.get();
    }
    const std::string name(path);
    Opened opened =
        mode == 0 ? open_directory_beneath(base, name) : make_directories_beneath(base, name, mode);
    if (!opened.ok()) {
        return -opened.error_number;
    }
    if (entries_.size() >= capacity_) {
        index_.erase(entries_.back().key);
        entries_.pop_back();
    }
    entries_.push_front({owner, key_, std::move(opened.fd)});
    index_.emplace(entries_.front().key, entries_.begin());
    return entries_.front().fd.get();
}

void DirectoryCache::forget(std::uint64_t owner) {
    for (auto entry = entries_.begin(); entry != entries_.end();) {
        if (entry->owner == owner) {
            index_.erase(entry->key);
            entry = entries_.erase(entry);
        } else {
            ++entry;
        }
    }
}

} // namespace sluice
