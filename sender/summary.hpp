// The account of a push, for people. Pure.
#pragma once

#include "sender/report.hpp"

#include <string>

namespace sluice {

// A few lines, each ending in a newline: what was sent, which way its bytes took, what it cost.
[[nodiscard]] std::string summary(const SenderReport& report);

} // namespace sluice
