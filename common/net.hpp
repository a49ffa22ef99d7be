// TCP sockets: names, listening, connecting (in connect.cpp), options. The one way to a connection.
//
// Thread-safe; nothing here keeps state. Sockets are returned non-blocking and close-on-exec.
#pragma once

#include "common/result.hpp"
#include "common/unique_fd.hpp"

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sluice {

inline constexpr std::uint16_t kDefaultPort = 7722;

// "127.0.0.1:7722", "[::1]:7722": one end of a connected or listening socket. "?" where the socket
// has none (any more).
[[nodiscard]] std::string local_address(int socket);
[[nodiscard]] std::string peer_address(int socket);
[[nodiscard]] std::uint16_t local_port(int socket);
// The address alone, as connect_tcp() and is_loopback() take it; empty where there is none (any
// more).
[[nodiscard]] std::string local_host(int socket);
[[nodiscard]] std::string peer_host(int socket);
// Whether a connection stays on this machine: the peer's address is a loopback address. False where
// there is none (any more).
[[nodiscard]] bool peer_is_loopback(int socket);
// Whom a peer counts as where connections are counted by where they come from: its IPv4 address, or
// the /64 network of its IPv6 address, of which one host may have any number ("2001:db8::/64").
// Empty where there is none (any more).
[[nodiscard]] std::string peer_network(int socket);
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

// Connects to whichever address of `host` answers first; IPv6 and IPv4 are tried side by side, the
// better one with a head start (RFC 8305; common/connect.hpp). Blocks for `timeout` at most, the
// look-up of the name included; returns early with kind interrupted once `cancel_fd` (or -1) is
// readable.
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

// From now on poll(2) calls the socket readable when it has so many bytes (at least 1), has come to
// its end, or cannot hold more (SO_RCVLOWAT). Reading takes what there is all the same.
void set_low_water_mark(int socket, std::size_t bytes) noexcept;

// The socket takes no more once so many bytes wait in it that have never been sent
// (TCP_NOTSENT_LOWAT); what is under way does not count.
void set_unsent_limit(int socket, std::size_t bytes) noexcept;

// Whether the socket has it from now on. errno otherwise: EPERM, ENOENT.
bool set_congestion(int socket, std::string_view algorithm) noexcept;

// The congestion control of the connections to a peer.
struct CongestionChoice {
    std::string algorithm;
    std::string reason; // for people: why not the system's; empty where it is, or was asked for
};

// Chooses it for connections to the peer of `connected`.
//
// `setting` is an algorithm, or "auto": by the round trip that was measured while connecting.
// - Below kLocalRoundTrip (loopback, a local network) the system's, unless that is BBR, which paces
//   with timers, without the fq qdisc even inside TCP, and reaches an eighth of what the path can
//   do; then cubic, or reno.
// - From kLongRoundTrip on BBR: what is lost on a long path is not always a sign that the path is
//   full, but cubic and reno slow down for it all the same (at 80 ms and 0.1 % to 6 Mbit/s a
//   connection, whatever the path can carry), and take long to come back.
// - In between the system's.
// What this program may not have (net.ipv4.tcp_allowed_congestion_control) is passed over: in the
// end it is the system's. An unknown or forbidden algorithm that was asked for by name is an error
// of kind usage.
inline constexpr std::chrono::microseconds kLocalRoundTrip{1'000};
inline constexpr std::chrono::microseconds kLongRoundTrip{10'000};
[[nodiscard]] Result<CongestionChoice> choose_congestion(int connected, const std::string& setting);

// The algorithms that "auto" prefers to `present`, the best first; empty: none. Pure.
[[nodiscard]] std::vector<std::string_view> better_congestion(std::string_view present,
                                                              std::chrono::microseconds round_trip);

// How a connection gets on (TCP_INFO, struct tcp_info in linux/tcp.h).
struct TcpProgress {
    std::uint64_t acknowledged_bytes = 0; // that the peer's kernel has taken, since it began
    // The shortest lately; kLocalRoundTrip where none has been measured.
    std::chrono::microseconds round_trip{0};
    // The receiver's window has been what limited it, for most of the time it had something to
    // send.
    bool receiver_limited = false;
    bool closed = false; // it was reset, has timed out, or the peer has ended it
};
[[nodiscard]] TcpProgress tcp_progress(int socket) noexcept;

// Waits until `socket` is readable or writable, as asked, or `cancel_fd` is readable.
enum class Wait : unsigned char { ready, cancelled, timed_out };
[[nodiscard]] Wait wait_for_socket(int socket, bool for_writing, int cancel_fd,
                                   std::chrono::milliseconds timeout) noexcept;

} // namespace sluice
