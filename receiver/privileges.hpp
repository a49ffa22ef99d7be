// Giving up root's rights for those of a user, once and for all.
//
// To be called before threads are started. glibc would change all of them, but nothing here needs
// it.
#pragma once

#include "common/result.hpp"

#include <string>
#include <sys/types.h>
#include <vector>

namespace sluice {

struct UserIdentity {
    std::string name;
    uid_t user = 0;
    gid_t group = 0; // the primary one
};

// Of the user database. Kind usage: there is no such user.
[[nodiscard]] Result<UserIdentity> find_user(const std::string& name);

// Becomes the user with its primary and supplementary groups, and makes sure that there is no way
// back. Not being root, only the user that one is already is possible, and then nothing happens;
// any other is an error of kind usage. After another error the process may be in between, and
// should end.
[[nodiscard]] Status become_user(const UserIdentity& identity);

[[nodiscard]] bool is_root() noexcept;

} // namespace sluice
