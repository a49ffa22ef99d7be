#include "receiver/landlock.hpp"

#include "common/sanitized.hpp"
#include "common/text.hpp"
#include "common/unique_fd.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <linux/landlock.h>
#include <sys/syscall.h>
#include <system_error>
#include <unistd.h>

namespace sluice {

namespace {

// Versions in which something came, and what the headers of Linux 6.1 (Debian 12) do not have yet:
// the values are those of include/uapi/linux/landlock.h in Linux 6.12.
constexpr int kTruncateVersion = 3; // Linux 6.2
constexpr int kNetworkVersion = 4;  // Linux 6.7
constexpr int kIoctlVersion = 5;    // Linux 6.10
constexpr int kScopeVersion = 6;    // Linux 6.12

constexpr std::uint64_t kAccessTruncate = 1ULL << 14U; // LANDLOCK_ACCESS_FS_TRUNCATE
constexpr std::uint64_t kAccessIoctl = 1ULL << 15U;    // LANDLOCK_ACCESS_FS_IOCTL_DEV
constexpr std::uint64_t kBindTcp = 1ULL << 0U;         // LANDLOCK_ACCESS_NET_BIND_TCP
constexpr std::uint64_t kConnectTcp = 1ULL << 1U;      // LANDLOCK_ACCESS_NET_CONNECT_TCP
constexpr std::uint64_t kScopeAbstract = 1ULL << 0U;   // LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET
constexpr std::uint64_t kScopeSignal = 1ULL << 1U;     // LANDLOCK_SCOPE_SIGNAL

// struct landlock_ruleset_attr as of version 6. Older kernels take a longer one as long as the
// bytes that they do not know are zero.
struct RulesetAttributes {
    std::uint64_t handled_access_fs = 0;
    std::uint64_t handled_access_net = 0;
    std::uint64_t scoped = 0;
};

// All rights of version 2; what is not granted by a rule is forbidden.
constexpr std::uint64_t kBasicAccess = (LANDLOCK_ACCESS_FS_REFER << 1U) - 1U;

constexpr std::uint64_t kDirectoryAccess =
    LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_WRITE_FILE |
    LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_DIR |
    LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SYM | LANDLOCK_ACCESS_FS_REFER |
    kAccessTruncate;
// Enough to open files by their names; what else is there is not to be listed.
constexpr std::uint64_t kReadAccess = LANDLOCK_ACCESS_FS_READ_FILE;

// Read or written by sluice while it works (common/socket_to_file.cpp, receiver/discarder.cpp,
// receiver/resume_journal.cpp). /proc/self/fd is not among them: only chmod(2) goes through it.
constexpr const char* kNullDevice = "/dev/null";
constexpr const char* kBootId = "/proc/sys/kernel/random/boot_id";

RulesetAttributes attributes_of(int version) noexcept {
    RulesetAttributes attributes;
    attributes.handled_access_fs = kBasicAccess |
                                   (version >= kTruncateVersion ? kAccessTruncate : 0) |
                                   (version >= kIoctlVersion ? kAccessIoctl : 0);
    attributes.handled_access_net = version >= kNetworkVersion ? kBindTcp | kConnectTcp : 0;
    attributes.scoped = version >= kScopeVersion ? kScopeAbstract | kScopeSignal : 0;
    return attributes;
}

Error landlock_error(const std::string& what) {
    return system_error(ErrorKind::refused, "cannot set up the sandbox: " + what, errno);
}

Status allow(int ruleset, int parent, std::uint64_t access, const std::string& name) {
    landlock_path_beneath_attr rule{};
    rule.allowed_access = access;
    rule.parent_fd = parent;
    if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) != 0) {
        return landlock_error(fmt::format("no rule for {}", escape(name)));
    }
    return ok();
}

// The same by its name. What does not exist, or cannot be reached, needs no rule.
Status allow_path(int ruleset, const std::string& path, std::uint64_t access) {
    const UniqueFd place = UniqueFd::adopt(open(path.c_str(), O_PATH | O_CLOEXEC));
    if (!place && (errno == ENOENT || errno == EACCES || errno == ENOTDIR)) {
        return ok();
    }
    if (!place) {
        return landlock_error(escape(path));
    }
    return allow(ruleset, place.get(), access, path);
}

// Where the file is when symbolic links have been followed, which is what the kernel asks about,
// and where its name is: below that, another link may lead to the next one.
std::vector<std::string> places_of(const std::string& file) {
    std::error_code ignored;
    std::vector<std::string> places{std::filesystem::absolute(file, ignored).parent_path()};
    if (const auto real = std::filesystem::canonical(file, ignored); !real.empty()) {
        places.push_back(real.parent_path());
    }
    return places;
}

} // namespace

int landlock_version() noexcept {
    const long version =
        syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
    return std::max(static_cast<int>(version), 0);
}

Status restrict_by_landlock(int version, const LandlockAllowance& allowance) {
    const RulesetAttributes attributes = attributes_of(version);
    const UniqueFd ruleset = UniqueFd::adopt(
        static_cast<int>(syscall(SYS_landlock_create_ruleset, &attributes, sizeof attributes, 0)));
    if (!ruleset) {
        return landlock_error("no Landlock ruleset");
    }
    const std::uint64_t known = attributes.handled_access_fs;
    if (allowance.directory >= 0) {
        if (Status done = allow(ruleset.get(), allowance.directory, kDirectoryAccess & known,
                                "the directory");
            !done) {
            return done;
        }
    }
    if (Status done = allow_path(ruleset.get(), kNullDevice,
                                 LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE);
        !done) {
        return done;
    }
    if (Status done = allow_path(ruleset.get(), kBootId, LANDLOCK_ACCESS_FS_READ_FILE); !done) {
        return done;
    }
    for (const std::string& file : allowance.readable) {
        for (const std::string& place : places_of(file)) {
            if (Status done = allow_path(ruleset.get(), place, kReadAccess); !done) {
                return done;
            }
        }
    }
    if (kSanitized) { // the leak check looks at its own threads
        if (Status done = allow_path(ruleset.get(), "/proc",
                                     LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR);
            !done) {
            return done;
        }
    }
    if (syscall(SYS_landlock_restrict_self, ruleset.get(), 0) != 0) {
        return landlock_error("Landlock does not take effect");
    }
    return ok();
}

std::string describe_landlock(int version) {
    std::string text = "files";
    if (version >= kNetworkVersion) {
        text += ", TCP connections";
    }
    if (version >= kScopeVersion) {
        text += ", signals, abstract sockets";
    }
    return text;
}

} // namespace sluice
