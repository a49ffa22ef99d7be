// What systemd, or another service manager that speaks its protocols, hands a receiver and wants to
// hear from it: sd_listen_fds(3) and sd_notify(3). Both are a handful of environment variables, a
// descriptor and a datagram, stable by promise (https://systemd.io/PORTABILITY_AND_STABILITY/), and
// less than a dependency on libsystemd.
//
// All of it belongs to the first thread, before there are others: it changes the environment.
#pragma once

#include "common/result.hpp"
#include "common/unique_fd.hpp"

#include <string>
#include <sys/types.h>

namespace sluice {

// What LISTEN_PID and LISTEN_FDS say to the process `self`; null: not set. The number of sockets,
// 0 where they are not meant for us. Pure. An error of kind usage where there is not exactly one.
[[nodiscard]] Result<int> count_inherited_sockets(const char* listen_pid, const char* listen_fds,
                                                  pid_t self);

// The listening socket that this process was started with, closed on exec and non-blocking from
// now on; empty where there is none. Kind usage: it is not one TCP socket that listens, or the
// options name an address as well (`address_given`). Nobody further down inherits the variables.
[[nodiscard]] Result<UniqueFd> take_inherited_socket(bool address_given);

// The checks of it. `socket` is taken in any case.
[[nodiscard]] Result<UniqueFd> adopt_listener(int socket);

// Tells the service manager how it goes; does nothing where there is none. The socket is opened at
// once, because later the sandbox would not allow it.
class ServiceNotifier {
public:
    // Takes NOTIFY_SOCKET out of the environment.
    ServiceNotifier();

    // "READY=1". That nobody hears it is no reason to stop.
    void ready() const noexcept;

private:
    UniqueFd socket_;
};

} // namespace sluice
