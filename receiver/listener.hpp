// The socket that a receiver accepts on, and who may be let near it.
#pragma once

#include "common/result.hpp"
#include "common/unique_fd.hpp"
#include "receiver/options.hpp"

#include <string>

namespace sluice {

struct Listener {
    UniqueFd socket;
    std::string address; // as local_address() has it
};

// Listens where the options say, or takes over `inherited` (not empty), a socket that does already.
// Kinds: refused (more than loopback can reach it, and the options neither ask for a key nor say
// that this is meant), usage, network.
[[nodiscard]] Result<Listener> open_listener(const ReceiverOptions& options, UniqueFd inherited);

} // namespace sluice
