#include "receiver/privileges.hpp"

#include "common/hardening.hpp"
#include "common/text.hpp"

#include <array>
#include <cerrno>
#include <fmt/format.h>
#include <grp.h>
#include <pwd.h>
#include <unistd.h>

namespace sluice {

namespace {

// Of one entry of the user database; more than any that is known (sysconf(3) suggests 1 KiB).
constexpr std::size_t kMaxEntryBytes = std::size_t{64} << 10;

Error drop_error(const UserIdentity& identity, const char* step) {
    return system_error(ErrorKind::refused,
                        fmt::format("--user: cannot become '{}': {}", escape(identity.name), step),
                        errno);
}

bool is_wholly(const UserIdentity& identity) {
    uid_t user = 0;
    uid_t effective_user = 0;
    uid_t saved_user = 0;
    gid_t group = 0;
    gid_t effective_group = 0;
    gid_t saved_group = 0;
    return getresuid(&user, &effective_user, &saved_user) == 0 &&
           getresgid(&group, &effective_group, &saved_group) == 0 && user == identity.user &&
           effective_user == identity.user && saved_user == identity.user &&
           group == identity.group && effective_group == identity.group &&
           saved_group == identity.group;
}

// Capabilities may outlive the change of the user (capabilities(7), SECBIT_KEEP_CAPS), and then
// these would work.
bool can_come_back(const UserIdentity& identity) {
    return identity.user != 0 && (setresuid(0, 0, 0) == 0 || setresgid(0, 0, 0) == 0);
}

} // namespace

bool is_root() noexcept {
    return geteuid() == 0;
}

Result<UserIdentity> find_user(const std::string& name) {
    std::vector<char> buffer(kMaxEntryBytes);
    passwd entry{};
    passwd* found = nullptr;
    const int error = getpwnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found);
    if (found == nullptr && error != 0) {
        return system_error(ErrorKind::usage,
                            fmt::format("--user: cannot look up '{}'", escape(name)), error);
    }
    if (found == nullptr) {
        return Error{ErrorKind::usage,
                     fmt::format("--user: there is no user '{}' here", escape(name))};
    }
    return UserIdentity{name, found->pw_uid, found->pw_gid};
}

Status become_user(const UserIdentity& identity) {
    if (!is_root()) {
        if (identity.user == geteuid()) {
            return ok();
        }
        return Error{ErrorKind::usage,
                     fmt::format("--user: only root can become '{}'", escape(identity.name))};
    }
    // The groups first: afterwards they could not be changed any more.
    if (initgroups(identity.name.c_str(), identity.group) != 0) {
        return drop_error(identity, "groups");
    }
    if (setresgid(identity.group, identity.group, identity.group) != 0) {
        return drop_error(identity, "group");
    }
    if (setresuid(identity.user, identity.user, identity.user) != 0) {
        return drop_error(identity, "user");
    }
    if (!is_wholly(identity) || can_come_back(identity)) {
        return Error{ErrorKind::refused,
                     fmt::format("--user: the way back from '{}' to root is not closed",
                                 escape(identity.name))};
    }
    return hide_process();
}

} // namespace sluice
