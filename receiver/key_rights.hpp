// What the rights of a key make of what its holder asks for. Pure functions.
#pragma once

#include "common/access_key.hpp"
#include "common/result.hpp"
#include "proto/messages.hpp"

#include <string>

namespace sluice {

// Where a session goes that the holder of `key` asks for: the destination of the request, unless
// that names the key's own directory as if it were a file; then a file goes into it. An Error of
// kind refused where the key does not allow what is asked for.
[[nodiscard]] Result<std::string> permitted_destination(const AccessKey& key,
                                                        const proto::Open& request);

} // namespace sluice
