// The part of Store that deals with files that arrive as extents.
#include "common/beneath.hpp"
#include "common/usage.hpp"
#include "receiver/store.hpp"

#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>

namespace sluice {

namespace {

// Files that one session may have open at a time: each takes a descriptor.
constexpr std::size_t kMaxOpenFiles = 256;
// Files of one session whose end or abort may overtake their extents: each takes a set entry.
constexpr std::size_t kMaxEarly = 65'536;
// Pieces of one file that may be apart: each takes memory. In order, one stream makes one piece.
constexpr std::size_t kMaxPieces = 4096;

bool same_file(const LargeFile& file, const proto::Extent& extent) {
    return file.size == extent.file_size && file.path == extent.path &&
           file.mode == (extent.mode & kKeptModeBits) && file.mtime == extent.mtime;
}

bool is_same_file(int file, int directory, const std::string& name) {
    struct stat mine {};
    struct stat there {};
    count_system_call();
    count_system_call();
    return fstat(file, &mine) == 0 &&
           fstatat(directory, name.c_str(), &there, AT_SYMLINK_NOFOLLOW) == 0 &&
           mine.st_dev == there.st_dev && mine.st_ino == there.st_ino;
}

int rename_file(int from, const std::string& name, int to, std::string_view new_name) {
    count_system_call();
    return renameat(from, name.c_str(), to, std::string(new_name).c_str()) == 0 ? 0 : errno;
}

} // namespace

Store::BegunExtent Store::begin_extent(const proto::Extent& extent, DirectoryCache& directories) {
    const std::scoped_lock lock(files_mutex_);
    if (const auto known = files_.find(extent.file_id); known != files_.end()) {
        LargeFile& file = *known->second;
        if (!same_file(file, extent)) {
            return {nullptr, proto::Fault::bad_value};
        }
        if (file.received.pieces() >= kMaxPieces) {
            return {nullptr, proto::Fault::limit_exceeded};
        }
        ++file.writers;
        return {&file};
    }
    if (files_.size() >= kMaxOpenFiles) {
        return {nullptr, proto::Fault::limit_exceeded};
    }
    LargeFile& file =
        *files_.emplace(extent.file_id, std::make_unique<LargeFile>(extent)).first->second;
    file.ended = ended_early_.erase(file.id) != 0;
    BegunExtent begun{&file};
    if (aborted_.count(file.id) != 0) {
        file.dead = file.ended = file.aborted = true;
    } else {
        begun.problem = open_large(file, directories);
        file.dead = begun.problem.has_value();
    }
    ++file.writers;
    return begun;
}

std::optional<StoreProblem> Store::open_large(LargeFile& file, DirectoryCache& directories) {
    const Placed placed = place(file.path, false);
    if (placed.index() != 0) {
        return std::get<1>(placed);
    }
    const Place& place = std::get<0>(placed);
    file.stored_path = place.path;
    const SplitPath parts = split_path(file.stored_path);
    int error = EEXIST;
    if (place.staged) {
        const int parent = directories.get(owner_, place.base, parts.parent, kDefaultDirectoryMode);
        if (parent < 0) {
            return make_problem(-parent);
        }
        error = create_file(parent, std::string(parts.name), file.mode, file.fd);
        file.staged = error == 0;
    }
    if (error == EEXIST) {
        const auto made_area = area();
        if (made_area.index() != 0) {
            return std::get<1>(made_area);
        }
        SessionArea& session = *std::get<0>(made_area);
        file.work_name = session.next_name();
        error = create_file(session.files(), file.work_name, file.mode, file.fd);
    }
    return error == 0 ? std::nullopt : std::optional(make_problem(error));
}

std::optional<StoreProblem> Store::extent_done(LargeFile& file, std::uint64_t offset,
                                               std::uint64_t length, DirectoryCache& directories) {
    {
        const std::scoped_lock lock(files_mutex_);
        file.received.add(offset, offset + length);
        --file.writers;
    }
    if (auto problem = check_space(length); problem) {
        return problem;
    }
    const std::unique_ptr<LargeFile> complete = take_if_complete(file.id);
    return complete ? publish_large(*complete, directories) : std::nullopt;
}

void Store::extent_lost(LargeFile& file) {
    const std::uint64_t id = file.id;
    {
        const std::scoped_lock lock(files_mutex_);
        --file.writers;
    }
    if (const std::unique_ptr<LargeFile> complete = take_if_complete(id); complete) {
        drop_large(*complete);
    }
}

Store::EndedFile Store::end_file(std::uint64_t id, DirectoryCache& directories) {
    {
        const std::scoped_lock lock(files_mutex_);
        const auto known = files_.find(id);
        if (known != files_.end() ? known->second->ended : ended_early_.count(id) != 0) {
            return {proto::Fault::bad_value};
        }
        if (known != files_.end()) {
            known->second->ended = true;
        } else if (ended_early_.size() >= kMaxEarly) {
            return {proto::Fault::limit_exceeded};
        } else {
            ended_early_.insert(id);
        }
    }
    EndedFile result;
    if (const std::unique_ptr<LargeFile> complete = take_if_complete(id); complete) {
        result.problem = publish_large(*complete, directories);
        result.path = complete->path;
    }
    return result;
}

proto::Fault Store::abort_file(std::uint64_t id) {
    {
        const std::scoped_lock lock(files_mutex_);
        if (aborted_.size() >= kMaxEarly) {
            return proto::Fault::limit_exceeded;
        }
        aborted_.insert(id);
        if (const auto known = files_.find(id); known != files_.end()) {
            LargeFile& file = *known->second;
            file.dead = file.ended = file.aborted = true;
        }
    }
    if (const std::unique_ptr<LargeFile> complete = take_if_complete(id); complete) {
        drop_large(*complete);
    }
    return proto::Fault::none;
}

bool Store::has_unfinished_files() {
    const std::scoped_lock lock(files_mutex_);
    return !files_.empty() || !ended_early_.empty();
}

// From here on nobody else can reach the file.
std::unique_ptr<LargeFile> Store::take_if_complete(std::uint64_t id) {
    const std::scoped_lock lock(files_mutex_);
    const auto known = files_.find(id);
    if (known == files_.end() || !known->second->complete()) {
        return nullptr;
    }
    std::unique_ptr<LargeFile> file = std::move(known->second);
    files_.erase(known);
    return file;
}

std::optional<StoreProblem> Store::publish_large(LargeFile& file, DirectoryCache& directories) {
    if (!file.aborted) {
        counts_.settled.fetch_add(1, std::memory_order_relaxed);
    }
    if (file.dead) {
        drop_large(file);
        return std::nullopt; // reported when it died
    }
    // A hole at the end leaves the file shorter than it is meant to be.
    count_system_call();
    int error = ftruncate(file.fd.get(), static_cast<off_t>(file.size)) == 0 ? 0 : errno;
    if (error == 0) {
        error = set_metadata(file.fd.get(), file.mode, file.mtime);
    }
    if (error == 0) {
        error = file.fd.close();
    }
    if (error == 0 && !file.staged) {
        const Placed placed = place(file.path, false);
        if (placed.index() != 0) {
            return std::get<1>(placed);
        }
        const SplitPath parts = split_path(file.stored_path);
        const int parent =
            directories.get(owner_, std::get<0>(placed).base, parts.parent, kDefaultDirectoryMode);
        error =
            parent < 0 ? -parent : rename_file(area_->files(), file.work_name, parent, parts.name);
    }
    if (error != 0) {
        drop_large(file);
        return make_problem(error);
    }
    counts_.files.fetch_add(1, std::memory_order_relaxed);
    return std::nullopt;
}

void Store::drop_large(LargeFile& file) noexcept {
    const UniqueFd own = std::move(file.fd);
    if (!file.work_name.empty()) {
        count_system_call();
        unlinkat(area_->files(), file.work_name.c_str(), 0);
        return;
    }
    if (!file.staged) {
        return; // never made
    }
    // Removed through its path, like everything that came from a peer.
    const SplitPath parts = split_path(file.stored_path);
    const Opened parent = open_directory_beneath(area_->tree(), std::string(parts.parent));
    const std::string name(parts.name);
    // Another file of that name may have been renamed over it.
    if (parent.ok() && (!own || is_same_file(own.get(), parent.fd.get(), name))) {
        count_system_call();
        unlinkat(parent.fd.get(), name.c_str(), 0);
    }
}

} // namespace sluice
