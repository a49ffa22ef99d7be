// The part of Store that ends a session: what was staged appears at the destination.
#include "common/beneath.hpp"
#include "common/text.hpp"
#include "common/usage.hpp"
#include "receiver/store.hpp"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <fmt/format.h>
#include <set>
#include <sys/stat.h>

namespace sluice {

namespace {

// Directories that are open at a time while times and modes are set.
constexpr std::size_t kPublishCacheSize = 64;

// The owner could no longer work in it. Such a mode comes last, at the destination: a directory can
// be moved to another parent only by who may write into it.
bool is_restrictive(const DirectoryNote& note) {
    return (note.mode & S_IRWXU) != S_IRWXU;
}

// What is on the medium now, nobody knows.
Status settle(int error) {
    return error == 0 ? ok()
                      : Status{system_error(ErrorKind::file_io, "cannot bring it all to the medium",
                                            error)};
}

std::string_view top_of(std::string_view path) {
    return path.substr(0, path.find('/'));
}

} // namespace

// What publish() knows while it runs.
struct Store::Publication {
    explicit Publication(const Report& to) : report(to) {}

    const Report& report;
    DirectoryCache directories{kPublishCacheSize};
    // Staged names that had to be merged into what came into being meanwhile: the notes about
    // directories in there must be carried out once more, at the destination.
    std::set<std::string, std::less<>> merged;
    // Directories that their owner may not enter or change in the end. They come last, the deepest
    // first, because nothing below them can be reached afterwards.
    std::vector<std::pair<DirectoryNote, std::string>> restrictive;

