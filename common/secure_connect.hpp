// Connecting, with or without TLS.
#pragma once

#include "common/channel.hpp"
#include "common/result.hpp"
#include "common/tls.hpp"

#include <chrono>
#include <cstdint>
#include <string>

namespace sluice {

// connect_tcp() (common/net.hpp), and then, where `tls` is not null, the handshake, both within
// `timeout`. Errors are those of connect_tcp(), and of kind refused where the peer does not have
// the key, or speaks no TLS.
[[nodiscard]] Result<Channel> connect_channel(const std::string& host, std::uint16_t port,
                                              std::chrono::milliseconds timeout, int cancel_fd,
                                              TlsContext* tls, const std::string& congestion = {});

} // namespace sluice
