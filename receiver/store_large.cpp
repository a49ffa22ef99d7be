// The part of Store that deals with files that arrive as extents.
#include "common/beneath.hpp"
#include "common/usage.hpp"
#include "receiver/store.hpp"

#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>
#include <utility>

namespace sluice {

namespace {

// A later session must be able to open it again.
constexpr std::uint32_t kWorkingMode = S_IRUSR | S_IWUSR;
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

Storage::BegunExtent Store::begin_extent(const proto::Extent& extent, DirectoryCache& directories) {
    return files_.begin(extent, [&](LargeFile& file) { return open_large(file, directories); });
}

std::optional<StoreProblem> Store::open_large(LargeFile& file, DirectoryCache& directories) {
    const Placed placed = place(file.path, false);
    if (placed.index() != 0) {
        return std::get<1>(placed);
    }
    const Place& place = std::get<0>(placed);
    file.stored_path = place.path;
    const auto made_area = area();
    if (made_area.index() != 0) {
        return std::get<1>(made_area);
    }
    SessionArea& session = *std::get<0>(made_area);
    if (leftovers_) {
        const std::vector<proto::Range> ranges =
            leftovers_->ranges_of(file.path, file.size, file.mtime, file.version);
        const int error = reopen_large(file, place, ranges, session, directories);
        if (error == 0) {
            return std::nullopt;
        }
        if (!ranges.empty()) { // the sender was told of them, and will not send them
            return make_problem(error);
        }
    }
    int error = EEXIST;
    if (place.staged) {
        const SplitPath parts = split_path(file.stored_path);
        const int parent = directories.get(owner_, place.base, parts.parent, kDefaultDirectoryMode);
        if (parent < 0) {
            return make_problem(-parent);
        }
        error = create_file(parent, std::string(parts.name), file.mode | kWorkingMode, file.fd);
        file.staged = error == 0;
    }
    if (error == EEXIST) {
        file.work_name = session.next_name();
        error = create_file(session.files(), file.work_name, file.mode | kWorkingMode, file.fd);
    }
    return error == 0 ? std::nullopt : std::optional(make_problem(error));
}

// Its data moves to where a new file would have been made, whatever way that session stored it.
int Store::reopen_large(LargeFile& file, const Place& place,
                        const std::vector<proto::Range>& ranges, SessionArea& session,
                        DirectoryCache& directories) {
    std::optional<Leftovers::Taken> taken = leftovers_->take(file.path);
    if (!taken) {
        return ENOENT;
    }
    PartialFile& partial = taken->file;
    const SplitPath stored = split_path(partial.stored_path);
    const Opened from =
        open_directory_beneath(leftovers_->directory_of(partial), std::string(stored.parent));
    const std::string old_name(stored.name);
    int error = from.error_number;
    if (error == 0 && ranges.empty()) { // of another source
        error = remove_tree(from.fd.get(), old_name) == 0 ? ENOENT : EEXIST;
    }
    const SplitPath parts = split_path(place.path);
    const int tree = place.staged
                         ? directories.get(owner_, place.base, parts.parent, kDefaultDirectoryMode)
                         : -1;
    const int to = place.staged ? tree : session.files();
    const std::string name = place.staged ? std::string(parts.name) : session.next_name();
    if (error == 0) {
        error = to < 0 ? -to : rename_file(from.fd.get(), old_name, to, name);
    }
    if (resume_) {
        static_cast<void>(resume_->end_file(taken->journal_number));
    }
    if (error == 0) {
        Opened opened = open_beneath(to, name, O_RDWR | O_NOFOLLOW);
        file.fd = std::move(opened.fd);
        error = opened.error_number;
    }
    if (error != 0) {
        return error;
    }
    file.staged = place.staged;
    file.work_name = place.staged ? std::string{} : name;
    file.soiled = true;
    for (const proto::Range& range : ranges) {
        file.received.add(range.offset, range.offset + range.length);
    }
    counts_.reused_bytes.fetch_add(file.received.bytes(), std::memory_order_relaxed);
    partial.stored_path = place.staged ? place.path : name;
    partial.staged = place.staged;
    if (Result<std::uint64_t> number = resume_ ? resume_->begin_file(partial) : std::uint64_t{0};
        number) {
        file.journal_number = *number;
    }
    return 0;
}

std::optional<StoreProblem> Store::extent_done(LargeFile& file, std::uint64_t offset,
                                               std::uint64_t length,
                                               const std::optional<Digest>& digest) {
    if (!file.dead) {
        durability_.start(file.fd.get(), offset, length);
    }
    drop_if_over(
        files_.done(file, offset, length, [&] { note_piece(file, offset, length, digest); }));
    return check_space(length);
}

std::optional<StoreProblem> Store::hole_done(LargeFile& file, std::uint64_t offset,
                                             std::uint64_t length) {
    if (file.soiled && !file.dead) {
        count_system_call();
        if (fallocate(file.fd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                      static_cast<off_t>(offset), static_cast<off_t>(length)) != 0 &&
            !file.dead.exchange(true)) {
            StoreProblem problem = make_problem(errno);
            extent_lost(file);
            return problem;
        }
    }
    return extent_done(file, offset, length, std::nullopt);
}

// A file that came whole with its first extent is complete in a moment: that is not worth a record.
void Store::note_piece(LargeFile& file, std::uint64_t offset, std::uint64_t length,
                       const std::optional<Digest>& digest) {
    if (!resume_ || file.dead) {
        return;
    }
    if (file.journal_number == 0) {
        if (file.received.covers(file.size)) {
            return;
        }
        struct stat status {};
        count_system_call();
        if (fstat(file.fd.get(), &status) != 0) {
            return;
        }
        PartialFile partial;
        partial.inode = status.st_ino;
        partial.path = file.path;
        partial.size = file.size;
        partial.mtime = file.mtime;
        partial.version = file.version;
        partial.stored_path = file.staged ? file.stored_path : file.work_name;
        partial.staged = file.staged;
        if (Result<std::uint64_t> number = resume_->begin_file(partial); number) {
            file.journal_number = *number;
        }
    }
    if (file.journal_number != 0 &&
        resume_->add_piece(file.journal_number, offset, length, digest) == 0) {
        has_pieces_ = true;
    }
}

void Store::extent_lost(LargeFile& file) {
    file.soiled = true;
    drop_if_over(files_.lost(file));
}

Storage::EndedFile Store::end_file(std::uint64_t id, DirectoryCache& directories) {
    const std::unique_ptr<LargeFile> file = files_.end(id);
    if (!file) {
        return {proto::Fault::bad_value};
    }
    EndedFile result;
    result.problem = publish_large(*file, directories);
    result.path = file->path;
    counts_.settled.fetch_add(1, std::memory_order_relaxed);
    return result;
}

proto::Fault Store::abort_file(std::uint64_t id) {
    std::unique_ptr<LargeFile> over;
    const proto::Fault fault = files_.abort(id, over);
    drop_if_over(over);
    return fault;
}

void Store::drop_if_over(const std::unique_ptr<LargeFile>& file) noexcept {
    if (file) {
        drop_large(*file);
    }
}

std::optional<StoreProblem> Store::publish_large(LargeFile& file, DirectoryCache& directories) {
    if (file.dead) {
        drop_large(file);
        return std::nullopt; // reported when it died
    }
    // A hole at the end leaves the file shorter than it is meant to be.
    count_system_call();
    int error = ftruncate(file.fd.get(), static_cast<off_t>(file.size)) == 0 ? 0 : errno;
    if (error == 0) {
        error = set_metadata(file.fd.get(), file.mode | kWorkingMode, file.mode, file.mtime);
    }
    if (error == 0) {
        error = durability_.settle_file(file.fd.get());
    }
    if (error == 0) {
        error = file.fd.close();
    }
    forget_in_journal(file);
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
        if (error == 0) {
            note_name(std::get<0>(placed));
        }
    }
    if (error != 0) {
        drop_large(file);
        return make_problem(error);
    }
    list_file(file.path, file.size);
    counts_.files.fetch_add(1, std::memory_order_relaxed);
    return std::nullopt;
}

void Store::forget_in_journal(LargeFile& file) noexcept {
    if (resume_ && file.journal_number != 0) {
        static_cast<void>(resume_->end_file(std::exchange(file.journal_number, 0)));
    }
}

void Store::drop_large(LargeFile& file) noexcept {
    const UniqueFd own = std::move(file.fd);
    forget_in_journal(file);
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
