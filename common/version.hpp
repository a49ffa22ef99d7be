// What this build calls itself, on the wire, in logs and with --version.
#pragma once

#include <string_view>

namespace sluice {

inline constexpr std::string_view kVersionNumber = SLUICE_VERSION;
inline constexpr std::string_view kSoftwareName = "sluice " SLUICE_VERSION;

} // namespace sluice
