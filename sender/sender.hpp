// The sending engine: pushes sources to a receiver and says what became of it.
//
//     Sender sender(options, observer);
//     SenderReport report = sender.run();
//
// run() belongs to one thread, which also runs the observer; stop() may be called from any thread.
#pragma once

#include "sender/options.hpp"
#include "sender/report.hpp"

#include <memory>

namespace sluice {

class Sender {
public:
    // `observer` is borrowed and outlives the sender.
    Sender(SenderOptions options, SenderObserver& observer);
    ~Sender();
    Sender(const Sender&) = delete;
    Sender& operator=(const Sender&) = delete;

    // Once. Returns when the receiver has confirmed that everything is published, or when that can
    // no longer be: SenderReport::exit_code says which. With `handle_signals`, SIGINT, SIGTERM
    // and SIGHUP call stop().
    [[nodiscard]] SenderReport run(bool handle_signals);

    // Gives up; run() returns with exit code interrupted.
    void stop();

private:
    class Engine;
    std::unique_ptr<Engine> engine_;
};

} // namespace sluice
