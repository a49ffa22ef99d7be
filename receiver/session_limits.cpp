#include "receiver/session_limits.hpp"

#include "common/text.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace sluice {

namespace {

// Of a path in a message, which is to be one line.
constexpr std::size_t kShownPathBytes = 200;

} // namespace

std::size_t depth_of(std::string_view path) noexcept {
    return path.empty() ? 0
                        : 1 + static_cast<std::size_t>(std::count(path.begin(), path.end(), '/'));
}

SessionLimits limited_by(SessionLimits limits, const KeyRights& rights) noexcept {
    const auto narrow = [](std::uint64_t& limit, std::uint64_t other) {
        const bool narrower = other != 0 && (limit == 0 || other < limit);
        limit = narrower ? other : limit;
        return narrower;
    };
    limits.files_of_key = narrow(limits.max_files, rights.max_files);
    limits.bytes_of_key = narrow(limits.max_bytes, rights.max_bytes);
    return limits;
}

std::optional<Error> SessionQuota::take(std::string_view path, std::uint64_t bytes) {
    if (depth_of(path) > limits_.max_depth) {
        return Error{ErrorKind::refused,
                     fmt::format("'{}' is nested deeper than {} levels, the receiver's limit "
                                 "(--max-depth)",
                                 escape(path, kShownPathBytes), limits_.max_depth)};
    }
    if (limits_.max_files != 0 &&
        files_.fetch_add(1, std::memory_order_relaxed) >= limits_.max_files) {
        return Error{ErrorKind::refused,
                     fmt::format("more than {} files, directories and links in one session, {}",
                                 format_count(limits_.max_files),
                                 limits_.files_of_key ? "the limit of this key"
                                                      : "the receiver's limit (--max-files)")};
    }
    // A file may announce any size below 2^63, so the sum must not wrap: what is above the limit is
    // not added.
    if (limits_.max_bytes != 0 &&
        (bytes > limits_.max_bytes ||
         bytes_.fetch_add(bytes, std::memory_order_relaxed) > limits_.max_bytes - bytes)) {
        return Error{ErrorKind::refused,
                     fmt::format("more than {} in one session, {}", format_bytes(limits_.max_bytes),
                                 limits_.bytes_of_key ? "the limit of this key"
                                                      : "the receiver's limit (--max-bytes)")};
    }
    return std::nullopt;
}

} // namespace sluice
