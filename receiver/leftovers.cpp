#include "receiver/leftovers.hpp"

#include "common/beneath.hpp"
#include "common/digest.hpp"
#include "common/usage.hpp"
#include "receiver/range_set.hpp"

#include <algorithm>
#include <fcntl.h>
#include <set>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace sluice {

namespace {

bool same_source(const PartialFile& file, std::uint64_t size, const proto::Timestamp& mtime,
                 std::uint64_t version) {
    return file.size == size && file.mtime == mtime && file.version == version;
}

std::string_view top_of(std::string_view path) {
    return path.substr(0, path.find('/'));
}

} // namespace

bool Leftovers::load(const std::string& boot_id, const std::optional<proto::Token>& only_run) {
    std::optional<LoadedJournal> journal = load_journal(area_.fd());
    if (!journal || (only_run && journal->header.run != *only_run)) {
        return false;
    }
    trusts_whole_files_ = !boot_id.empty() && journal->header.boot_id == boot_id;
    for (PartialFile& file : journal->files) {
        check(file);
        if (!file.pieces.empty()) {
            std::string path = file.path;
            partial_[std::move(path)] = {std::move(file), 0};
        }
    }
    if (!trusts_whole_files_ && !rescue_partial_files()) {
        return false;
    }
    std::size_t index = 0;
    for (auto& [path, taken] : partial_) {
        taken.journal_number = ResumeJournal::carried_number(index++);
    }
    remove_strays();
    return true;
}

// Drops the pieces that are not there, or not as they were.
void Leftovers::check(PartialFile& file) const {
    const Opened data = open_beneath(directory_of(file), file.stored_path, O_RDONLY | O_NONBLOCK);
    struct stat status {};
    if (!data.ok() || fstat(data.fd.get(), &status) != 0 || !S_ISREG(status.st_mode) ||
        status.st_ino != file.inode) {
        file.pieces.clear();
        return;
    }
    std::erase_if(file.pieces, [&](const PartialFile::Piece& piece) {
        // A hole may end beyond what was written so far.
        if (trusts_whole_files_) {
            return false;
        }
        const RangeDigest read = digest_range(data.fd.get(), piece.offset, piece.length);
        return !piece.digest || read.error_number != 0 || read.length != piece.length ||
               read.digest != *piece.digest;
    });
}

// The files of the old tree must not be found again, by this session or by the next, which would
// take them for its own machine's work: what is known to be good moves out, the rest goes.
bool Leftovers::rescue_partial_files() {
    for (auto& [path, taken] : partial_) {
        if (!taken.file.staged) {
            continue;
        }
        const SplitPath parts = split_path(taken.file.stored_path);
        const Opened parent = open_directory_beneath(area_.old(), std::string(parts.parent));
        const std::string name = area_.next_name();
        count_system_call();
        if (!parent.ok() || renameat(parent.fd.get(), std::string(parts.name).c_str(),
                                     area_.files(), name.c_str()) != 0) {
            return false;
        }
        taken.file.staged = false;
        taken.file.stored_path = name;
    }
    return area_.clear_old();
}

// Data among the session's files that belongs to no partial file.
void Leftovers::remove_strays() const {
    std::set<std::string, std::less<>> wanted;
    for (const auto& [path, taken] : partial_) {
        if (!taken.file.staged) {
            wanted.insert(taken.file.stored_path);
        }
    }
    std::vector<std::string> names;
    static_cast<void>(list_directory(area_.files(), names)); // what is left goes with the area
    for (const std::string& name : names) {
        if (wanted.find(name) == wanted.end()) {
            static_cast<void>(remove_tree(area_.files(), name));
        }
    }
}

std::vector<PartialFile> Leftovers::partial_files() const {
    const std::scoped_lock lock(mutex_);
    std::vector<PartialFile> files;
    files.reserve(partial_.size());
    for (const auto& [path, taken] : partial_) {
        files.push_back(taken.file);
    }
    return files;
}

bool Leftovers::has(std::string_view top) const {
    if (!top.empty()) {
        struct stat status {};
        count_system_call();
        if (fstatat(area_.old(), std::string(top).c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0) {
            return true;
        }
        const std::scoped_lock lock(mutex_);
        return std::any_of(partial_.begin(), partial_.end(),
                           [&](const auto& entry) { return top_of(entry.first) == top; });
    }
    std::vector<std::string> names;
    const bool readable = list_directory(area_.old(), names) == 0;
    const std::scoped_lock lock(mutex_);
    return !readable || !names.empty() || !partial_.empty();
}

bool Leftovers::is_partial(std::string_view path) const {
    const std::scoped_lock lock(mutex_);
    return partial_.find(path) != partial_.end();
}

std::vector<proto::Range> Leftovers::ranges_of(std::string_view path, std::uint64_t size,
                                               const proto::Timestamp& mtime,
                                               std::uint64_t version) const {
    RangeSet present;
    {
        const std::scoped_lock lock(mutex_);
        const auto found = partial_.find(path);
        if (found == partial_.end() || !same_source(found->second.file, size, mtime, version)) {
            return {};
        }
        for (const PartialFile::Piece& piece : found->second.file.pieces) {
            present.add(piece.offset, piece.offset + piece.length);
        }
    }
    std::vector<proto::Range> ranges;
    for (const auto& [begin, end] : present.ranges()) {
        ranges.push_back({begin, end - begin});
    }
    return ranges;
}

std::optional<Leftovers::Taken> Leftovers::take(std::string_view path) {
    const std::scoped_lock lock(mutex_);
    const auto found = partial_.find(path);
    if (found == partial_.end()) {
        return std::nullopt;
    }
    Taken taken = std::move(found->second);
    partial_.erase(found);
    return taken;
}

} // namespace sluice
