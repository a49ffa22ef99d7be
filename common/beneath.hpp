// The one place that turns a name from a peer into a descriptor.
//
// Every name is resolved by openat2(2) with RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS |
// RESOLVE_NO_MAGICLINKS relative to a directory that is already open, so it can lead neither out
// of that directory nor through any symbolic link, whatever someone else does to the tree
// meanwhile. There is no fallback: where the kernel lacks openat2 (before 5.6) the receiver does
// not start. Anything that must be done to a name itself (rename, unlink, chmod, ...) is done with
// the *at calls on the last component, relative to its parent opened here.
//
// Thread-safe. Counts its system calls (common/usage.hpp). Errors are errno values: most callers
// meet some of them (ENOENT) as a matter of course.
#pragma once

#include "common/unique_fd.hpp"

#include <string>
#include <string_view>
#include <sys/types.h>
#include <vector>

namespace sluice {

struct Opened {
    UniqueFd fd;
    int error_number = 0; // 0 when fd is open
    [[nodiscard]] bool ok() const noexcept { return error_number == 0; }
};

// `path` must be relative and not empty. O_CLOEXEC is added to `flags`.
[[nodiscard]] Opened open_beneath(int root, const std::string& path, int flags, mode_t mode = 0);

// The directory `path` below `root`; an empty path opens `root` itself anew.
[[nodiscard]] Opened open_directory_beneath(int root, const std::string& path);

// The same, but makes missing directories on the way, with `mode` less the umask.
[[nodiscard]] Opened make_directories_beneath(int root, const std::string& path, mode_t mode);

// "a/b/c" is "a/b" and "c"; "c" is "" and "c".
struct SplitPath {
    std::string_view parent;
    std::string_view name;
};
[[nodiscard]] SplitPath split_path(std::string_view path) noexcept;

// The names in `directory` (not "." and ".."), appended to `names`. 0, or errno: a directory that
// cannot be read must not pass for an empty one.
[[nodiscard]] int list_directory(int directory, std::vector<std::string>& names);

// Removes `name` in `parent` with everything below it, never following a symbolic link; makes
// unwritable directories on the way writable. Goes on after errors and returns the first, or 0.
// A name that does not exist is no error.
[[nodiscard]] int remove_tree(int parent, const std::string& name);

// Whether the kernel has openat2.
[[nodiscard]] bool confinement_available();

} // namespace sluice
