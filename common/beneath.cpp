#include "common/beneath.hpp"

#include "common/usage.hpp"

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <memory>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <utility>
#include <vector>

namespace sluice {

namespace {

constexpr int kDirectoryFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;
// openat2 gives EAGAIN when a rename somewhere on the way made it unsure about a "..", which no
// path here contains, or about a mount; a handful of tries is what openat2(2) suggests.
constexpr int kMaxTries = 16;

long openat2(int directory, const char* path, const open_how& how) {
    count_system_call();
    return syscall(SYS_openat2, directory, path, &how, sizeof how);
}

struct CloseDirectory {
    void operator()(DIR* stream) const noexcept { closedir(stream); }
};
using DirectoryStream = std::unique_ptr<DIR, CloseDirectory>;

// A directory that is being emptied by remove_tree.
struct Level {
    DirectoryStream stream;
    std::string name; // in the level above
};

Opened open_for_removal(int parent, const char* name) {
    count_system_call();
    int fd = openat(parent, name, kDirectoryFlags | O_CLOEXEC);
    if (fd < 0 && errno == EACCES) {
        // Made unreadable by its own mode. Through O_PATH and /proc, because fchmodat(2) follows
        // symbolic links and the name may have become one.
        count_system_call();
        const UniqueFd handle =
            UniqueFd::adopt(openat(parent, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
        const std::string link = "/proc/self/fd/" + std::to_string(handle.get());
        count_system_call();
        if (handle && chmod(link.c_str(), S_IRWXU) == 0) {
            fd = openat(parent, name, kDirectoryFlags | O_CLOEXEC);
        }
    }
    if (fd < 0) {
        return {{}, errno};
    }
    return {UniqueFd::adopt(fd), 0};
}

// Levels of a tree that is being removed whose descriptors are open at a time. What lies deeper is
// moved to the top first: a peer chooses how deep a tree gets, and descriptors are few.
constexpr std::size_t kMaxOpenLevels = 16;

// Unlinks what is no directory; returns EISDIR for one.
int unlink_name(int parent, const char* name) {
    count_system_call();
    if (unlinkat(parent, name, 0) == 0 || errno == ENOENT) {
        return 0;
    }
    return errno;
}

// The same, where the directory itself may be unwritable.
int unlink_child(int directory, const char* name) {
    const int error = unlink_name(directory, name);
    if (error != EACCES) {
        return error;
    }
    count_system_call();
    return fchmod(directory, S_IRWXU) == 0 ? unlink_name(directory, name) : EACCES;
}

// Moves a directory to `top` under a name that is not taken there; 0, or errno.
int move_up(int from, const char* name, int top, std::uint64_t& moved) {
    for (;;) {
        const std::string new_name = "sluice-removes-" + std::to_string(moved++);
        count_system_call();
        if (renameat2(from, name, top, new_name.c_str(), RENAME_NOREPLACE) == 0) {
            return 0;
        }
        if (errno != EEXIST) {
            return errno;
        }
    }
}

} // namespace

Opened open_beneath(int root, const std::string& path, int flags, mode_t mode) {
    open_how how{};
    how.flags = static_cast<unsigned>(flags) | O_CLOEXEC;
    how.mode = mode;
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
    for (int attempt = 0; attempt < kMaxTries; ++attempt) {
        const long fd = openat2(root, path.c_str(), how);
        if (fd >= 0) {
            return {UniqueFd::adopt(static_cast<int>(fd)), 0};
        }
        if (errno != EAGAIN && errno != EINTR) {
            return {{}, errno};
        }
    }
    return {{}, EAGAIN};
}

Opened open_directory_beneath(int root, const std::string& path) {
    // Without O_NOFOLLOW, under which a symbolic link at the end would give ENOTDIR: the resolve
    // flags refuse it as well, and with ELOOP.
    return open_beneath(root, path.empty() ? "." : path, O_RDONLY | O_DIRECTORY);
}

Opened make_directories_beneath(int root, const std::string& path, mode_t mode) {
    Opened whole = open_directory_beneath(root, path);
    if (whole.error_number != ENOENT) {
        return whole;
    }
    const std::string parent_path(split_path(path).parent);
    const Opened parent = make_directories_beneath(root, parent_path, mode);
    if (!parent.ok()) {
        return {{}, parent.error_number};
    }
    const std::string name(split_path(path).name);
    count_system_call();
    if (mkdirat(parent.fd.get(), name.c_str(), mode) != 0 && errno != EEXIST) {
        return {{}, errno};
    }
    // By the last component only: the parent is the one in which it was made.
    return open_directory_beneath(parent.fd.get(), name);
}

SplitPath split_path(std::string_view path) noexcept {
    const std::size_t slash = path.rfind('/');
    if (slash == std::string_view::npos) {
        return {{}, path};
    }
    return {path.substr(0, slash), path.substr(slash + 1)};
}

int list_directory(int directory, std::vector<std::string>& names) {
    Opened opened = open_directory_beneath(directory, "");
    if (!opened.ok()) {
        return opened.error_number;
    }
    const DirectoryStream stream{fdopendir(opened.fd.get())};
    if (!stream) {
        return errno;
    }
    static_cast<void>(opened.fd.release()); // the stream owns it now
    errno = 0;
    while (const dirent* const entry = readdir(stream.get())) {
        if (std::string name = entry->d_name; name != "." && name != "..") {
            names.push_back(std::move(name));
        }
        errno = 0;
    }
    return errno;
}

int remove_tree(int parent, const std::string& name) {
    int first_error = unlink_name(parent, name.c_str());
    if (first_error != EISDIR) {
        return first_error;
    }
    first_error = 0;
    const auto note = [&first_error](int error) {
        if (first_error == 0 && error != ENOENT) {
            first_error = error;
        }
    };
    std::vector<Level> levels; // an explicit stack
    const auto enter = [&](int above, const char* child) {
        Opened opened = open_for_removal(above, child);
        if (!opened.ok()) {
            note(opened.error_number);
            return;
        }
        if (DIR* stream = fdopendir(opened.fd.get()); stream != nullptr) {
            static_cast<void>(opened.fd.release()); // the stream owns it now
            levels.push_back({DirectoryStream{stream}, child});
        } else {
            note(errno);
        }
    };
    enter(parent, name.c_str());
    std::uint64_t moved = 0;  // directories moved to the top, ever
    bool more_at_top = false; // some since the top was last read
    while (!levels.empty()) {
        DIR* const stream = levels.back().stream.get();
        const int here = dirfd(stream);
        const dirent* const entry = readdir(stream);
        if (entry == nullptr && levels.size() == 1 && std::exchange(more_at_top, false)) {
            rewinddir(stream);
            continue;
        }
        if (entry == nullptr) {
            const std::string done = std::move(levels.back().name);
            levels.pop_back();
            const int above = levels.empty() ? parent : dirfd(levels.back().stream.get());
            count_system_call();
            if (unlinkat(above, done.c_str(), AT_REMOVEDIR) != 0) {
                note(errno);
            }
            continue;
        }
        if (std::strcmp(entry->d_name, ".") == 0 || std::strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        const std::string child = entry->d_name;
        const int error = unlink_child(here, child.c_str());
        if (error != EISDIR) {
            note(error);
        } else if (levels.size() < kMaxOpenLevels) {
            enter(here, child.c_str());
        } else if (const int failed =
                       move_up(here, child.c_str(), dirfd(levels.front().stream.get()), moved);
                   failed == 0) {
            more_at_top = true;
        } else {
            note(failed);
        }
    }
    return first_error;
}

bool confinement_available() {
    const Opened probe = open_beneath(AT_FDCWD, ".", O_PATH);
    return probe.ok();
}

} // namespace sluice
