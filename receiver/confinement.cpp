#include "receiver/confinement.hpp"

#include "common/log.hpp"
#include "common/text.hpp"
#include "receiver/key_ring.hpp"
#include "receiver/privileges.hpp"
#include "receiver/sandbox.hpp"

#include <algorithm>
#include <filesystem>
#include <fmt/format.h>
#include <string>
#include <system_error>

namespace sluice {

namespace {

// Both exist. Links are followed: it matters where the file is.
bool lies_below(const std::string& file, const std::string& directory) {
    std::error_code trouble;
    const auto place = std::filesystem::canonical(file, trouble);
    const auto above = std::filesystem::canonical(directory, trouble);
    if (trouble || place.empty()) {
        return false;
    }
    return std::mismatch(above.begin(), above.end(), place.begin(), place.end()).first ==
           above.end();
}

} // namespace

Status drop_privileges(const ReceiverOptions& options) {
    if (options.user.empty()) {
        return ok();
    }
    const Result<UserIdentity> identity = find_user(options.user);
    if (!identity) {
        return identity.error();
    }
    return become_user(*identity);
}

Status confine(const ReceiverOptions& options, int directory, ReceiverObserver& observer) {
    LandlockAllowance allowance{directory, {}};
    if (options.keys && directory >= 0 && lies_below(options.keys->file(), options.directory)) {
        return Error{ErrorKind::refused,
                     fmt::format("the key file {} lies below {}, where whoever may push could put "
                                 "another in its place: move it elsewhere",
                                 escape(options.keys->file()), escape(options.directory))};
    }
    if (options.keys) {
        allowance.readable.push_back(options.keys->file());
    }
    const Result<SandboxReport> report = enter_sandbox(options.sandbox, allowance);
    if (!report) {
        return report.error();
    }
    if (is_root() && options.user.empty()) {
        log_warning("running as root: --user NAME gives its rights up for those of NAME");
    }
    if (!report->missing.empty()) {
        observer.notice("going on without a full sandbox: " + report->missing);
    }
    if (!report->applied.empty()) {
        log_verbose("sandbox: " + report->applied);
    }
    return ok();
}

} // namespace sluice
