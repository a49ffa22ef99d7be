#include "receiver/key_rights.hpp"

#include "common/text.hpp"

#include <fmt/format.h>
#include <string_view>

namespace sluice {

namespace {

// Of a path in a message, which is to be one line.
constexpr std::size_t kShownPathBytes = 200;

// Whether `path` is `directory`, or below it. Both obey the rules for paths, so that comparing
// characters compares components.
bool is_within(std::string_view path, std::string_view directory) {
    return path.starts_with(directory) &&
           (path.size() == directory.size() || path[directory.size()] == '/');
}

Error refusal(const AccessKey& key, std::string_view what) {
    return {ErrorKind::refused, fmt::format("key '{}' may {}", key.name, what), 0};
}

} // namespace

Result<std::string> permitted_destination(const AccessKey& key, const proto::Open& request) {
    const KeyRights& rights = key.rights;
    const bool dry_run = (request.flags & proto::kOpenDryRun) != 0;
    if (!rights.may_write && !dry_run) {
        return refusal(key, "only look at what a push would do (--dry-run)");
    }
    if (!rights.may_probe && dry_run) {
        return refusal(key, "not learn what is there: leave out --dry-run");
    }
    std::string destination(request.destination);
    if (!rights.directory.empty() && !is_within(destination, rights.directory)) {
        return refusal(
            key,
            fmt::format("only store below {}/, not {}", escape(rights.directory, kShownPathBytes),
                        destination.empty()
                            ? "into the receiver's directory itself"
                            : fmt::format("below '{}'", escape(destination, kShownPathBytes))));
    }
    if (destination == rights.directory && (request.flags & proto::kOpenSingleFile) != 0 &&
        !destination.empty()) {
        destination += '/';
    }
    return destination;
}

} // namespace sluice
