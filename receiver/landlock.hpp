// Landlock (landlock(7)): what files and sockets this process may ask for, whatever its code has
// been made to do. The second wall behind common/beneath.hpp, which is the first.
//
// It counts for the calling thread and for the threads and programs that it starts afterwards, for
// good. What is open already stays usable. The kernel does not watch chmod(2), chown(2),
// utimensat(2), stat(2) and extended attributes this way.
#pragma once

#include "common/result.hpp"

#include <string>
#include <vector>

namespace sluice {

// What stays allowed. Everything below DIRECTORY but devices, sockets, FIFOs and execution; the
// rest of the file system for nothing; no bind(2), no connect(2) of TCP; no signals and no abstract
// Unix sockets outside.
struct LandlockAllowance {
    int directory = -1; // borrowed, an open directory; -1: nothing may be written
    // Files to be read again later: keys. The files beside each are readable, too: editors put a
    // new file in the place of the old one. They cannot be listed. A directory that does not exist
    // is passed over.
    std::vector<std::string> readable;
};

// The version of the kernel's Landlock (landlock_create_ruleset(2)), and 0 where it has none or it
// was switched off at boot.
[[nodiscard]] int landlock_version() noexcept;

// The oldest of use. Version 1 forbids every rename from one directory to another, and with that
// publishing.
inline constexpr int kMinLandlockVersion = 2; // Linux 5.19

// Puts the calling thread behind it, with all that `version` of Landlock offers: at least
// kMinLandlockVersion, at most landlock_version(). PR_SET_NO_NEW_PRIVS must be set. On error
// nothing has changed.
[[nodiscard]] Status restrict_by_landlock(int version, const LandlockAllowance& allowance);

// What `version` keeps away, for people: "files, TCP connections".
[[nodiscard]] std::string describe_landlock(int version);

} // namespace sluice
