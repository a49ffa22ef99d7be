// What people call the ways that file bytes take through one end.
#pragma once

#include "common/security.hpp"
#include "common/usage.hpp"

#include <optional>
#include <string_view>

namespace sluice {

struct Ways {
    std::string_view zero_copy; // "sendfile", "splice"; with "+ktls" where the kernel (de|en)crypts
    std::string_view copied;    // "copied"; "copy+tls" through OpenSSL
};

// By the level at which the data travels.
[[nodiscard]] Ways sending_ways(Security level) noexcept;
[[nodiscard]] Ways receiving_ways(Security level) noexcept;

// The way that most of the content of large files took; nullopt where there was none.
[[nodiscard]] std::optional<std::string_view> main_way(const PathBytes& bytes,
                                                       const Ways& ways) noexcept;

} // namespace sluice
