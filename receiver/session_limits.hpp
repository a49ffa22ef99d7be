// How much one session may bring. These are the receiver's own limits, which its operator sets;
// what no session may do under the protocol is in proto/limits.hpp.
#pragma once

#include "common/access_key.hpp"
#include "common/result.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace sluice {

struct SessionLimits {
    std::uint64_t max_files = 0; // files, directories and links together; 0: any number
    std::uint64_t max_bytes = 0; // of the sizes of the files; 0: any number
    // Components of a path below the destination. Each level costs a look-up, and a descriptor
    // while a tree is merged; 512 levels are more than trees of people have.
    std::size_t max_depth = 512;
    // Bytes per second, averaged over the time-out, that a frame or a payload must make once it has
    // begun; 0: it may take its time.
    std::uint64_t min_rate = 0;
    // Whose limits these are, for what the sender is told.
    bool files_of_key = false;
    bool bytes_of_key = false;
};

// With those of a key, where they are narrower.
[[nodiscard]] SessionLimits limited_by(SessionLimits limits, const KeyRights& rights) noexcept;

// What a session has brought so far. Counts what is sent, also what is not stored, and what is sent
// again after a connection was lost. Thread-safe.
class SessionQuota {
public:
    explicit SessionQuota(const SessionLimits& limits) noexcept : limits_(limits) {}

    // One more file, directory or link. An Error of kind refused where that is too much.
    [[nodiscard]] std::optional<Error> take(std::string_view path, std::uint64_t bytes);
    [[nodiscard]] const SessionLimits& limits() const noexcept { return limits_; }

private:
    const SessionLimits limits_;
    std::atomic<std::uint64_t> files_{0};
    std::atomic<std::uint64_t> bytes_{0};
};

// Components of a path.
[[nodiscard]] std::size_t depth_of(std::string_view path) noexcept;

} // namespace sluice
