// Which names may appear on the wire. Purely syntactic: whether a name leads out of the receiver's
// directory through a symbolic link is decided by the kernel when the name is opened
// (common/beneath.hpp). Thread-safe, allocates nothing.
#pragma once

#include "proto/fault.hpp"

#include <string_view>

namespace sluice::proto {

// First component that only the receiver itself may use: its work area.
inline constexpr std::string_view kReservedName = ".sluice";

// Accepts a relative path of one or more components separated by single slashes: no component is
// empty, "." or "..", none is longer than kMaxNameBytes, the whole is not longer than
// kMaxPathBytes and holds no NUL, and the first component is not kReservedName.
[[nodiscard]] Fault check_path(std::string_view path) noexcept;

} // namespace sluice::proto
