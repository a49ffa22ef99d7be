// The socket that a receiver accepts on, and who may be let near it.
#pragma once

#include "common/result.hpp"
#include "common/unique_fd.hpp"
#include "receiver/options.hpp"

namespace sluice {

// Listens where the options say, or takes over `inherited` (not empty), a socket that does already.
// Its address can be found out. Kinds: refused (more than loopback can reach it, and the options
// neither ask for a key nor say that this is meant), usage, network.
[[nodiscard]] Result<UniqueFd> open_listener(const ReceiverOptions& options, UniqueFd inherited);

} // namespace sluice
