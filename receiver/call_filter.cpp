#include "receiver/call_filter.hpp"

#include "common/sanitized.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <seccomp.h>
#include <string_view>
#include <sys/prctl.h>

namespace sluice {

namespace {

// By name: on an architecture without one of them there is nothing to forbid.
constexpr std::array kForbidden{
    // Other programs.
    "execve",
    "execveat",
    // Other processes.
    "kcmp",
    "pidfd_getfd",
    "pidfd_open",
    "pidfd_send_signal",
    "process_madvise",
    "process_mrelease",
    "process_vm_readv",
    "process_vm_writev",
    "ptrace",
    // Sockets: the only one there is to be is open.
    "bind",
    "connect",
    "listen",
    "socket",
    // Other users. Ownership is not kept, nor are extended attributes.
    "capset",
    "chown",
    "fchown",
    "fchownat",
    "fremovexattr",
    "fsetxattr",
    "lchown",
    "lremovexattr",
    "lsetxattr",
    "removexattr",
    "setfsgid",
    "setfsuid",
    "setgid",
    "setgroups",
    "setregid",
    "setresgid",
    "setresuid",
    "setreuid",
    "setuid",
    "setxattr",
    // Mounts, namespaces and files that are not found by their names.
    "chroot",
    "fanotify_init",
    "fsconfig",
    "fsmount",
    "fsopen",
    "fspick",
    "link",
    "linkat",
    "mknod",
    "mknodat",
    "mount",
    "mount_setattr",
    "move_mount",
    "name_to_handle_at",
    "open_by_handle_at",
    "open_tree",
    "pivot_root",
    "setns",
    "umount2",
    "unshare",
    // The kernel itself.
    "acct",
    "add_key",
    "adjtimex",
    "bpf",
    "clock_adjtime",
    "clock_settime",
    "delete_module",
    "finit_module",
    "init_module",
    "ioperm",
    "iopl",
    "kexec_file_load",
    "kexec_load",
    "keyctl",
    "lookup_dcookie",
    "modify_ldt",
    "perf_event_open",
    "personality",
    "quotactl",
    "quotactl_fd",
    "reboot",
    "request_key",
    "setdomainname",
    "sethostname",
    "settimeofday",
    "swapoff",
    "swapon",
    "syslog",
    "userfaultfd",
    "vhangup",
};
// "There is no such call" makes libraries do without.
constexpr std::array kAbsent{
    "io_uring_enter",
    "io_uring_register",
    "io_uring_setup",
};
constexpr std::array kUsedBySanitizers{"execve", "ptrace", "socket", "personality"};

struct ReleaseFilter {
    void operator()(void* filter) const noexcept { seccomp_release(filter); }
};
using Filter = std::unique_ptr<void, ReleaseFilter>;

bool is_used_by_sanitizers(std::string_view name) {
    return std::find(kUsedBySanitizers.begin(), kUsedBySanitizers.end(), name) !=
           kUsedBySanitizers.end();
}

Error filter_error(int result) {
    return system_error(ErrorKind::refused, "cannot set up the sandbox: no system call filter",
                        -result); // libseccomp returns the negative errno
}

// 0, or the negative errno; `count` grows where the call exists.
int forbid(const Filter& filter, const char* name, int error, std::size_t& count) {
    const int number = seccomp_syscall_resolve_name(name);
    if (number < 0 || (kSanitized && is_used_by_sanitizers(name))) {
        return 0; // unknown to this architecture, or to this version of libseccomp
    }
    ++count;
    return seccomp_rule_add(filter.get(), SCMP_ACT_ERRNO(static_cast<unsigned>(error)), number, 0);
}

} // namespace

bool has_call_filters() noexcept {
    // With no filter to load: EFAULT where filters are known, EINVAL where not (prctl(2)).
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, nullptr, 0, 0) != 0 && errno == EFAULT;
}

Result<std::size_t> forbid_calls() {
    const Filter filter(seccomp_init(SCMP_ACT_ALLOW));
    if (!filter) {
        return filter_error(-ENOMEM);
    }
    std::size_t count = 0;
    int result = 0;
    for (const char* const name : kForbidden) {
        result = result == 0 ? forbid(filter, name, EPERM, count) : result;
    }
    for (const char* const name : kAbsent) {
        result = result == 0 ? forbid(filter, name, ENOSYS, count) : result;
    }
    if (result == 0) { // for threads that a library may have started already, too
        result = seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_TSYNC, 1);
    }
    if (result == 0) {
        result = seccomp_load(filter.get());
    }
    if (result != 0) {
        return filter_error(result);
    }
    return count;
}

} // namespace sluice
