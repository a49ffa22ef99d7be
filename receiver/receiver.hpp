// The receiving engine: a listener that serves many sessions at once, until it is stopped.
//
//     Receiver receiver(options, observer);
//     if (Status started = receiver.start(); !started) ...
//     ExitCode code = receiver.run();       // returns after stop(), or after one session
//
// start() and run() belong to one thread; stop() and reload_keys() may be called from any thread.
#pragma once

#include "common/exit_code.hpp"
#include "common/result.hpp"
#include "common/unique_fd.hpp"
#include "receiver/options.hpp"
#include "receiver/report.hpp"

#include <memory>

namespace sluice {

class Receiver {
public:
    // `observer` is borrowed and outlives the receiver.
    Receiver(ReceiverOptions options, ReceiverObserver& observer);
    ~Receiver();
    Receiver(const Receiver&) = delete;
    Receiver& operator=(const Receiver&) = delete;

    // Listens, or takes over `inherited`, a socket that does already; becomes the user and enters
    // the sandbox that the options ask for; opens the directory and sweeps what dead receivers left
    // in it. Kinds: usage, refused, file_io, network.
    [[nodiscard]] Status start(UniqueFd inherited = {});

    // Serves. With `handle_signals`, SIGINT and SIGTERM call stop(). Returns done, or, where
    // sessions had to be abandoned, interrupted; with ReceiverOptions::once the session's own
    // result.
    [[nodiscard]] ExitCode run(bool handle_signals);

    // The first call stops listening and lets sessions go on for ReceiverOptions::stop_grace; the
    // second abandons them.
    void stop();

    // Reads the key file again (ReceiverOptions::keys); sessions of keys that are no longer in it
    // end. With `handle_signals` SIGHUP does this. May be called from any thread.
    void reload_keys();

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

} // namespace sluice
