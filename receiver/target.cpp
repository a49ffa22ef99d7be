#include "receiver/target.hpp"

#include "common/beneath.hpp"
#include "common/text.hpp"
#include "common/usage.hpp"
#include "proto/path_rules.hpp"

#include <cerrno>
#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <memory>
#include <optional>
#include <sys/stat.h>

namespace sluice {

namespace {

Error target_error(std::string_view path, int error) {
    const std::string name = escape(path);
    if (error == ELOOP || error == EXDEV) {
        return Error{ErrorKind::refused,
                     fmt::format("destination '{}' leads through a symbolic link", name), error};
    }
    if (error == ENOTDIR) {
        return Error{ErrorKind::refused, fmt::format("destination '{}' is not a directory", name),
                     error};
    }
    return system_error(ErrorKind::file_io, fmt::format("cannot open destination '{}'", name),
                        error);
}

// Nothing: it cannot be found out, see errno.
std::optional<bool> on_root_device(const ReceiverRoot& root, int directory) {
    struct stat status {};
    count_system_call();
    return fstat(directory, &status) == 0 ? std::optional(status.st_dev == root.device)
                                          : std::nullopt;
}

bool name_exists(int directory, const std::string& name) {
    struct stat status {};
    count_system_call();
    return fstatat(directory, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0;
}

// Nothing in it but, perhaps, the work area.
bool is_empty(int directory) {
    const std::unique_ptr<DIR, int (*)(DIR*)> stream(
        fdopendir(open_directory_beneath(directory, "").fd.release()), closedir);
    if (!stream) {
        return false;
    }
    while (const dirent* const entry = readdir(stream.get())) {
        const std::string_view name = entry->d_name;
        if (name != "." && name != ".." && name != proto::kReservedName) {
            return false;
        }
    }
    return true;
}

// Renaming works within one file system only, so the nearest directory that exists must be on
// the root's.
Status check_device(const ReceiverRoot& root, const std::string& path) {
    std::string_view nearest = path;
    for (;;) {
        const Opened opened = open_directory_beneath(root.fd.get(), std::string(nearest));
        if (opened.ok()) {
            const std::optional<bool> on_root = on_root_device(root, opened.fd.get());
            if (!on_root) {
                return target_error(nearest, errno);
            }
            if (*on_root) {
                return ok();
            }
            return Error{ErrorKind::refused,
                         fmt::format("destination '{}' is on another file system than the "
                                     "receiver's directory: run a receiver there",
                                     escape(path))};
        }
        if (opened.error_number != ENOENT || nearest.empty()) {
            return target_error(nearest, opened.error_number);
        }
        nearest = split_path(nearest).parent;
    }
}

} // namespace

Result<Target> resolve_target(const ReceiverRoot& root, const proto::Open& request) {
    std::string_view path = request.destination;
    const bool named_as_directory = !path.empty() && path.back() == '/';
    if (named_as_directory) {
        path.remove_suffix(1);
    }
    Target target;
    target.path = path;
    Opened opened = open_directory_beneath(root.fd.get(), target.path);
    const bool may_be_file_name =
        (request.flags & proto::kOpenSingleFile) != 0 && !named_as_directory && !path.empty();
    if (may_be_file_name && (opened.error_number == ENOENT || opened.error_number == ENOTDIR)) {
        const SplitPath parts = split_path(path);
        target.path = parts.parent;
        target.rename_to = parts.name;
        opened = open_directory_beneath(root.fd.get(), target.path);
    }
    if (!opened.ok() && opened.error_number != ENOENT) {
        return target_error(target.path, opened.error_number);
    }
    if (Status device = check_device(root, target.path); !device) {
        return std::move(device).error();
    }
    target.directory = std::move(opened.fd);
    return target;
}

std::vector<std::uint16_t> find_fresh_roots(const Target& target, const proto::Open& request) {
    std::vector<std::uint16_t> fresh;
    for (std::size_t index = 0; index < request.roots.size(); ++index) {
        const std::string name =
            request.roots[index].empty() ? std::string{} : target.local_path(request.roots[index]);
        const bool is_fresh =
            !target.exists() || (name.empty() ? is_empty(target.directory.get())
                                              : !name_exists(target.directory.get(), name));
        if (is_fresh) {
            fresh.push_back(static_cast<std::uint16_t>(index));
        }
    }
    return fresh;
}

} // namespace sluice
