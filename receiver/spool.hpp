// Records of any number, kept in the order in which they came: in memory at first, then in a file,
// because there may be millions. append() is thread-safe; for_each() is not, and comes after the
// last append(). Errors are errno values.
#pragma once

#include "common/unique_fd.hpp"

#include <cstdint>
#include <functional>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sluice {

class Spool {
public:
    // `directory` gives the directory in which to make the file `name`, or the negative errno; it
    // is called only once there is more than fits into memory.
    Spool(std::function<int()> directory, std::string name)
        : directory_(std::move(directory)), name_(std::move(name)) {}

    // The two pieces become one record. 0, or the errno of a failed write: then this record is
    // refused, and those before it stay.
    [[nodiscard]] int append(std::string_view head, std::string_view tail);

    // 0, or the errno of a failed read.
    [[nodiscard]] int for_each(const std::function<void(std::string_view record)>& visit) const;

private:
    [[nodiscard]] int spill();

    std::function<int()> directory_;
    const std::string name_;
    std::mutex mutex_;
    std::vector<char> memory_; // each record behind its length
    UniqueFd file_;            // blocks, each behind its length
    std::uint64_t file_bytes_ = 0;
};

} // namespace sluice
