#include "receiver/store.hpp"

#include "common/beneath.hpp"
#include "common/digest.hpp"
#include "common/text.hpp"
#include "common/usage.hpp"

#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <numeric>
#include <span>
#include <sys/stat.h>
#include <sys/statvfs.h>

namespace sluice {

namespace {

// Memory for the top-level names that a session remembers; those beyond are not staged.
constexpr std::size_t kMaxTopBytes = std::size_t{4} << 20;
// Of each beside its characters: a node of the map, a place in its table.
constexpr std::size_t kTopOverheadBytes = 96;
// Free space is looked at once for so many stored bytes.
constexpr std::uint64_t kSpaceCheckBytes = std::uint64_t{16} << 20;

int write_all(int file, proto::ByteView bytes) {
    while (!bytes.empty()) {
        count_system_call();
        const ssize_t wrote = ::write(file, bytes.data(), bytes.size());
        if (wrote < 0) {
            if (errno == EINTR) {
                continue;
            }
            return errno;
        }
        bytes = bytes.subspan(static_cast<std::size_t>(wrote));
    }
    return 0;
}

int unlink_file(int directory, const std::string& name) noexcept {
    count_system_call();
    return unlinkat(directory, name.c_str(), 0) == 0 ? 0 : errno;
}

} // namespace

std::array<timespec, 2> modification_time(const proto::Timestamp& time) noexcept {
    std::array<timespec, 2> times{};
    times[0].tv_nsec = UTIME_OMIT;
    times[1].tv_sec = time.seconds;
    times[1].tv_nsec = static_cast<long>(time.nanoseconds);
    return times;
}

bool same_time(const timespec& stored, const proto::Timestamp& wanted) noexcept {
    return stored.tv_sec == wanted.seconds &&
           (stored.tv_nsec == 0 || stored.tv_nsec == static_cast<long>(wanted.nanoseconds));
}

namespace {

// What two sessions must have in common for the second to go on with what the first left: where
// everything goes, what it is called there, how it is stored, and whose it is. The holder stays out
// of the digest, which is none that cannot be forged: no request leads to another holder's
// leftovers.
std::string area_key(const proto::Open& request, const std::string& holder) {
    std::string text =
        fmt::format("{}", request.flags & (proto::kOpenPreserve | proto::kOpenSingleFile |
                                           proto::kOpenPublishByFile));
    text.append(1, '\0').append(request.destination);
    for (const std::string_view root : request.roots) {
        text.append(1, '\0').append(root);
    }
    return holder + to_hex(digest_of(std::as_bytes(std::span(text))));
}

} // namespace

Store::Store(const ReceiverRoot& root, std::uint64_t owner, Target target,
             const proto::Open& request, const StorePolicy& policy)
    : root_(root), owner_(owner), target_(std::move(target)), flags_(request.flags),
      policy_(policy), roots_(request.roots.begin(), request.roots.end()),
      key_(area_key(request, policy.holder)), run_(request.run),
      journal_([this] { return area_directory(); }),
      durability_(policy.sync || (request.flags & proto::kOpenSync) != 0) {
    if (policy.list_digests && !dry_run()) {
        digests_.emplace([this] { return area_directory(); });
    }
}

Store::~Store() = default;

Result<std::unique_ptr<Store>> Store::open(const ReceiverRoot& root, std::uint64_t owner,
                                           const proto::Open& request, const StorePolicy& policy) {
    Result<Target> target = resolve_target(root, request);
    if (!target) {
        return std::move(target).error();
    }
    std::vector<std::uint16_t> fresh = find_fresh_roots(*target, request);
    const bool by_file = (request.flags & proto::kOpenPublishByFile) != 0;
    if (by_file && !target->exists() && (request.flags & proto::kOpenDryRun) == 0) {
        Opened made = make_directories_beneath(root.fd.get(), target->path, kDefaultDirectoryMode);
        if (!made.ok()) {
            return system_error(ErrorKind::file_io,
                                fmt::format("cannot make '{}'", escape(target->path)),
                                made.error_number);
        }
        target->directory = std::move(made.fd);
    }
    const bool made_target = by_file && target->exists();
    std::unique_ptr<Store> store(new Store(root, owner, std::move(*target), request, policy));
    if (made_target) {
        store->durability_.note_many();
    }
    store->fresh_roots_ = std::move(fresh);
    if (!policy.reveal) { // then nothing is asked for, either
        store->fresh_roots_.resize(request.roots.size());
        std::iota(store->fresh_roots_.begin(), store->fresh_roots_.end(), std::uint16_t{0});
    }
    if (const auto problem = store->check_space(kSpaceCheckBytes); problem) {
        return Error{ErrorKind::file_io, problem->text, problem->error_number};
    }
    return store;
}

std::variant<SessionArea*, StoreProblem> Store::area() {
    const std::scoped_lock lock(area_mutex_);
    if (!area_) {
        Result<SessionArea> made = SessionArea::create(root_, policy_.resume ? key_ : "");
        if (!made) {
            StoreProblem problem = make_problem(made.error().error_number);
            problem.fatal = true;
            problem.text = made.error().message;
            return problem;
        }
        area_.emplace(std::move(*made));
        begin_journal({});
    }
    return &*area_;
}

int Store::area_directory() {
    const auto made = area();
    return made.index() == 0 ? std::get<0>(made)->fd() : -std::get<1>(made).error_number;
}

// A list that cannot hold a file is no reason to refuse the file.
void Store::list_file(std::string_view wire_path, std::uint64_t size) {
    if (digests_ && digests_->add(target_.local_path(wire_path), size) != 0) {
        unlisted_.fetch_add(1, std::memory_order_relaxed);
    }
}

bool Store::stages(std::string_view top) {
    if (!target_.exists()) {
        return true;
    }
    if ((flags_ & proto::kOpenPublishByFile) != 0) {
        return false;
    }
    std::string name(top);
    const std::scoped_lock lock(tops_mutex_);
    if (const auto known = tops_.find(name); known != tops_.end()) {
        return known->second;
    }
    top_bytes_ += name.size() + kTopOverheadBytes;
    if (top_bytes_ > kMaxTopBytes) {
        return false;
    }
    struct stat status {};
    count_system_call();
    const bool missing =
        fstatat(target_.directory.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0 &&
        errno == ENOENT;
    return tops_.emplace(std::move(name), missing).first->second;
}

Store::Placed Store::place(std::string_view wire_path, bool is_directory) {
    Place place;
    const std::string_view top = wire_path.substr(0, wire_path.find('/'));
    const bool is_top = top.size() == wire_path.size();
    if (is_top) {
        place.path = wire_path.empty() ? std::string{} : target_.local_path(wire_path);
        // A file or a link of its own is published by its own rename anyway.
        place.staged = !target_.exists() || (is_directory && !wire_path.empty() && stages(top));
    } else {
        place.path = wire_path;
        place.staged = stages(top);
    }
    if (!place.staged) {
        place.base = target_.directory.get();
        return place;
    }
    const auto made = area();
    if (made.index() != 0) {
        return std::get<1>(made);
    }
    place.base = std::get<0>(made)->tree();
    return place;
}

void Store::note_name(const Place& place) {
    if (!durability_.wanted() || place.staged) {
        return;
    }
    // Directories on the way may be new, too.
    std::string_view parent = place.path;
    do {
        parent = split_path(parent).parent;
        note_directory(parent);
    } while (!parent.empty());
}

void Store::note_directory(std::string_view path) {
    const char* const slash = target_.path.empty() || path.empty() ? "" : "/";
    durability_.note_directory(fmt::format("{}{}{}", target_.path, slash, path));
}

std::optional<StoreProblem> Store::check_space(std::uint64_t bytes) {
    if (policy_.min_free_bytes == 0 ||
        unchecked_bytes_.fetch_add(bytes, std::memory_order_relaxed) + bytes < kSpaceCheckBytes) {
        return std::nullopt;
    }
    unchecked_bytes_.store(0, std::memory_order_relaxed);
    struct statvfs status {};
    count_system_call();
    if (fstatvfs(root_.fd.get(), &status) == 0 &&
        std::uint64_t{status.f_bavail} * status.f_frsize < policy_.min_free_bytes) {
        StoreProblem problem = make_problem(ENOSPC);
        problem.text = fmt::format("no space: less than {} would stay free (--min-free)",
                                   format_bytes(policy_.min_free_bytes));
        return problem;
    }
    return std::nullopt;
}

std::optional<StoreProblem> Store::put(proto::Record record, DirectoryCache& directories) {
    record.mode &= kKeptModeBits;
    const bool is_directory = record.kind == proto::RecordKind::directory;
    if (record.kind == proto::RecordKind::file) {
        counts_.settled.fetch_add(1, std::memory_order_relaxed);
    }
    const Placed placed = place(record.path, is_directory);
    if (placed.index() != 0) {
        return std::get<1>(placed);
    }
    const Place& place = std::get<0>(placed);
    if (is_directory) {
        return put_directory(record, place, directories);
    }
    if (auto problem = check_space(record.content.size()); problem) {
        return problem;
    }
    const int parent =
        directories.get(owner_, place.base, split_path(place.path).parent, kDefaultDirectoryMode);
    if (parent < 0) {
        return make_problem(-parent);
    }
    forget_leftover(record.path);
    return record.kind == proto::RecordKind::file ? put_file(record, place, parent)
                                                  : put_symlink(record, place, parent);
}

std::optional<StoreProblem> Store::put_directory(const proto::Record& record, const Place& place,
                                                 DirectoryCache& directories) {
    bool made = false;
    if (!place.path.empty()) {
        const SplitPath parts = split_path(place.path);
        const std::string name(parts.name);
        const int parent = directories.get(owner_, place.base, parts.parent, kDefaultDirectoryMode);
        if (parent < 0) {
            return make_problem(-parent);
        }
        // Whoever owns it must be able to write into it until the end.
        const mode_t mode = preserves() ? record.mode | S_IRWXU : kDefaultDirectoryMode;
        count_system_call();
        made = mkdirat(parent, name.c_str(), mode) == 0;
        if (!made && errno != EEXIST) {
            return make_problem(errno);
        }
        // Opening it now shows what else may stand there, and the files that follow want it.
        if (const int fd = directories.get(owner_, place.base, place.path, 0); fd < 0) {
            return make_problem(-fd);
        }
    }
    note_name(place);
    counts_.directories.fetch_add(1, std::memory_order_relaxed);
    if (!preserves()) {
        return std::nullopt;
    }
    const bool as_made =
        made && ((record.mode & root_.umask) == 0) && (record.mode & S_IRWXU) == S_IRWXU;
    const int error =
        journal_.append({place.staged, !as_made, record.mode, record.mtime, place.path});
    return error == 0 ? std::nullopt : std::optional(make_problem(error));
}

std::optional<StoreProblem> Store::put_symlink(const proto::Record& record, const Place& place,
                                               int parent) {
    const std::string target(reinterpret_cast<const char*>(record.content.data()),
                             record.content.size());
    const std::string name(split_path(place.path).name);
    std::array<char, proto::kMaxLinkTargetBytes + 1> present{};
    struct stat status {};
    count_system_call();
    const ssize_t length = readlinkat(parent, name.c_str(), present.data(), present.size());
    if (length >= 0 &&
        std::string_view(present.data(), static_cast<std::size_t>(length)) == target &&
        fstatat(parent, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 &&
        (!preserves() || same_time(status.st_mtim, record.mtime))) {
        counts_.symlinks.fetch_add(policy_.reveal ? 0U : 1U, std::memory_order_relaxed);
        return std::nullopt;
    }
    // In the staged tree nobody looks yet; elsewhere, and where it was sent twice, the link is
    // renamed over what was there.
    int directory = parent;
    std::string made = name;
    count_system_call();
    int error = !place.staged                                          ? EEXIST
                : symlinkat(target.c_str(), parent, made.c_str()) == 0 ? 0
                                                                       : errno;
    const bool in_place = error == 0;
    if (error == EEXIST) {
        const auto made_area = area();
        if (made_area.index() != 0) {
            return std::get<1>(made_area);
        }
        directory = std::get<0>(made_area)->files();
        made = std::get<0>(made_area)->next_name();
        count_system_call();
        error = symlinkat(target.c_str(), directory, made.c_str()) == 0 ? 0 : errno;
    }
    if (error != 0) {
        return make_problem(error);
    }
    if (preserves()) {
        const std::array<timespec, 2> times = modification_time(record.mtime);
        count_system_call();
        // Not every file system keeps times of links; the link itself is what matters.
        static_cast<void>(utimensat(directory, made.c_str(), times.data(), AT_SYMLINK_NOFOLLOW));
    }
    if (!in_place) {
        count_system_call();
        error = renameat(directory, made.c_str(), parent, name.c_str()) == 0 ? 0 : errno;
        if (error != 0) {
            static_cast<void>(unlink_file(directory, made));
            return make_problem(error);
        }
    }
    durability_.note_many(); // the times of a link cannot be synced by themselves
    counts_.symlinks.fetch_add(1, std::memory_order_relaxed);
    return std::nullopt;
}

int Store::create_file(int directory, const std::string& name, std::uint32_t mode,
                       UniqueFd& out) const {
    count_system_call();
    out = UniqueFd::adopt(openat(directory, name.c_str(),
                                 O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                                 preserves() ? mode : kDefaultFileMode));
    return out ? 0 : errno;
}

// Of a file that create_file has made with `made_mode`. 0, or errno.
int Store::set_metadata(int file, std::uint32_t made_mode, std::uint32_t mode,
                        const proto::Timestamp& mtime) const {
    if (!preserves()) {
        return 0;
    }
    if (made_mode != mode || (mode & root_.umask) != 0) {
        count_system_call();
        if (fchmod(file, mode) != 0) {
            return errno;
        }
    }
    const std::array<timespec, 2> times = modification_time(mtime);
    count_system_call();
    return futimens(file, times.data()) == 0 ? 0 : errno;
}

std::optional<StoreProblem> Store::put_file(const proto::Record& record, const Place& place,
                                            int parent) {
    const std::string name(split_path(place.path).name);
    UniqueFd file;
    int directory = parent;
    std::string made = name;
    int error = place.staged ? create_file(parent, name, record.mode, file) : EEXIST;
    const bool in_place = error == 0;
    if (error == EEXIST) { // at the destination, or sent twice
        const auto made_area = area();
        if (made_area.index() != 0) {
            return std::get<1>(made_area);
        }
        directory = std::get<0>(made_area)->files();
        made = std::get<0>(made_area)->next_name();
        error = create_file(directory, made, record.mode, file);
    }
    if (error != 0) {
        return make_problem(error);
    }
    error = write_all(file.get(), record.content);
    if (error == 0) {
        error = set_metadata(file.get(), record.mode, record.mode, record.mtime);
    }
    if (error == 0 && !in_place && !place.staged) {
        error = durability_.settle_file(file.get()); // what is staged is settled all at once
    }
    const int close_error = file.close();
    if (error == 0) {
        error = close_error;
    }
    if (error == 0 && !in_place) {
        count_system_call();
        error = renameat(directory, made.c_str(), parent, name.c_str()) == 0 ? 0 : errno;
    }
    if (error != 0) {
        static_cast<void>(unlink_file(directory, made));
        return make_problem(error);
    }
    note_name(place);
    list_file(record.path, record.content.size());
    counts_.files.fetch_add(1, std::memory_order_relaxed);
    return std::nullopt;
}

} // namespace sluice
