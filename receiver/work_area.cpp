#include "receiver/work_area.hpp"

#include "common/beneath.hpp"
#include "common/usage.hpp"
#include "proto/path_rules.hpp"
#include "receiver/resume_journal.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <fcntl.h>
#include <fmt/format.h>
#include <fstream>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <thread>
#include <utility>
#include <vector>

namespace sluice {

namespace {

constexpr const char* kFilesName = "files";
constexpr const char* kOldName = "old";
// Between looks whether another session has let go of its directory.
constexpr std::chrono::milliseconds kLockInterval{10};
// Of directories inside each other that are merged; what lies deeper is given up. Each level takes
// two descriptors.
constexpr int kMaxMergeDepth = 64;
// Another session may remove the empty work area between our mkdir and our open.
constexpr int kMaxTries = 100;
constexpr int kEagerTries = 10;
constexpr std::chrono::microseconds kPauseBetweenTries{200};

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

Error area_error(int error) {
    if (error == ELOOP || error == ENOTDIR) {
        return Error{ErrorKind::refused,
                     fmt::format("{} in the receiver's directory is not a directory: remove it, "
                                 "sluice needs the name",
                                 area_name()),
                     error};
    }
    return system_error(ErrorKind::file_io,
                        fmt::format("cannot use {} in the receiver's directory", area_name()),
                        error);
}

bool try_lock(int directory) {
    count_system_call();
    return flock(directory, LOCK_EX | LOCK_NB) == 0;
}

// Moves everything that is in FROM/NAME to TO/NEW_NAME, over what is there. 0, or errno; then
// something is left in either.
int merge_directory(int from, const char* name, int to, const char* new_name, int depth = 0) {
    count_system_call();
    if (renameat(from, name, to, new_name) == 0) {
        return 0;
    }
    if (errno == ENOTDIR || errno == EISDIR) { // what was a file is a directory now, or the reverse
        if (const int error = remove_tree(to, new_name); error != 0) {
            return error;
        }
        count_system_call();
        return renameat(from, name, to, new_name) == 0 ? 0 : errno;
    }
    if (errno != ENOTEMPTY && errno != EEXIST) {
        return errno;
    }
    if (depth >= kMaxMergeDepth) { // the newer one counts
        if (const int error = remove_tree(to, new_name); error != 0) {
            return error;
        }
        count_system_call();
        return renameat(from, name, to, new_name) == 0 ? 0 : errno;
    }
    const Opened source = open_directory_beneath(from, name);
    const Opened target = open_directory_beneath(to, new_name);
    if (!source.ok() || !target.ok()) {
        return source.ok() ? target.error_number : source.error_number;
    }
    std::vector<std::string> children;
    int first_error = list_directory(source.fd.get(), children);
    for (const std::string& child : children) {
        const int error = merge_directory(source.fd.get(), child.c_str(), target.fd.get(),
                                          child.c_str(), depth + 1);
        first_error = first_error == 0 ? error : first_error;
    }
    if (first_error == 0) {
        count_system_call();
        first_error = unlinkat(from, name, AT_REMOVEDIR) == 0 ? 0 : errno;
    }
    return first_error;
}

// Whether somebody may still adopt a session's directory that nobody holds.
bool is_worth_keeping(int directory, const std::string& name, std::chrono::seconds keep) {
    struct stat journal {};
    struct stat status {};
    if (keep.count() == 0 || (name.size() != kKeyLength && name.size() != kHeldKeyLength) ||
        fstatat(directory, kResumeJournalName, &journal, AT_SYMLINK_NOFOLLOW) != 0 ||
        fstat(directory, &status) != 0) {
        return false;
    }
    const std::chrono::seconds touched(std::max(status.st_mtim.tv_sec, journal.st_mtim.tv_sec));
    return std::chrono::system_clock::now().time_since_epoch() - touched <= keep;
}

bool still_linked(int directory) {
    struct stat status {};
    return fstat(directory, &status) == 0 && status.st_nlink > 0;
}

} // namespace

Result<ReceiverRoot> open_root(const std::string& path) {
    ReceiverRoot root;
    root.fd = UniqueFd::adopt(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    struct stat status {};
    if (!root.fd || fstat(root.fd.get(), &status) != 0) {
        return system_error(ErrorKind::file_io, fmt::format("cannot open directory {}", path),
                            errno);
    }
    if (!confinement_available()) {
        return Error{ErrorKind::refused,
                     "there is no openat2 here, without which nothing keeps received names inside "
                     "the directory: Linux 5.6 and later have it, unless a filter forbids it, as "
                     "systemd's RestrictSUIDSGID= does"};
    }
    root.device = status.st_dev;
    root.umask = read_umask();
    return root;
}

SessionArea::SessionArea(SessionArea&& other) noexcept
    : root_(other.root_), name_(std::move(other.name_)), area_(std::move(other.area_)),
      directory_(std::move(other.directory_)), files_(std::move(other.files_)),
      tree_(std::move(other.tree_)), old_(std::move(other.old_)), adoptable_(other.adoptable_),
      counter_(other.counter_.load()) {}

int SessionArea::make(const ReceiverRoot& root, const std::string& name) {
    root_ = &root;
    name_ = name;
    if (const int error = make_directory(root.fd.get(), area_name());
        error != 0 && error != EEXIST) {
        return error;
    }
    Opened area = open_directory_beneath(root.fd.get(), area_name());
    if (!area.ok()) {
        return area.error_number == ENOENT ? EAGAIN : area.error_number;
    }
    area_ = std::move(area.fd);
    if (const int error = make_and_open(area_.get(), name_, directory_); error != 0) {
        return error == ENOENT ? EAGAIN : error;
    }
    // A sweep may have been quicker than the lock, and then it has removed the directory.
    return try_lock(directory_.get()) && still_linked(directory_.get()) ? 0 : EAGAIN;
}

Result<SessionArea> SessionArea::create(const ReceiverRoot& root, const std::string& key) {
    bool adoptable = !key.empty();
    int error = EAGAIN;
    for (int attempt = 0; attempt < kMaxTries && error == EAGAIN; ++attempt) {
        SessionArea made;
        error = made.make(root, adoptable ? key : random_name());
        if (error == EEXIST && adoptable) {
            adoptable = false;
            error = EAGAIN;
        }
        if (error == EAGAIN) { // let whoever was quicker get on
            std::this_thread::sleep_for(attempt < kEagerTries ? std::chrono::microseconds{0}
                                                              : kPauseBetweenTries);
            continue;
        }
        if (error == 0) {
            error = make_and_open(made.directory_.get(), kFilesName, made.files_);
        }
        if (error == 0) {
            error = make_and_open(made.directory_.get(), kTreeName, made.tree_);
        }
        if (error == 0) {
            made.adoptable_ = adoptable;
            return made;
        }
        if (error != EEXIST) {
            made.undo();
        }
    }
    return area_error(error);
}

bool SessionArea::exists(const ReceiverRoot& root, const std::string& key) {
    return open_directory_beneath(root.fd.get(), fmt::format("{}/{}", area_name(), key)).ok();
}

std::optional<SessionArea> SessionArea::adopt(const ReceiverRoot& root, const std::string& key,
                                              std::chrono::milliseconds patience) {
    const auto deadline = std::chrono::steady_clock::now() + patience;
    SessionArea found;
    found.root_ = &root;
    found.name_ = key;
    for (;;) {
        Opened area = open_directory_beneath(root.fd.get(), area_name());
        Opened directory = area.ok() ? open_directory_beneath(area.fd.get(), key) : Opened{};
        if (!area.ok() || !directory.ok()) {
            return std::nullopt;
        }
        if (try_lock(directory.fd.get())) {
            if (!still_linked(directory.fd.get())) {
                return std::nullopt;
            }
            found.area_ = std::move(area.fd);
            found.directory_ = std::move(directory.fd);
            break;
        }
        if (std::chrono::steady_clock::now() >= deadline) {
            return std::nullopt;
        }
        std::this_thread::sleep_for(kLockInterval);
    }
    if (found.take_over() != 0) {
        static_cast<void>(remove_tree(found.area_.get(), key));
        return std::nullopt;
    }
    found.adoptable_ = true;
    return found;
}

int SessionArea::take_over() {
    if (const int error = merge_directory(directory_.get(), kTreeName, directory_.get(), kOldName);
        error != 0 && error != ENOENT) {
        return error;
    }
    for (const auto& [name, fd] :
         {std::pair(kFilesName, &files_), {kTreeName, &tree_}, {kOldName, &old_}}) {
        if (const int error = make_directory(directory_.get(), name);
            error != 0 && error != EEXIST) {
            return error;
        }
        Opened opened = open_directory_beneath(directory_.get(), name);
        if (!opened.ok()) {
            return opened.error_number;
        }
        *fd = std::move(opened.fd);
    }
    std::vector<std::string> names;
    if (const int error = list_directory(files_.get(), names); error != 0) {
        return error;
    }
    for (const std::string& name : names) {
        const auto number = std::strtoull(name.c_str(), nullptr, 10);
        counter_ = std::max<std::uint64_t>(counter_, number + 1);
    }
    touch();
    return 0;
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
    old_.reset();
    if (remove_tree(area_.get(), name_) != 0) {
        return false;
    }
    count_system_call();
    // Fails as long as other sessions have something in it, and that is right.
    static_cast<void>(unlinkat(root_->fd.get(), area_name().c_str(), AT_REMOVEDIR));
    return true;
}

bool SessionArea::clear_old() {
    std::vector<std::string> names;
    int error = list_directory(old_.get(), names);
    for (const std::string& name : names) {
        const int one = remove_tree(old_.get(), name);
        error = error == 0 ? one : error;
    }
    return error == 0;
}

void SessionArea::touch() const noexcept {
    count_system_call();
    static_cast<void>(futimens(directory_.get(), nullptr));
}

Result<std::size_t> sweep_work_area(const ReceiverRoot& root, std::chrono::seconds keep) {
    Opened area = open_directory_beneath(root.fd.get(), area_name());
    if (area.error_number == ENOENT) {
        return std::size_t{0};
    }
    if (!area.ok()) {
        return area_error(area.error_number);
    }
    std::vector<std::string> names;
    // A directory that cannot be read is left for the next sweep.
    static_cast<void>(list_directory(area.fd.get(), names));
    std::size_t removed = 0;
    for (const std::string& name : names) {
        const Opened one = open_directory_beneath(area.fd.get(), name);
        // Gone meanwhile, and perhaps made anew by a session since then: not ours to remove.
        const bool gone = one.error_number == ENOENT;
        if (gone || (one.ok() && (!try_lock(one.fd.get()) || !still_linked(one.fd.get()) ||
                                  is_worth_keeping(one.fd.get(), name, keep)))) {
            continue;
        }
        if (remove_tree(area.fd.get(), name) == 0) {
            ++removed;
        }
    }
    static_cast<void>(unlinkat(root.fd.get(), area_name().c_str(), AT_REMOVEDIR));
    return removed;
}

} // namespace sluice
