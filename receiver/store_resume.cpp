// The part of Store that finds out what need not be sent: because it is at the destination already,
// or because an earlier session that broke has left it.
#include "common/beneath.hpp"
#include "common/usage.hpp"
#include "receiver/store.hpp"

#include <fcntl.h>
#include <sys/stat.h>

namespace sluice {

namespace {

// For the session that broke to let go of what it left. Long enough for its connections to be
// closed by the system and noticed; short for a sender that meets another one at the same work.
constexpr std::chrono::milliseconds kPatience{1'000};

} // namespace

void Store::begin_journal(const std::vector<PartialFile>& carried_over) {
    if (!area_->adoptable()) {
        return;
    }
    Result<ResumeJournal> made =
        ResumeJournal::create(area_->fd(), {current_boot_id(), run_}, carried_over);
    if (made) {
        resume_.emplace(std::move(*made));
        return;
    }
    // Nobody will be able to go on with this session, and that is all; but what an old journal says
    // is no longer so.
    count_system_call();
    static_cast<void>(unlinkat(area_->fd(), kResumeJournalName, 0));
}

bool Store::may_adopt() const {
    return policy_.resume && !dry_run() && SessionArea::exists(root_, key_);
}

void Store::adopt() {
    std::optional<SessionArea> adopted = SessionArea::adopt(root_, key_, kPatience);
    if (!adopted) {
        return;
    }
    area_.emplace(std::move(*adopted));
    leftovers_.emplace(*area_);
    // Who does not trust size and mtime wants nothing of another run.
    const bool only_this_run = (flags_ & proto::kOpenIgnoreTimes) != 0;
    if (!leftovers_->load(current_boot_id(), only_this_run ? std::optional(run_) : std::nullopt)) {
        leftovers_.reset();
        static_cast<void>(area_->remove());
        area_.reset();
        return;
    }
    begin_journal(leftovers_->partial_files());
    std::erase_if(fresh_roots_, [this](std::uint16_t index) {
        const std::string& root = roots_[index];
        // Trees are kept under the names that they get, pieces under those that they are sent by.
        return leftovers_->has(root) ||
               (!root.empty() && leftovers_->has(target_.local_path(root)));
    });
}

bool Store::wants(const proto::OfferEntry& offered, DirectoryCache& directories,
                  std::vector<proto::Range>& present) {
    if (!policy_.reveal) {
        return true;
    }
    if ((flags_ & proto::kOpenIgnoreTimes) == 0 && target_.exists()) {
        const std::string path = target_.local_path(offered.path);
        const SplitPath parts = split_path(path);
        const int parent = directories.get(owner_, target_.directory.get(), parts.parent, 0);
        // Missing, or in the way: storing it will tell.
        if (parent >= 0 && is_unchanged(offered, parent, std::string(parts.name))) {
            counts_.unchanged.fetch_add(1, std::memory_order_relaxed);
            list_file(offered.path, offered.size);
            durability_.note_many(); // it may be of a push that synced nothing
            return false;
        }
    }
    if (!leftovers_) {
        return true;
    }
    if (leftovers_->is_partial(offered.path)) {
        present = leftovers_->ranges_of(offered.path, offered.size, offered.mtime, offered.version);
        return true;
    }
    return !reuse_whole(offered, directories);
}

bool Store::is_unchanged(const proto::OfferEntry& offered, int parent,
                         const std::string& name) const {
    struct stat status {};
    count_system_call();
    return fstatat(parent, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 &&
           S_ISREG(status.st_mode) && static_cast<std::uint64_t>(status.st_size) == offered.size &&
           same_time(status.st_mtim, offered.mtime) &&
           set_offered_mode(offered, parent, name, status.st_mode & 07777U);
}

// False: the mode is another one and cannot be changed.
bool Store::set_offered_mode(const proto::OfferEntry& offered, int parent, const std::string& name,
                             std::uint32_t mode) const {
    if (!preserves() || dry_run() || mode == (offered.mode & kKeptModeBits)) {
        return true;
    }
    count_system_call();
    const UniqueFd file = UniqueFd::adopt(
        openat(parent, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    count_system_call();
    return file && fchmod(file.get(), offered.mode & kKeptModeBits) == 0;
}

// Moves a file from the tree of earlier sessions to that of this one. False: it is not there.
bool Store::reuse_whole(const proto::OfferEntry& offered, DirectoryCache& directories) {
    if (!leftovers_->trusts_whole_files() || !preserves()) {
        return false;
    }
    const Placed placed = place(offered.path, false);
    if (placed.index() != 0 || !std::get<0>(placed).staged) {
        return false;
    }
    const Place& place = std::get<0>(placed);
    const SplitPath parts = split_path(place.path);
    const std::string name(parts.name);
    const int from = directories.get(owner_, area_->old(), parts.parent, 0);
    if (from < 0 || !is_unchanged(offered, from, name)) {
        return false;
    }
    // The cache holds more than two, so that `from` stays open.
    const int to = directories.get(owner_, place.base, parts.parent, kDefaultDirectoryMode);
    if (to < 0) {
        return false;
    }
    count_system_call();
    if (renameat(from, name.c_str(), to, name.c_str()) != 0) {
        return false;
    }
    counts_.unchanged.fetch_add(1, std::memory_order_relaxed);
    list_file(offered.path, offered.size);
    counts_.reused_files.fetch_add(1, std::memory_order_relaxed);
    counts_.reused_bytes.fetch_add(offered.size, std::memory_order_relaxed);
    return true;
}

// Something else takes the place of what an earlier session left under this name.
void Store::forget_leftover(std::string_view wire_path) {
    if (!leftovers_) {
        return;
    }
    if (const std::optional<Leftovers::Taken> taken = leftovers_->take(wire_path);
        taken && resume_) {
        static_cast<void>(resume_->end_file(taken->journal_number));
    }
}

bool Store::is_worth_keeping() const {
    return area_ && area_->adoptable() && resume_ &&
           (counts_.files > 0 || counts_.reused_files > 0 || has_pieces_ || leftovers_);
}

void Store::touch() {
    if (area_) {
        area_->touch();
    }
}

} // namespace sluice
