// Puts what one session receives onto disk, so that every name at the destination is at each
// moment the old content, the new content, or absent.
//
// Two ways. A top-level name that does not exist yet is *staged*: its tree grows in the session's
// work area and is published by one rename at the end. Below names that exist, each file is
// written in the work area and *renamed into place* when it is complete.
//
// What a session that broke has stored lies in the work area for a while. The next session that
// asks for the same adopts it (adopt()): whole files and verified pieces are not sent again.
#pragma once

#include "common/result.hpp"
#include "proto/messages.hpp"
#include "receiver/directory_cache.hpp"
#include "receiver/directory_journal.hpp"
#include "receiver/durability.hpp"
#include "receiver/large_file_table.hpp"
#include "receiver/leftovers.hpp"
#include "receiver/storage.hpp"
#include "receiver/target.hpp"
#include "receiver/work_area.hpp"

#include <array>
#include <atomic>
#include <cstdint>
#include <ctime>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

namespace sluice {

// Only the modification time, as utimensat(2) takes it.
[[nodiscard]] std::array<timespec, 2> modification_time(const proto::Timestamp& time) noexcept;
// Whether a file system that was given `wanted` may show `stored`: those that keep whole seconds
// only give 0 nanoseconds back.
[[nodiscard]] bool same_time(const timespec& stored, const proto::Timestamp& wanted) noexcept;

// What the receiver, not the sender, decides about a session's storage.
struct StorePolicy {
    std::uint64_t min_free_bytes = 0; // refuse data that would leave less
    bool sync = false;                // on the medium before publish() returns, also unasked
    bool resume = true;               // adopt and leave leftovers
    bool list_digests = false;        // for list_files()
    bool reveal = true;               // tell what is there already
    std::string holder{}; // whose leftovers may be adopted; empty: nobody's in particular
};

class Store final : public Storage {
public:
    // `owner` tells this session from others in the directory caches. `root` is borrowed. Nothing
    // is written before something has to be.
    [[nodiscard]] static Result<std::unique_ptr<Store>> open(const ReceiverRoot& root,
                                                             std::uint64_t owner,
                                                             const proto::Open& request,
                                                             const StorePolicy& policy);
    ~Store() override;

    [[nodiscard]] bool discards() const noexcept override { return false; }
    [[nodiscard]] bool dry_run() const noexcept override {
        return (flags_ & proto::kOpenDryRun) != 0;
    }
    [[nodiscard]] bool syncs() const noexcept override { return durability_.wanted(); }
    [[nodiscard]] const StoreCounts& counts() const noexcept override { return counts_; }

    [[nodiscard]] bool may_adopt() const override;
    void adopt() override;
    [[nodiscard]] const std::vector<std::uint16_t>& fresh_roots() const noexcept override {
        return fresh_roots_;
    }
    [[nodiscard]] bool wants(const proto::OfferEntry& offered, DirectoryCache& directories,
                             std::vector<proto::Range>& present) override;
    [[nodiscard]] std::optional<StoreProblem> put(proto::Record record,
                                                  DirectoryCache& directories) override;
    [[nodiscard]] BegunExtent begin_extent(const proto::Extent& extent,
                                           DirectoryCache& directories) override;
    [[nodiscard]] std::optional<StoreProblem>
    extent_done(LargeFile& file, std::uint64_t offset, std::uint64_t length,
                const std::optional<Digest>& digest) override;
    [[nodiscard]] std::optional<StoreProblem> hole_done(LargeFile& file, std::uint64_t offset,
                                                        std::uint64_t length) override;
    void extent_lost(LargeFile& file) override;
    [[nodiscard]] EndedFile end_file(std::uint64_t id, DirectoryCache& directories) override;
    [[nodiscard]] proto::Fault abort_file(std::uint64_t id) override;
    [[nodiscard]] bool has_unfinished_files() override { return !files_.empty(); }
    [[nodiscard]] Status publish(const Report& report) override;
    [[nodiscard]] Status list_files(const std::function<void(const ListedFile&)>& visit,
                                    std::uint64_t& left_out) override;
    [[nodiscard]] bool abandon() override;
    [[nodiscard]] bool is_worth_keeping() const override;
    void touch() override;

private:
    Store(const ReceiverRoot& root, std::uint64_t owner, Target target, const proto::Open& request,
          const StorePolicy& policy);

