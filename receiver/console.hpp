// Tells people (log lines on stderr) or programs (JSON on stdout) what the receiver does.
#pragma once

#include "receiver/report.hpp"

#include <memory>

namespace sluice {

// Lines for people: "listening on ADDR:PORT", then one for each session that ended.
[[nodiscard]] std::unique_ptr<ReceiverObserver> make_console_observer();

// One JSON object per line on stdout; the events are described in ARCHITECTURE.md, "Events".
// Also writes what make_console_observer would write.
[[nodiscard]] std::unique_ptr<ReceiverObserver> make_json_observer();

} // namespace sluice
