#include "receiver/work_area.hpp"

#include "common/beneath.hpp"
#include "common/usage.hpp"
#include "proto/path_rules.hpp"

#include <array>
#include <cerrno>
#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <fstream>
#include <memory>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <vector>

namespace sluice {

namespace {

constexpr const char* kFilesName = "files";
// Another session may remove the empty work area between our mkdir and our open.
constexpr int kMaxTries = 16;

const std::string& area_name() {
    static const std::string name(proto::kReservedName);
    return name;
}

// umask(2) can only be read by changing it, which other threads would notice.
mode_t read_umask() {
    std::ifstream status("/proc/self/status");
    std::string line;
    while (std::getline(status, line)) {
        if (line.rfind("Umask:", 0) == 0) {
            return static_cast<mode_t>(std::stoul(line.substr(6), nullptr, 8));
        }
    }
    return 022; // no /proc: the usual value; files may come out stricter than asked for
}

std::string random_name() {
    std::array<unsigned char, 8> bytes{};
    // Up to 256 bytes come whole and without interruption (getrandom(2)).
    static_cast<void>(getrandom(bytes.data(), bytes.size(), 0));
    std::string name;
    for (const unsigned char byte : bytes) {
        name += fmt::format("{:02x}", byte);
    }
    return name;
}

// 0, or errno.
int make_directory(int parent, const std::string& name) {
    count_system_call();
    return mkdirat(parent, name.c_str(), S_IRWXU) == 0 ? 0 : errno;
}

// Makes and opens NAME in `parent`; an errno on failure.
int make_and_open(int parent, const std::string& name, UniqueFd& out) {
    if (const int error = make_directory(parent, name); error != 0) {
        return error;
    }
    Opened opened = open_directory_beneath(parent, name);
    out = std::move(opened.fd);
    return opened.error_number;
}

Error area_error(const ReceiverRoot& root, int error) {
    const std::string path = fmt::format("{}/{}", root.path, area_name());
    if (error == ELOOP || error == ENOTDIR) {
        return Error{ErrorKind::refused,
                     fmt::format("{} is not a directory: remove it, sluice needs the name", path),
                     error};
    }
    return system_error(ErrorKind::file_io, fmt::format("cannot use {}", path), error);
}

bool try_lock(int directory) {
    count_system_call();
    return flock(directory, LOCK_EX | LOCK_NB) == 0;
}

bool still_linked(int directory) {
    struct stat status {};
    return fstat(directory, &status) == 0 && status.st_nlink > 0;
}

} // namespace

Result<ReceiverRoot> open_root(const std::string& path) {
    ReceiverRoot root;
    root.path = path;
    root.fd = UniqueFd::adopt(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    struct stat status {};
    if (!root.fd || fstat(root.fd.get(), &status) != 0) {
        return system_error(ErrorKind::file_io, fmt::format("cannot open directory {}", path),
                            errno);
    }
    if (!confinement_available()) {
        return Error{ErrorKind::refused,
                     "this kernel has no openat2 (Linux 5.6 and later do), without which nothing "
                     "keeps received names inside the directory"};
    }
    root.device = status.st_dev;
    root.umask = read_umask();
    return root;
}

SessionArea::SessionArea(SessionArea&& other) noexcept
    : root_(other.root_), name_(std::move(other.name_)), area_(std::move(other.area_)),
      directory_(std::move(other.directory_)), files_(std::move(other.files_)),
      tree_(std::move(other.tree_)), counter_(other.counter_.load()) {}

Result<SessionArea> SessionArea::create(const ReceiverRoot& root) {
    int error = ENOENT;
    for (int attempt = 0; attempt < kMaxTries; ++attempt) {
        error = make_directory(root.fd.get(), area_name());
        if (error != 0 && error != EEXIST) {
            break;
        }
        SessionArea made;
        made.root_ = &root;
        made.name_ = random_name();
        Opened area = open_directory_beneath(root.fd.get(), area_name());
        error = area.error_number;
        if (error == 0) {
            made.area_ = std::move(area.fd);
            error = make_and_open(made.area_.get(), made.name_, made.directory_);
        }
        if (error == ENOENT) {
            continue;
        }
        if (error != 0) {
            made.undo();
            break;
        }
        // A sweep may have been quicker than the lock, and then it has removed the directory.
        if (!try_lock(made.directory_.get()) || !still_linked(made.directory_.get())) {
            continue;
        }
        error = make_and_open(made.directory_.get(), kFilesName, made.files_);
        if (error == 0) {
            error = make_and_open(made.directory_.get(), kTreeName, made.tree_);
        }
        if (error == 0) {
            return made;
        }
        made.undo();
        break;
    }
    return area_error(root, error);
}

// Everything is empty still, so that it needs no descriptors, which may be what is missing.
void SessionArea::undo() const {
    if (directory_) {
        unlinkat(directory_.get(), kFilesName, AT_REMOVEDIR);
        unlinkat(directory_.get(), kTreeName, AT_REMOVEDIR);
    }
    if (area_) {
        unlinkat(area_.get(), name_.c_str(), AT_REMOVEDIR);
    }
    unlinkat(root_->fd.get(), area_name().c_str(), AT_REMOVEDIR);
}

std::string SessionArea::next_name() {
    return std::to_string(counter_.fetch_add(1, std::memory_order_relaxed));
}

bool SessionArea::remove() {
    // Removing takes descriptors, and these are needed no more.
    files_.reset();
    tree_.reset();
    if (remove_tree(area_.get(), name_) != 0) {
        return false;
    }
    count_system_call();
    // Fails as long as other sessions have something in it, and that is right.
    static_cast<void>(unlinkat(root_->fd.get(), area_name().c_str(), AT_REMOVEDIR));
    return true;
}

Result<std::size_t> sweep_work_area(const ReceiverRoot& root) {
    Opened area = open_directory_beneath(root.fd.get(), area_name());
    if (area.error_number == ENOENT) {
        return std::size_t{0};
    }
    if (!area.ok()) {
        return area_error(root, area.error_number);
    }
    std::vector<std::string> names;
    {
        const std::unique_ptr<DIR, int (*)(DIR*)> stream(
            fdopendir(open_directory_beneath(area.fd.get(), "").fd.release()), closedir);
        while (const dirent* entry = stream ? readdir(stream.get()) : nullptr) {
            if (const std::string name = entry->d_name; name != "." && name != "..") {
                names.push_back(name);
            }
        }
    }
    std::size_t removed = 0;
    for (const std::string& name : names) {
        const Opened one = open_directory_beneath(area.fd.get(), name);
        if (one.ok() && !try_lock(one.fd.get())) {
            continue; // in use
        }
        if (remove_tree(area.fd.get(), name) == 0) {
            ++removed;
        }
    }
    static_cast<void>(unlinkat(root.fd.get(), area_name().c_str(), AT_REMOVEDIR));
    return removed;
}

} // namespace sluice
