// Puts what one session receives onto disk, so that every name at the destination is at each
// moment the old content, the new content, or absent.
//
// Two ways. A top-level name that does not exist yet is *staged*: its tree grows in the session's
// work area and is published by one rename at the end. Below names that exist, each file is
// written in the work area and *renamed into place* when it is complete.
//
// What a session that broke has stored lies in the work area for a while. The next session that
// asks for the same adopts it (adopt()): whole files and verified pieces are not sent again.
//
// Shared by all connections of the session: every function is thread-safe except adopt(), which
// comes before everything else, and publish(), which comes after. Each caller brings the
// DirectoryCache of its own thread.
#pragma once

#include "common/result.hpp"
#include "proto/batch.hpp"
#include "proto/messages.hpp"
#include "receiver/digest_list.hpp"
#include "receiver/directory_cache.hpp"
#include "receiver/directory_journal.hpp"
#include "receiver/durability.hpp"
#include "receiver/large_file.hpp"
#include "receiver/leftovers.hpp"
#include "receiver/target.hpp"
#include "receiver/work_area.hpp"

#include <array>
#include <atomic>
#include <cstdint>
#include <ctime>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <variant>
#include <vector>

namespace sluice {

// Why something could not be stored.
struct StoreProblem {
    proto::FileFault fault = proto::FileFault::io;
    int error_number = 0;
    bool fatal = false; // nothing else can be stored either: no space, a failing disk
    std::string text;   // for people, without the path
};
[[nodiscard]] StoreProblem make_problem(int error_number);
[[nodiscard]] StoreProblem make_conflict(std::string text);

// Only the modification time, as utimensat(2) takes it.
[[nodiscard]] std::array<timespec, 2> modification_time(const proto::Timestamp& time) noexcept;
// Whether a file system that was given `wanted` may show `stored`: those that keep whole seconds
// only give 0 nanoseconds back.
[[nodiscard]] bool same_time(const timespec& stored, const proto::Timestamp& wanted) noexcept;

struct StoreCounts {
    std::atomic<std::uint64_t> files{0};     // published, or staged
    std::atomic<std::uint64_t> unchanged{0}; // those that were left by an earlier session, too
    std::atomic<std::uint64_t> reused_files{0};
    std::atomic<std::uint64_t> reused_bytes{0};
    std::atomic<std::uint64_t> directories{0};
    std::atomic<std::uint64_t> symlinks{0};
    std::atomic<std::uint64_t> settled{0}; // regular files received to their end, stored or not
};

// What the receiver, not the sender, decides about a session's storage.
struct StorePolicy {
    std::uint64_t min_free_bytes = 0; // refuse data that would leave less
    bool sync = false;                // on the medium before publish() returns, also unasked
    bool resume = true;               // adopt and leave leftovers
    bool list_digests = false;        // for list_files()
};

class Store {
public:
    // `owner` tells this session from others in the directory caches. `root` is borrowed. Nothing
    // is written before something has to be.
    [[nodiscard]] static Result<std::unique_ptr<Store>> open(const ReceiverRoot& root,
                                                             std::uint64_t owner,
                                                             const proto::Open& request,
                                                             const StorePolicy& policy);
    ~Store();
    Store(const Store&) = delete;
    Store& operator=(const Store&) = delete;

    // Whether an earlier session may have left something to adopt.
    [[nodiscard]] bool may_adopt() const;
    // Adopts it. Slow where there is much of it.
    void adopt();

    [[nodiscard]] const std::vector<std::uint16_t>& fresh_roots() const noexcept {
        return fresh_roots_;
    }

    // Whether the file is to be sent: not if it is there with the same size and mtime (its mode is
    // put right then). If it is, `present` gets the ranges of it that need not be.
    [[nodiscard]] bool wants(const proto::OfferEntry& offered, DirectoryCache& directories,
                             std::vector<proto::Range>& present);

    // Stores a directory, a symbolic link or a small file; a problem on failure.
    [[nodiscard]] std::optional<StoreProblem> put(proto::Record record,
                                                  DirectoryCache& directories);

