// A seccomp filter (seccomp(2), by libseccomp): system calls that a receiver never needs once it
// runs, and that are worth most to whoever makes it run other code.
//
// It is a list of what is forbidden, not of what is allowed. Such a list has gaps; but it does not
// break with the next C library, libuv or OpenSSL, which would cost more users their sandbox
// than the gaps do. It stands beside Landlock, which allows by list, and covers what Landlock does
// not: execution, new sockets where the kernel's Landlock knows no network, other processes, the
// kernel's own services.
#pragma once

#include "common/result.hpp"

#include <cstddef>

namespace sluice {

// Whether the kernel has filters (CONFIG_SECCOMP_FILTER).
[[nodiscard]] bool has_call_filters() noexcept;

// From now on these calls fail with EPERM (clone3 and io_uring with ENOSYS, which libraries know
// how to answer) on the calling thread and on those that it starts afterwards, for good. Calls of
// another ABI (32 bit, x32) end the process. The number of calls that are forbidden. On error
// nothing has changed.
[[nodiscard]] Result<std::size_t> forbid_calls();

} // namespace sluice
