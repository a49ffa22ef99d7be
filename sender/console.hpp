// Tells people (lines on stderr, a progress line on a terminal) or programs (JSON on stdout) how a
// push goes.
#pragma once

#include "common/log.hpp"
#include "sender/report.hpp"

#include <memory>

namespace sluice {

[[nodiscard]] std::unique_ptr<SenderObserver> make_console_observer(LogLevel level);

// One JSON object per line on stdout; the events are described in ARCHITECTURE.md, "Events".
// Warnings and errors go to stderr as well.
[[nodiscard]] std::unique_ptr<SenderObserver> make_json_observer();

} // namespace sluice