    // Announces bytes of a large file; opens it at its first extent. The file takes the bytes until
    // extent_done() or extent_lost(); bytes for a dead file are to be dropped.
    struct BegunExtent {
        LargeFile* file = nullptr;               // null after a fault
        proto::Fault fault = proto::Fault::none; // it contradicts earlier ones, or a limit
        std::optional<StoreProblem> problem = std::nullopt; // why the file has just died
    };
    [[nodiscard]] BegunExtent begin_extent(const proto::Extent& extent,
                                           DirectoryCache& directories);
    // The extent is complete and good. `digest`: of its bytes, where they were hashed.
    [[nodiscard]] std::optional<StoreProblem> extent_done(LargeFile& file, std::uint64_t offset,
                                                          std::uint64_t length,
                                                          const std::optional<Digest>& digest);
    // The same for one that is a hole.
    [[nodiscard]] std::optional<StoreProblem> hole_done(LargeFile& file, std::uint64_t offset,
                                                        std::uint64_t length);
    // The extent did not arrive whole, or not as it should.
    void extent_lost(LargeFile& file);
    // All of the file is there (FileEnd): publishes it. Slow where it has to be synced.
    struct EndedFile {
        proto::Fault fault = proto::Fault::none; // it is unknown, or something is missing
        std::optional<StoreProblem> problem = std::nullopt;
        std::string path{}; // of the file that has the problem
    };
    [[nodiscard]] EndedFile end_file(std::uint64_t id, DirectoryCache& directories);
    // The file will not be completed (FileAbort), neither what has come of it nor what is still
    // under way on a data connection. A Fault: too many of them.
    [[nodiscard]] proto::Fault abort_file(std::uint64_t id);

    // Files of which extents came, but neither FileEnd nor FileAbort.
    [[nodiscard]] bool has_unfinished_files();

    // Makes everything that is staged appear, sets times and modes of directories, and leaves
    // nothing in the work area. `report` gets what could not be published, path by path; an Error
    // ends it.
    using Report = std::function<void(const std::string& path, const StoreProblem& problem)>;
    [[nodiscard]] Status publish(const Report& report);

    // After publish(): all regular files of the session with their digests, those that needed not
    // be sent, too. Slow: they are read once more. `left_out` counts those that could not be.
    [[nodiscard]] Status list_files(const std::function<void(const ListedFile&)>& visit,
                                    std::uint64_t& left_out);

    // Removes what was not published. Slow where that is a big tree. False: not all of it could be
    // removed, try again later.
    [[nodiscard]] bool abandon();
    // Instead of abandon(): whether a later session could make use of what is there. Then it may be
    // left where it is, by destroying the Store.
    [[nodiscard]] bool is_worth_keeping() const;
    // Until then: from when on the leftovers are counted as old.
    void touch();

    [[nodiscard]] bool syncs() const noexcept { return durability_.wanted(); }

    [[nodiscard]] bool dry_run() const noexcept { return (flags_ & proto::kOpenDryRun) != 0; }
    [[nodiscard]] const StoreCounts& counts() const noexcept { return counts_; }

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
    [[nodiscard]] std::unique_ptr<LargeFile> take_if_aborted(std::uint64_t id);
    void note_piece(LargeFile& file, std::uint64_t offset, std::uint64_t length,
                    const std::optional<Digest>& digest);
    void forget_in_journal(LargeFile& file) noexcept;
    void drop_large(LargeFile& file) noexcept;
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

    std::mutex files_mutex_;
    std::unordered_map<std::uint64_t, std::unique_ptr<LargeFile>> files_;
    // Ids that were aborted, and of which extents may still come.
    std::unordered_set<std::uint64_t> aborted_;
    std::atomic<bool> has_pieces_{false}; // the resume journal says something of this session

    DirectoryJournal journal_;
    std::optional<DigestList> digests_;
    std::atomic<std::uint64_t> unlisted_{0}; // files that digests_ could not hold
    Durability durability_;
    std::atomic<std::uint64_t> unchecked_bytes_{0}; // stored since free space was looked at
    StoreCounts counts_;
};

} // namespace sluice