    void problem(const std::string& path, int error) const { report(path, make_problem(error)); }
};

Status Store::publish(const Report& report) {
    Publication publication(report);
    const auto is_top = [this](const DirectoryNote& note) {
        return target_.exists() ? note.path.find('/') == std::string_view::npos : note.path.empty();
    };
    const auto finish_all = [&](int base, const auto& wanted) -> Status {
        const int error = journal_.for_each([&](const DirectoryNote& note) {
            if (wanted(note)) {
                finish_directory(note, base, publication);
            }
        });
        return error == 0 ? ok()
                          : Status{system_error(ErrorKind::file_io,
                                                "cannot read the directory journal", error)};
    };

    if (area_) {
        Status done = finish_all(area_->tree(), [&](const DirectoryNote& note) {
            return note.staged && !is_top(note) && !is_restrictive(note);
        });
        if (done) {
            done = publish_staged(publication);
        }
        if (!done) {
            return done;
        }
        publication.directories.forget(owner_);
        // Now, because it changes the time of the directory that it is in.
        if (area_->remove()) {
            area_.reset();
        }
    }
    Opened destination = open_directory_beneath(root_.fd.get(), target_.path);
    if (!destination.ok() && destination.error_number != ENOENT) {
        return system_error(ErrorKind::file_io, "cannot reopen the destination",
                            destination.error_number);
    }
    if (destination.ok()) { // else nothing came
        Status done = finish_all(destination.fd.get(), [&](const DirectoryNote& note) {
            if (is_restrictive(note)) {
                publication.restrictive.emplace_back(note, note.path);
                return false;
            }
            return !note.staged || is_top(note) ||
                   publication.merged.count(target_.exists() ? top_of(note.path) : "") != 0;
        });
        if (!done) {
            return done;
        }
    }
    // Before modes that would not let us open what has to be synced.
    Status settled = settle(durability_.settle_directories(root_.fd.get()));
    if (settled) {
        finish_late(destination.fd.get(), publication);
    }
    return settled;
}

void Store::finish_late(int destination, Publication& publication) {
    auto& notes = publication.restrictive;
    std::sort(notes.begin(), notes.end(),
              [](const auto& a, const auto& b) { return a.second.size() > b.second.size(); });
    for (auto& [note, path] : notes) {
        note.path = path;
        finish_directory(note, destination, publication);
    }
}

void Store::finish_directory(const DirectoryNote& note, int base, Publication& publication) {
    const std::string path(note.path);
    const SplitPath parts = split_path(path);
    const std::array<timespec, 2> times = modification_time(note.mtime);
    const int parent = publication.directories.get(owner_, base, parts.parent, 0);
    const std::string name = path.empty() ? "." : std::string(parts.name);
    // What is right already stays untouched, its ctime, too.
    struct stat status {};
    count_system_call();
    int error = parent < 0                                                         ? -parent
                : fstatat(parent, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 ? 0
                                                                                   : errno;
    if (error == 0 && !same_time(status.st_mtim, note.mtime)) {
        count_system_call();
        error = utimensat(parent, name.c_str(), times.data(), AT_SYMLINK_NOFOLLOW) == 0 ? 0 : errno;
    }
    if (error == 0 && note.set_mode && (status.st_mode & 07777U) != note.mode) {
        // Not fchmodat(2): it follows symbolic links.
        const Opened directory = open_directory_beneath(parent, path.empty() ? "" : name);
        count_system_call();
        error = !directory.ok()                              ? directory.error_number
                : fchmod(directory.fd.get(), note.mode) == 0 ? 0
                                                             : errno;
        if (error == 0 && is_restrictive(note)) {
            error = durability_.settle_file(directory.fd.get()); // nobody can open it later
        }
    }
    if (error != 0) {
        publication.problem(path, error);
    } else if (durability_.wanted()) {
        note_directory(path);
    }
}

Status Store::publish_staged(Publication& publication) {
    if (target_.exists()) {
        std::vector<std::string> names;
        if (const int error = list_directory(area_->tree(), names); error != 0) {
            return system_error(ErrorKind::file_io, "cannot read the staged tree", error);
        }
        Status settled = names.empty() ? ok() : settle_staged();
        if (!settled) {
            return settled;
        }
        for (const std::string& name : names) {
            publish_name(area_->tree(), name, target_.directory.get(), name, name, publication);
        }
        return ok();
    }
    const SplitPath parts = split_path(target_.path);
    const Opened parent =
        make_directories_beneath(root_.fd.get(), std::string(parts.parent), kDefaultDirectoryMode);
    if (!parent.ok()) {
        return system_error(
            ErrorKind::file_io,
            fmt::format("cannot make '{}' in the receiver's directory", escape(parts.parent)),
            parent.error_number);
    }
    // The work area is for its owner's eyes only; what is published is not.
    count_system_call();
    if (fchmod(area_->tree(), kDefaultDirectoryMode & ~root_.umask) != 0) {
        return system_error(ErrorKind::file_io, "cannot open up the staged tree", errno);
    }
    if (Status settled = settle_staged(); !settled) {
        return settled;
    }
    publish_name(area_->fd(), SessionArea::kTreeName, parent.fd.get(), std::string(parts.name), "",
                 publication);
    return ok();
}

// Before the rename that makes it appear.
Status Store::settle_staged() {
    durability_.note_many();
    return settle(durability_.settle_file_system(area_->tree()));
}

// Renames over anything but a directory that has something in it, as rename(2) does.
void Store::publish_name(int from, const std::string& name, int to, const std::string& new_name,
                         const std::string& path, Publication& publication) {
    count_system_call();
    if (renameat(from, name.c_str(), to, new_name.c_str()) == 0) {
        return;
    }
    if (errno == ENOTEMPTY || errno == EEXIST) {
        publication.merged.emplace(top_of(path));
        merge_directory(from, name, to, new_name, path, publication);
    } else {
        publication.problem(path, errno);
    }
}

// The name came into being while its tree was staged: file by file, then.
void Store::merge_directory(int from, const std::string& name, int to, const std::string& new_name,
                            const std::string& path, Publication& publication) {
    const Opened source = open_directory_beneath(from, name);
    const Opened present = open_directory_beneath(to, new_name);
    if (!source.ok() || !present.ok()) {
        publication.problem(path, source.ok() ? present.error_number : source.error_number);
        return;
    }
    std::vector<std::string> children;
    if (const int error = list_directory(source.fd.get(), children); error != 0) {
        publication.problem(path, error);
        return;
    }
    for (const std::string& child : children) {
        publish_name(source.fd.get(), child, present.fd.get(), child,
                     path.empty() ? child : fmt::format("{}/{}", path, child), publication);
    }
}

Status Store::list_files(const std::function<void(const ListedFile&)>& visit,
                         std::uint64_t& left_out) {
    if (!digests_) {
        return ok();
    }
    left_out = unlisted_;
    const Opened destination = open_directory_beneath(root_.fd.get(), target_.path);
    if (destination.error_number == ENOENT) {
        return ok(); // nothing came
    }
    const int error = destination.ok()
                          ? digests_->for_each(destination.fd.get(), target_.path, visit, left_out)
                          : destination.error_number;
    return error == 0 ? ok()
                      : Status{system_error(ErrorKind::file_io, "cannot list the digests", error)};
}

bool Store::abandon() {
    files_.clear();
    resume_.reset();
    return !area_ || area_->remove();
}

} // namespace sluice
