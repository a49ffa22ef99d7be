// What both programs do to themselves before anything else, whatever their options.
//
// Once, at the beginning of main: before threads are started, and before a secret is read.
#pragma once

#include "common/result.hpp"

namespace sluice {

// - No program that is executed from here on gains privileges by set-id bits or file capabilities
//   (PR_SET_NO_NEW_PRIVS), which is also what Landlock and seccomp ask of an unprivileged process.
// - No core dump holds keys or file contents (RLIMIT_CORE; PR_SET_DUMPABLE for cores that go to a
//   program and heed no limit, core(5)).
// - Nobody but root may look into the process: no ptrace(2), no /proc/PID/mem, /proc/PID/fd or
//   /proc/PID/environ for others of the same user. The process itself may go on using
//   /proc/self/fd: for its own threads the kernel asks no further (proc_fd_permission() and
//   __ptrace_may_access(), since Linux 3.x).
//
// An error, of kind refused, where the kernel will not do one of them.
[[nodiscard]] Status harden_process();

// PR_SET_DUMPABLE alone, once more: a change of the user resets it to what
// /proc/sys/fs/suid_dumpable says (proc(5)).
[[nodiscard]] Status hide_process();

} // namespace sluice
