// Connecting to whichever of several addresses answers first. connect_tcp() in common/net.hpp is
// what programs want; this is the part of it that comes after the look-up.
#pragma once

#include "common/addresses.hpp"
#include "common/result.hpp"
#include "common/unique_fd.hpp"

#include <chrono>
#include <cstddef>
#include <string>

namespace sluice {

// RFC 8305, section 5: an attempt gets this long before another one is begun beside it.
inline constexpr std::chrono::milliseconds kAttemptDelay{250};
// Of a host with more addresses only so many are tried.
inline constexpr std::size_t kMaxAttempts = 32;

// Tries the addresses in their order: the next one as soon as an attempt fails, or kAttemptDelay
// after the last began. Attempts go on beside each other, and the first to succeed wins; the others
// are closed. Blocks for `timeout` at most; returns early with kind interrupted once `cancel_fd`
// (or -1) is readable. `host` is for the message, which tells the most telling of the errors.
// `congestion`: as for connect_tcp().
[[nodiscard]] Result<UniqueFd> connect_to_any(const SocketAddresses& addresses,
                                              const std::string& host,
                                              std::chrono::milliseconds timeout, int cancel_fd,
                                              const std::string& congestion);

} // namespace sluice
