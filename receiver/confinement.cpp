#include "receiver/confinement.hpp"

#include "common/log.hpp"
#include "common/text.hpp"
#include "receiver/key_ring.hpp"
#include "receiver/privileges.hpp"
#include "receiver/sandbox.hpp"

#include <algorithm>
#include <deque>
#include <filesystem>
#include <fmt/format.h>
#include <string>
#include <system_error>
#include <utility>

namespace sluice {

namespace {

namespace fs = std::filesystem;

constexpr int kMaxLinks =
    40; // of one path; with more the kernel opens nothing (path_resolution(7))

bool is_below(const fs::path& place, const fs::path& above) {
    return std::mismatch(above.begin(), above.end(), place.begin(), place.end()).first ==
           above.end();
}

// Whether any name that leads to the file, those in symbolic links included, is that of an entry of
// the directory or of one below it: whoever can write there can lead it elsewhere.
bool leads_through(const std::string& file, const std::string& directory) {
    std::error_code trouble;
    const fs::path above = fs::canonical(directory, trouble);
    const fs::path whole = fs::absolute(file, trouble);
    if (trouble) {
        return false;
    }
    std::deque<fs::path> ahead(whole.begin(), whole.end());
    fs::path place; // without links
    for (int links = 0; !ahead.empty() && links <= kMaxLinks;) {
        const fs::path name = std::move(ahead.front());
        ahead.pop_front();
        if (name.has_root_directory()) {
            place = name;
        } else if (name == "..") {
            place = place.parent_path();
        } else if (!name.empty() && name != ".") {
            if (is_below(place, above)) {
                return true;
            }
            const fs::path target = fs::read_symlink(place / name, trouble);
            if (trouble) { // no link
                place /= name;
            } else {
                ahead.insert(ahead.begin(), target.begin(), target.end());
                ++links;
            }
        }
    }
    return false;
}

// SIGHUP must take keys away, not only add them. Those that were read as root may be out of reach
// of the user that this has become.
Status check_reload(const ReceiverOptions& options, ReceiverObserver& observer) {
    const Status reloaded = options.keys->reload();
    if (reloaded) {
        return ok();
    }
    const std::string what =
        fmt::format("SIGHUP will not be able to read the keys again, so revoking one takes a "
                    "restart: {}",
                    reloaded.error().message);
    if (options.sandbox == SandboxMode::required) {
        return Error{ErrorKind::refused, "--sandbox require: " + what};
    }
    observer.notice(what);
    return ok();
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
    if (options.keys && directory >= 0 && leads_through(options.keys->file(), options.directory)) {
        return Error{ErrorKind::refused,
                     fmt::format("the key file {} lies below {}, or a name that leads to it does, "
                                 "where whoever may push could put another in its place: move it "
                                 "elsewhere",
                                 shown_path(options.keys->file()), escape(options.directory))};
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
    return options.keys ? check_reload(options, observer) : ok();
}

} // namespace sluice
