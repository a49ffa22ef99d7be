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

    // Every byte of [begin, end) is in the set; an empty range always is.
    [[nodiscard]] bool contains(std::uint64_t begin, std::uint64_t end) const noexcept {
        if (begin >= end) {
            return true;
        }
        const auto next = ranges_.upper_bound(begin);
        return next != ranges_.begin() && std::prev(next)->second >= end;
    }

    // Some byte of [begin, end) is in the set; touching is not overlapping.
    [[nodiscard]] bool overlaps(std::uint64_t begin, std::uint64_t end) const noexcept {
        const auto next = ranges_.lower_bound(end);
        return begin < end && next != ranges_.begin() && std::prev(next)->second > begin;
    }

    // How many bytes are in the set. Walks it.
    [[nodiscard]] std::uint64_t bytes() const noexcept {
        std::uint64_t sum = 0;
        for (const auto& [begin, end] : ranges_) {
            sum += end - begin;
        }
        return sum;
    }

    [[nodiscard]] std::size_t pieces() const noexcept { return ranges_.size(); }

    // Begin to end, in order; none touches the next.
    [[nodiscard]] const std::map<std::uint64_t, std::uint64_t>& ranges() const noexcept {
        return ranges_;
    }

private:
    std::map<std::uint64_t, std::uint64_t> ranges_; // begin to end
};

} // namespace sluice