    // Where a path of the wire belongs.
    struct Place {
        int base = -1;
        bool staged = false;
        std::string path; // relative to base
    };
    using Placed = std::variant<Place, StoreProblem>;
    [[nodiscard]] Placed place(std::string_view wire_path, bool is_directory);
    [[nodiscard]] bool stages(std::string_view top);
    // The session's area, made at the first call; a negative errno as text in the problem.
    [[nodiscard]] std::variant<SessionArea*, StoreProblem> area();
    [[nodiscard]] int area_directory(); // or the negative errno
    void begin_journal(const std::vector<PartialFile>& carried_over);
    [[nodiscard]] bool is_unchanged(const proto::OfferEntry& offered, int parent,
                                    const std::string& name) const;
    [[nodiscard]] bool set_offered_mode(const proto::OfferEntry& offered, int parent,
                                        const std::string& name, std::uint32_t mode) const;
    [[nodiscard]] bool reuse_whole(const proto::OfferEntry& offered, DirectoryCache& directories);
    [[nodiscard]] std::optional<StoreProblem> check_space(std::uint64_t bytes);

    [[nodiscard]] std::optional<StoreProblem>
    put_directory(const proto::Record& record, const Place& place, DirectoryCache& directories);
    [[nodiscard]] std::optional<StoreProblem> put_symlink(const proto::Record& record,
                                                          const Place& place, int parent);
    [[nodiscard]] std::optional<StoreProblem> put_file(const proto::Record& record,
                                                       const Place& place, int parent);
    [[nodiscard]] int create_file(int directory, const std::string& name, std::uint32_t mode,
                                  UniqueFd& out) const;
    [[nodiscard]] int set_metadata(int file, std::uint32_t made_mode, std::uint32_t mode,
                                   const proto::Timestamp& mtime) const;
    [[nodiscard]] std::optional<StoreProblem> open_large(LargeFile& file,
                                                         DirectoryCache& directories);
    // 0, or errno. Goes on with what an earlier session left of the file, where that is possible:
    // with `ranges`.
    [[nodiscard]] int reopen_large(LargeFile& file, const Place& place,
                                   const std::vector<proto::Range>& ranges, SessionArea& session,
                                   DirectoryCache& directories);
    [[nodiscard]] std::optional<StoreProblem> publish_large(LargeFile& file,
                                                            DirectoryCache& directories);
    void note_piece(LargeFile& file, std::uint64_t offset, std::uint64_t length,
                    const std::optional<Digest>& digest);
    void forget_in_journal(LargeFile& file) noexcept;
    void drop_large(LargeFile& file) noexcept;
    void drop_if_over(const std::unique_ptr<LargeFile>& file) noexcept;
    void list_file(std::string_view wire_path, std::uint64_t size);
    void forget_leftover(std::string_view wire_path);
    // A name below `place.base` that is not staged has changed.
    void note_name(const Place& place);
    void note_directory(std::string_view path); // relative to the destination

    struct Publication;
    void finish_directory(const DirectoryNote& note, int base, Publication& publication);
    void finish_late(int destination, Publication& publication);
    [[nodiscard]] Status publish_staged(Publication& publication);
    [[nodiscard]] Status settle_staged();
    void publish_name(int from, const std::string& name, int to, const std::string& new_name,
                      const std::string& path, Publication& publication);
    void merge_directory(int from, const std::string& name, int to, const std::string& new_name,
                         const std::string& path, Publication& publication);

    // Of directories that nobody described, and of everything when modes are not kept; less the
    // umask.
    static constexpr mode_t kDefaultDirectoryMode = 0777;
    static constexpr mode_t kDefaultFileMode = 0666;

    [[nodiscard]] bool preserves() const noexcept { return (flags_ & proto::kOpenPreserve) != 0; }

    const ReceiverRoot& root_;
    const std::uint64_t owner_;
    const Target target_;
    const std::uint32_t flags_;
    const StorePolicy policy_;
    const std::vector<std::string> roots_; // as in the request
    const std::string key_;                // of the work area
    const proto::Token run_;
    std::vector<std::uint16_t> fresh_roots_;

    std::mutex area_mutex_;
    std::optional<SessionArea> area_;     // guarded by area_mutex_ until made
    std::optional<ResumeJournal> resume_; // the same; none where it could not be made
    std::optional<Leftovers> leftovers_;  // after adopt(); refers to area_

    std::mutex tops_mutex_;
    std::unordered_map<std::string, bool> tops_; // top-level name: staged?
    std::size_t top_bytes_ = 0;                  // of memory for them

    LargeFileTable files_;
    std::atomic<bool> has_pieces_{false}; // the resume journal says something of this session

    DirectoryJournal journal_;
    std::optional<DigestList> digests_;
    std::atomic<std::uint64_t> unlisted_{0}; // files that digests_ could not hold
    Durability durability_;
    std::atomic<std::uint64_t> unchecked_bytes_{0}; // stored since free space was looked at
    StoreCounts counts_;
};

} // namespace sluice
