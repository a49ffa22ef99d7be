// Runs a program with a fault in one of its system calls (tests/fault/inject.cpp), and tells which
// calls it made.
#pragma once

#include "common/sanitized.hpp"
#include "tests/fault/counts.hpp"
#include "tests/support/process.hpp"

#include <cstring>
#include <iostream>
#include <map>
#include <string>
#include <vector>

namespace sluice::test {

// False, and says so for ctest, where nothing can be injected.
inline bool can_inject() {
    if (kSanitized) {
        std::cout << "skipped: a sanitizer wants to be the first library\n";
    }
    return !kSanitized;
}

// Calls by name, as in counts.hpp; those that were not made are absent.
using CallCounts = std::map<std::string, std::uint64_t>;

// For one run of a program, which it must outlive. `what` is "CALL:N:ACTION", or empty to only
// count.
class Injection {
public:
    explicit Injection(std::string what = {}) : what_(std::move(what)) {}

    [[nodiscard]] std::vector<std::string> environment() const {
        std::vector<std::string> variables{
            "LD_PRELOAD=" + program_path("fault/libsluice_inject.so"),
            "SLUICE_INJECT_COUNT=" + directory_.path("counts"),
        };
        if (!what_.empty()) {
            variables.push_back("SLUICE_INJECT=" + what_);
        }
        return variables;
    }
    // So far; also of a program that was killed.
    [[nodiscard]] CallCounts counts() const {
        CallCounts counts;
        const std::string bytes =
            directory_.exists("counts") ? directory_.read_file("counts") : std::string{};
        CountRecord record{};
        for (std::size_t at = 0; at + sizeof record <= bytes.size(); at += sizeof record) {
            std::memcpy(&record, bytes.data() + at, sizeof record);
            if (record.count > 0) {
                counts[record.name] = record.count;
            }
        }
        return counts;
    }
    // How often the fault has come. A KILL is not among them: nobody was left to count.
    [[nodiscard]] std::uint64_t injected() const {
        const CallCounts now = counts();
        const auto found = now.find(kInjected);
        return found == now.end() ? 0 : found->second;
    }

private:
    std::string what_;
    TempDir directory_{TempDir::quick_base()};
};

} // namespace sluice::test
