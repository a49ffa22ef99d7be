// How much memory a program under test has needed at most.
#pragma once

#include "tests/support/process.hpp"

#include <fstream>
#include <string>

namespace sluice::test {

// What each end takes at most, whatever it sends or receives (README).
inline constexpr long kMostResidentKib = 64 * 1024;

// Of a process that runs.
inline long peak_kib(const Process& process) {
    std::ifstream status("/proc/" + std::to_string(process.pid()) + "/status");
    for (std::string line; std::getline(status, line);) {
        if (line.starts_with("VmHWM:")) {
            return std::stol(line.substr(6));
        }
    }
    return 0;
}

} // namespace sluice::test
