#include "receiver/sandbox.hpp"

#include "receiver/call_filter.hpp"

#include <algorithm>
#include <ctime>
#include <fmt/format.h>

namespace sluice {

namespace {

// What this was written against; what later versions add is not asked for.
constexpr int kMaxLandlockVersion = 6;

std::string explain_missing(int landlock, bool filters) {
    std::string text;
    if (landlock == 0) {
        text = "this kernel has no Landlock (Linux 5.19 and later do, unless it is switched off at "
               "boot)";
    } else if (landlock < kMinLandlockVersion) {
        text = "this kernel's Landlock is too old to allow moving files between directories (Linux "
               "5.19 and later do)";
    }
    if (!filters) {
        text += text.empty() ? "this kernel has no system call filters" : ", nor call filters";
    }
    return text;
}

} // namespace

Result<SandboxReport> enter_sandbox(SandboxMode mode, const LandlockAllowance& allowance) {
    SandboxReport report;
    if (mode == SandboxMode::off) {
        return report;
    }
    const int landlock = landlock_version();
    const bool filters = has_call_filters();
    report.missing = explain_missing(landlock, filters);
    if (mode == SandboxMode::required && !report.missing.empty()) {
        return Error{ErrorKind::refused, fmt::format("--sandbox require: {}", report.missing)};
    }
    // Reads /etc/localtime, which the times in the log need, while that can be read.
    tzset();
    if (landlock >= kMinLandlockVersion) {
        const int version = std::min(landlock, kMaxLandlockVersion);
        if (Status done = restrict_by_landlock(version, allowance); !done) {
            return std::move(done).error();
        }
        report.applied =
            fmt::format("Landlock {} of {} ({})", version, landlock, describe_landlock(version));
    }
    if (filters) {
        const Result<std::size_t> count = forbid_calls();
        if (!count) {
            return count.error();
        }
        report.applied +=
            fmt::format("{}{} system calls forbidden", report.applied.empty() ? "" : ", ", *count);
    }
    return report;
}

} // namespace sluice
