// The walls around a running receiver: Landlock and a filter of system calls, by what the kernel
// has.
//
// To be called by the first thread before there are others, for only those that it starts later
// are inside. Cannot be undone.
#pragma once

#include "common/result.hpp"
#include "receiver/landlock.hpp"
#include "receiver/options.hpp"

#include <string>

namespace sluice {

struct SandboxReport {
    std::string applied; // for people; empty: nothing was
    std::string missing; // what this kernel cannot do; empty: nothing
};

// With SandboxMode::automatic it is no error that the kernel lacks something, only that something
// that it has fails. With `required` the former is one of kind refused. With `off` nothing happens.
[[nodiscard]] Result<SandboxReport> enter_sandbox(SandboxMode mode,
                                                  const LandlockAllowance& allowance);

} // namespace sluice
