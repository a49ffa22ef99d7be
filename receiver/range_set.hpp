// Which bytes of a file have arrived: disjoint half-open ranges, merged where they touch.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <map>

namespace sluice {

class RangeSet {
public:
    // Adds [begin, end); overlaps are fine.
    void add(std::uint64_t begin, std::uint64_t end) {
        auto next = ranges_.upper_bound(begin);
        if (next != ranges_.begin() && std::prev(next)->second >= begin) {
            --next;
            begin = next->first;
        }
        while (next != ranges_.end() && next->first <= end) {
            end = std::max(end, next->second);
            next = ranges_.erase(next);
        }
        ranges_.emplace(begin, end);
    }

    [[nodiscard]] bool covers(std::uint64_t size) const noexcept {
        return size == 0 || (ranges_.size() == 1 && ranges_.begin()->first == 0 &&
                             ranges_.begin()->second == size);
    }

    [[nodiscard]] std::size_t pieces() const noexcept { return ranges_.size(); }

private:
    std::map<std::uint64_t, std::uint64_t> ranges_; // begin to end
};

} // namespace sluice
