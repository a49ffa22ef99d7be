// TUN devices in network namespaces: what a namespace sends out of the device is read here, and
// what is written here comes in there, one IP packet a call, without a header before it.
#pragma once

#include "common/result.hpp"
#include "common/unique_fd.hpp"

#include <string>

namespace sluice::link {

// Creates the device `name` in the namespace that the file `network_namespace` stands for (as
// /run/netns/NAME). It is down, and vanishes with the descriptor, which is non-blocking. The
// calling thread enters the namespace meanwhile. Needs CAP_SYS_ADMIN and CAP_NET_ADMIN.
[[nodiscard]] Result<UniqueFd> create_tun(const std::string& network_namespace,
                                          const std::string& name);

} // namespace sluice::link
