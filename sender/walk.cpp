#include "sender/walk.hpp"

#include "common/text.hpp"
#include "common/usage.hpp"
#include "proto/limits.hpp"
#include "proto/path_rules.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <optional>
#include <sys/stat.h>
#include <utility>

namespace sluice {

namespace {

// One getdents64(2) fills this.
constexpr std::size_t kReadBytes = std::size_t{32} << 10;
// Names of subdirectories that wait for their turn, in all directories on the stack together.
constexpr std::size_t kMaxWaitingBytes = std::size_t{1} << 20;
// st_blocks counts these, whatever the block size of the file system (stat(3type)).
constexpr std::uint64_t kStatBlockBytes = 512;

std::string quoted(std::string_view name) {
    return '"' + escape(name) + '"';
}

// Never follows a link: what was a directory when it was listed may lead anywhere by now.
UniqueFd open_directory(int parent, const char* name) noexcept {
    count_system_call();
    return UniqueFd::adopt(::openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
}

// 0 or errno.
int status_of(int parent, const char* name, struct stat& out) noexcept {
    count_system_call();
    return ::fstatat(parent, name, &out, AT_SYMLINK_NOFOLLOW) == 0 ? 0 : errno;
}

// What to call something that cannot be sent; nullptr for what can be.
const char* special_kind(mode_t mode) noexcept {
    switch (mode & S_IFMT) {
    case S_IFREG:
    case S_IFDIR:
    case S_IFLNK: return nullptr;
    case S_IFIFO: return "a FIFO";
    case S_IFSOCK: return "a socket";
    case S_IFBLK:
    case S_IFCHR: return "a device";
    default: return "of an unknown kind";
    }
}

// "dir/a/b" and 4 is "a/b", joined with the argument that stands for "dir".
std::string display(const SourceRoot& root, std::string_view wire_path, std::size_t name_offset) {
    std::string text = root.argument;
    if (root.is_tree && name_offset < wire_path.size()) {
        text.append(text.ends_with('/') ? "" : "/").append(wire_path.substr(name_offset));
    }
    return text;
}

// Non-directories are reported as they are read, subdirectories are walked when their directory has
// been read to its end. So the files of a directory arrive at the receiver one behind the other, it
// works in one directory at a time, and no directory is being read while another one is: one
// buffer serves them all, and a level on the stack costs a descriptor and the names of the
// subdirectories still to come. Those names are the one thing that could grow without bound, so
// above a limit the walk goes down earlier, between two system calls that read the directory: the
// kernel keeps the position, and reading goes on from there afterwards.
//
// getdents64(2) rather than readdir(3), which has a buffer of its own for every open directory and
// gives no hint when it makes a system call.
class Walker {
public:
    Walker(std::shared_ptr<const SourceRoot> root, const Filter& filter, WalkSink& sink)
        : root_(std::move(root)), filter_(filter), sink_(sink), wire_path_(root_->wire_name) {}

    // False if the sink stopped the walk; so for all functions below that return bool.
    bool run();

private:
    // A directory that is being walked.
    struct Level {
        UniqueFd fd;
        std::uint32_t number = 0;         // see SourceEntry::directory
        std::size_t path_length = 0;      // of its wire path
        std::vector<std::string> waiting; // subdirectories to walk; the next one is the last
        bool at_end = false;              // all of it has been read
    };

    bool advance();
    bool read_some(Level& level);
    bool visit_listed(Level& level, unsigned char type, const char* name);
    bool visit(int parent, const char* name, std::optional<mode_t> known_type, Level* level);
    bool visit_link(int parent, const char* name, const struct stat& status);
    bool descend(int parent, const char* name);
    bool report(EntryKind kind, const struct stat& status, std::string link_target = {});

    void wait(Level& level, std::string name);
    void set_name(const Level& level, std::string_view name);
    [[nodiscard]] bool excluded(mode_t type) const;
    [[nodiscard]] bool path_allowed(); // reports it as failed where it is not
    [[nodiscard]] std::size_t name_offset() const;
    [[nodiscard]] std::string shown() const;
    void failed(std::string_view action, int number);
    void skipped(const char* kind);

    std::shared_ptr<const SourceRoot> root_;
    const Filter& filter_;
    WalkSink& sink_;
    std::string wire_path_; // of what is being looked at
    std::vector<Level> stack_;
    std::uint32_t last_number_ = 0; // of a directory
    std::size_t waiting_bytes_ = 0;
    std::array<char, kReadBytes> buffer_; // filled by the kernel, not worth clearing
};

std::size_t waiting_cost(const std::string& name) {
    return name.size() + sizeof(std::string);
}

bool Walker::run() {
    const int parent = root_->directory.get();
    if (!root_->is_tree) {
        return visit(parent, root_->wire_name.c_str(), std::nullopt, nullptr);
    }
    if (!root_->wire_name.empty() && excluded(S_IFDIR)) {
        return true;
    }
    // Opened anew: a descriptor's read position is shared by all that hold it.
    if (!descend(parent, ".")) {
        return false;
    }
    while (!stack_.empty()) {
        if (!advance()) {
            return false;
        }
    }
    return true;
}

bool Walker::advance() {
    Level& level = stack_.back();
    if (!level.waiting.empty() && (level.at_end || waiting_bytes_ >= kMaxWaitingBytes)) {
        const std::string name = std::move(level.waiting.back());
        level.waiting.pop_back();
        waiting_bytes_ -= waiting_cost(name);
        set_name(level, name);
        return descend(level.fd.get(), name.c_str());
    }
    if (level.at_end) {
        stack_.pop_back();
        return true;
    }
    return read_some(level);
}

bool Walker::read_some(Level& level) {
    count_system_call();
    const ssize_t length = ::getdents64(level.fd.get(), buffer_.data(), buffer_.size());
    if (length <= 0) {
        level.at_end = true;
        std::reverse(level.waiting.begin(), level.waiting.end()); // first come, first walked
        if (length < 0) {
            const int number = errno;
            wire_path_.resize(level.path_length);
            failed("cannot read directory", number);
        }
        return true;
    }
    const char* const end = buffer_.data() + length;
    for (const char* entry = buffer_.data(); entry < end;) {
        decltype(dirent64::d_reclen) entry_bytes = 0;
        std::memcpy(&entry_bytes, entry + offsetof(dirent64, d_reclen), sizeof(entry_bytes));
        const auto type = static_cast<unsigned char>(entry[offsetof(dirent64, d_type)]);
        if (!visit_listed(level, type, entry + offsetof(dirent64, d_name))) {
            return false;
        }
        entry += entry_bytes;
    }
    return true;
}

bool Walker::visit_listed(Level& level, unsigned char type, const char* name) {
    const std::string_view view = name;
    if (view == "." || view == "..") {
        return true;
    }
    set_name(level, view);
    if (type == DT_UNKNOWN) {
        return visit(level.fd.get(), name, std::nullopt, &level);
    }
    const auto mode = static_cast<mode_t>(DTTOIF(type));
    if (excluded(mode)) {
        return true;
    }
    if (S_ISDIR(mode)) {
        wait(level, name);
        return true;
    }
    if (const char* const kind = special_kind(mode)) {
        skipped(kind);
        return true;
    }
    return visit(level.fd.get(), name, mode, &level);
}

// `known_type`: what the filter has already been asked about. `level`: where to leave a directory;
// null for a source that is no tree.
bool Walker::visit(int parent, const char* name, std::optional<mode_t> known_type, Level* level) {
    struct stat status {};
    if (const int number = status_of(parent, name, status); number != 0) {
        failed("cannot look at", number);
        return true;
    }
    if ((!known_type || S_ISDIR(*known_type) != S_ISDIR(status.st_mode)) &&
        excluded(status.st_mode)) {
        return true;
    }
    if (S_ISDIR(status.st_mode)) {
        if (level != nullptr) {
            wait(*level, name);
        } else {
            failed("cannot send", EISDIR); // it was none when the source was opened
        }
        return true;
    }
    if (const char* const kind = special_kind(status.st_mode)) {
        skipped(kind);
        return true;
    }
    if (!path_allowed()) {
        return true;
    }
    return S_ISLNK(status.st_mode) ? visit_link(parent, name, status)
                                   : report(EntryKind::file, status);
}

bool Walker::visit_link(int parent, const char* name, const struct stat& status) {
    std::array<char, proto::kMaxLinkTargetBytes + 1> target; // filled by the kernel
    count_system_call();
    const ssize_t length = ::readlinkat(parent, name, target.data(), target.size());
    if (length < 0) {
        // EINVAL: it is no link any more.
        failed("cannot read link", errno == EINVAL ? ENOENT : errno);
        return true;
    }
    if (static_cast<std::size_t>(length) > proto::kMaxLinkTargetBytes) {
        failed("cannot send link", ENAMETOOLONG);
        return true;
    }
    return report(EntryKind::symlink, status, {target.data(), static_cast<std::size_t>(length)});
}

// Opens and reports the directory at wire_path_ and puts it on the stack; `parent` may belong to a
// level of the stack.
bool Walker::descend(int parent, const char* name) {
    if (!wire_path_.empty() && !path_allowed()) {
        return true;
    }
    Level level;
    level.fd = open_directory(parent, name);
    if (!level.fd) {
        failed("cannot open directory", errno);
        return true;
    }
    // Of what was opened, not of the name: nothing can come in between.
    struct stat status {};
    count_system_call();
    if (::fstat(level.fd.get(), &status) != 0) {
        failed("cannot look at", errno);
        return true;
    }
    if (!report(EntryKind::directory, status)) {
        return false;
    }
    level.number = ++last_number_;
    level.path_length = wire_path_.size();
    stack_.push_back(std::move(level));
    return true;
}

bool Walker::report(EntryKind kind, const struct stat& status, std::string link_target) {
    SourceEntry entry;
    entry.kind = kind;
    entry.root = root_;
    entry.wire_path = wire_path_;
    entry.name_offset = static_cast<std::uint32_t>(name_offset());
    entry.directory = stack_.empty() ? 0 : stack_.back().number;
    entry.link_target = std::move(link_target);
    if (kind == EntryKind::file) {
        entry.size = static_cast<std::uint64_t>(status.st_size);
        entry.sparse = static_cast<std::uint64_t>(status.st_blocks) * kStatBlockBytes < entry.size;
        entry.version = version_of(status);
    }
    entry.mode = status.st_mode & (S_IRWXU | S_IRWXG | S_IRWXO);
    entry.mtime = {status.st_mtim.tv_sec, static_cast<std::uint32_t>(status.st_mtim.tv_nsec)};
    return sink_.found(std::move(entry));
}

void Walker::wait(Level& level, std::string name) {
    waiting_bytes_ += waiting_cost(name);
    level.waiting.push_back(std::move(name));
}

void Walker::set_name(const Level& level, std::string_view name) {
    wire_path_.resize(level.path_length);
    wire_path_.append(wire_path_.empty() ? "" : "/").append(name);
}

bool Walker::excluded(mode_t type) const {
    return !filter_.empty() && filter_.excludes(wire_path_, S_ISDIR(type));
}

bool Walker::path_allowed() {
    const proto::Fault fault = proto::check_path(wire_path_);
    if (fault == proto::Fault::none) {
        return true;
    }
    std::string why(proto::describe(fault));
    if (fault == proto::Fault::path_reserved) {
        why = fmt::format("the receiver keeps {} for itself", quoted(proto::kReservedName));
    }
    sink_.failed(
        {ErrorKind::some_files, fmt::format("cannot send {}: {}", quoted(shown()), why), 0});
    return false;
}

std::size_t Walker::name_offset() const {
    const bool prefixed = root_->is_tree && !root_->wire_name.empty();
    return prefixed ? std::min(root_->wire_name.size() + 1, wire_path_.size()) : 0;
}

std::string Walker::shown() const {
    return display(*root_, wire_path_, name_offset());
}

void Walker::failed(std::string_view action, int number) {
    const std::string name = quoted(shown());
    if (number == ENOENT || number == ESTALE) {
        sink_.failed({ErrorKind::source_changed, name + " vanished before it was sent", number});
        return;
    }
    // A directory that has become something else, or something else a directory.
    const bool changed = number == ENOTDIR || number == ELOOP || number == EISDIR;
    sink_.failed(system_error(changed ? ErrorKind::source_changed : ErrorKind::some_files,
                              fmt::format("{} {}", action, name), number));
}

void Walker::skipped(const char* kind) {
    sink_.skipped(fmt::format("{} is {} and was not sent", quoted(shown()), kind));
}

// The last component, and what is before it ("." or "/" where there is nothing).
std::pair<std::string, std::string> split_argument(std::string_view argument) {
    const auto slash = argument.rfind('/');
    if (slash == std::string_view::npos) {
        return {".", std::string(argument)};
    }
    return {std::string(argument.substr(0, slash + 1)), std::string(argument.substr(slash + 1))};
}

Error cannot_open(std::string_view argument, int number) {
    return system_error(ErrorKind::some_files, "cannot open " + quoted(argument), number);
}

} // namespace

std::uint64_t version_of(const struct stat& status) noexcept {
    constexpr std::uint64_t kNanoseconds = 1'000'000'000;
    return static_cast<std::uint64_t>(status.st_ctim.tv_sec) * kNanoseconds +
           static_cast<std::uint64_t>(status.st_ctim.tv_nsec);
}

const char* SourceEntry::relative_path() const noexcept {
    return name_offset < wire_path.size() ? wire_path.c_str() + name_offset : ".";
}

std::string SourceEntry::display_path() const {
    return display(*root, wire_path, name_offset);
}

Result<SourceRoot> open_source(std::string_view argument) {
    if (argument.find('\0') != std::string_view::npos) {
        return Error{ErrorKind::some_files,
                     fmt::format("cannot open {}: no name holds a NUL byte", quoted(argument)), 0};
    }
    SourceRoot root;
    root.argument = argument;
    auto [parent, name] = split_argument(argument);
    count_system_call();
    if (!argument.empty() && (name.empty() || name == "." || name == "..")) {
        root.is_tree = true;
        root.directory = UniqueFd::adopt(
            ::open(root.argument.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)); // follows a link
        return root.directory ? Result<SourceRoot>(std::move(root)) : cannot_open(argument, errno);
    }
    // O_PATH: files can be opened below a directory that may be searched but not read.
    UniqueFd holder = UniqueFd::adopt(::open(parent.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!holder) {
        return cannot_open(argument, errno);
    }
    struct stat status {};
    if (const int number = status_of(holder.get(), name.c_str(), status); number != 0) {
        return cannot_open(argument, number);
    }
    // Here, too, and not only in walk(): the name would be announced before the walk begins.
    if (proto::check_path(name) == proto::Fault::path_reserved) {
        return Error{ErrorKind::some_files,
                     fmt::format("cannot send {}: the receiver keeps that name for itself; send "
                                 "its contents, or rename it",
                                 quoted(argument)),
                     0};
    }
    root.wire_name = std::move(name);
    root.is_tree = S_ISDIR(status.st_mode);
    root.directory =
        root.is_tree ? open_directory(holder.get(), root.wire_name.c_str()) : std::move(holder);
    return root.directory ? Result<SourceRoot>(std::move(root)) : cannot_open(argument, errno);
}

bool walk(std::shared_ptr<const SourceRoot> root, const Filter& filter, WalkSink& sink) {
    return Walker(std::move(root), filter, sink).run();
}

} // namespace sluice
