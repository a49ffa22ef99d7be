// From the name of a host to the addresses that can be connected to or listened on.
//
// Thread-safe; nothing here keeps state.
#pragma once

#include "common/result.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <sys/socket.h>
#include <vector>

namespace sluice {

// An IPv4 or IPv6 address with its port.
struct SocketAddress {
    sockaddr_storage storage{};
    socklen_t length = 0;

    [[nodiscard]] int family() const noexcept { return storage.ss_family; }
    // For the system calls, all of which take it in this form.
    [[nodiscard]] const sockaddr* get() const noexcept {
        return reinterpret_cast<const sockaddr*>(&storage);
    }
};
using SocketAddresses = std::vector<SocketAddress>;

// "127.0.0.1:7722", "[fe80::1%eth0]:7722"; "?" for what is none.
[[nodiscard]] std::string format_address(const SocketAddress& address);

// What `host` (a name or a numeric address) stands for, the best first (RFC 6724, gai.conf(5)); at
// least one address. Blocks for as long as the resolver likes, unless `host` is numeric. `passive`:
// to listen on.
[[nodiscard]] Result<SocketAddresses> resolve(const std::string& host, std::uint16_t port,
                                              bool passive);

// The same with an end to it: after `timeout` (kind timed_out), or once `cancel_fd` (or -1) is
// readable (kind interrupted). getaddrinfo(3) cannot be stopped, so it runs on a thread of its own,
// which is left to itself in these cases and ends when the resolver gives up. `lookup` does the
// work of resolve(host, port, false); a copy of it may outlive the call.
using Lookup = std::function<Result<SocketAddresses>()>;
[[nodiscard]] Result<SocketAddresses> resolve_within(const std::string& host, const Lookup& lookup,
                                                     std::chrono::milliseconds timeout,
                                                     int cancel_fd);

// The addresses in the order in which to try them (RFC 8305, section 4): the families take turns,
// beginning with that of the first; within a family the order stays.
[[nodiscard]] SocketAddresses take_turns(const SocketAddresses& addresses);

} // namespace sluice
