// The steps of Receiver::start() that take rights away from the whole process, with what the
// operator hears of them.
//
// Before threads are started. What fails is an error: a receiver does not go on with more rights
// than it was told to have.
#pragma once

#include "common/result.hpp"
#include "receiver/options.hpp"
#include "receiver/report.hpp"

namespace sluice {

// ReceiverOptions::user.
[[nodiscard]] Status drop_privileges(const ReceiverOptions& options);

// ReceiverOptions::sandbox. `directory`: the only one that stays writable, or -1. Refuses a key
// file below it, and one whose path or links lead through it, in a sandbox or not. Reads the keys
// once more, to find out whether that still works: where not, it is said, and SandboxMode::required
// refuses. Says what is less than it might be: a kernel that cannot, or
// root's rights kept unasked.
[[nodiscard]] Status confine(const ReceiverOptions& options, int directory,
                             ReceiverObserver& observer);

} // namespace sluice
