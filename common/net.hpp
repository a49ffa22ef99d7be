// TCP sockets: names, listening, connecting, options. The one place that makes connections.
//
// Thread-safe; nothing here keeps state. Sockets are returned non-blocking and close-on-exec.
#pragma once

#include "common/result.hpp"
#include "common/unique_fd.hpp"

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace sluice {

inline constexpr std::uint16_t kDefaultPort = 7722;

// "127.0.0.1:7722", "[::1]:7722": one end of a connected or listening socket. "?" where the socket
// has none (any more).
[[nodiscard]] std::string local_address(int socket);
[[nodiscard]] std::string peer_address(int socket);
[[nodiscard]] std::uint16_t local_port(int socket);
// The peer's address alone, as connect_tcp() takes it; empty where there is none (any more).
[[nodiscard]] std::string peer_host(int socket);
// "HOST:PORT", with brackets around an IPv6 address.
[[nodiscard]] std::string format_host_and_port(const std::string& host, std::uint16_t port);

// Listens on `address` (a name or a numeric address) and `port`, 0 for any free one. Several
// addresses behind one name: the first that works.
[[nodiscard]] Result<UniqueFd> listen_tcp(const std::string& address, std::uint16_t port);

// Whether everything that `address` resolves to is a loopback address. An address that does not
// resolve is an error of kind usage.
[[nodiscard]] Result<bool> is_loopback(const std::string& address);

// The next waiting connection; an Error with error_number EAGAIN where there is none.
[[nodiscard]] Result<UniqueFd> accept_tcp(int listener);

// Connects to the first address of `host` that answers, giving each its share of `timeout`.
// Blocks; returns early with kind interrupted once `cancel_fd` (or -1) is readable.
//
// `congestion` (empty: the system's) is set before connecting. Afterwards is too late to get rid of
// BBR: it turns pacing on for the socket, and that stays on under its successor
// (sk_pacing_status; seen on Linux 6.18, where it costs 0.3 s of CPU for 2 GiB on loopback).
[[nodiscard]] Result<UniqueFd> connect_tcp(const std::string& host, std::uint16_t port,
                                           std::chrono::milliseconds timeout, int cancel_fd,
                                           const std::string& congestion = {});

// Options that every sluice connection wants: no Nagle delay (every write is a whole message, or
// says MSG_MORE), keep-alive probes so that a vanished peer is noticed.
void set_common_options(int socket) noexcept;

// Picks the congestion control for connections to the peer of `connected`, by name.
//
// `setting` is an algorithm, or "auto": the system's choice, unless that is BBR on a path with a
// round trip below a millisecond (loopback, a local network). There BBR paces with timers, without
// the fq qdisc even inside TCP, and reaches an eighth of what the path can do; cubic replaces it,
// or reno, where an unprivileged program may not have cubic
// (net.ipv4.tcp_allowed_congestion_control). On long paths BBR is the better choice and stays. An
// unknown or forbidden algorithm that was asked for by name is an error of kind usage.
[[nodiscard]] Result<std::string> choose_congestion(int connected, const std::string& setting);

// How a connection gets on (TCP_INFO, struct tcp_info in linux/tcp.h).
struct TcpProgress {
    std::uint64_t acknowledged_bytes = 0; // that the peer's kernel has taken, since it began
    bool closed = false;                  // it was reset, has timed out, or the peer has ended it
};
[[nodiscard]] TcpProgress tcp_progress(int socket) noexcept;

// Waits until `socket` is readable or writable, as asked, or `cancel_fd` is readable.
enum class Wait : unsigned char { ready, cancelled, timed_out };
[[nodiscard]] Wait wait_for_socket(int socket, bool for_writing, int cancel_fd,
                                   std::chrono::milliseconds timeout) noexcept;

} // namespace sluice
