// Puts what one session receives onto disk, so that every name at the destination is at each
// moment the old content, the new content, or absent.
//
// Two ways. A top-level name that does not exist yet is *staged*: its tree grows in the session's
// work area and is published by one rename at the end. Below names that exist, each file is
// written in the work area and *renamed into place* when it is complete.
//
// Shared by all connections of the session: every function is thread-safe except publish(), which
// comes after everything else. Each caller brings the DirectoryCache of its own thread.
#pragma once

#include "common/result.hpp"
#include "proto/batch.hpp"
#include "proto/messages.hpp"
#include "receiver/directory_cache.hpp"
#include "receiver/directory_journal.hpp"
#include "receiver/large_file.hpp"
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
    std::atomic<std::uint64_t> files{0}; // published, or staged
    std::atomic<std::uint64_t> unchanged{0};
    std::atomic<std::uint64_t> directories{0};
    std::atomic<std::uint64_t> symlinks{0};
    std::atomic<std::uint64_t> settled{0}; // regular files received to their end, stored or not
};

class Store {
public:
    // `owner` tells this session from others in the directory caches. `root` is borrowed. Nothing
    // is written before something has to be.
    [[nodiscard]] static Result<std::unique_ptr<Store>> open(const ReceiverRoot& root,
                                                             std::uint64_t owner,
                                                             const proto::Open& request,
                                                             std::uint64_t min_free_bytes);
    ~Store();
    Store(const Store&) = delete;
    Store& operator=(const Store&) = delete;

    [[nodiscard]] const std::vector<std::uint16_t>& fresh_roots() const noexcept {
        return fresh_roots_;
    }

    // Whether the file is to be sent: not if it is there with the same size and mtime (its mode is
    // put right then).
    [[nodiscard]] bool wants(const proto::OfferEntry& offered, DirectoryCache& directories);

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
    // The extent is complete. Publishes the file if that was the last thing it waited for.
    [[nodiscard]] std::optional<StoreProblem> extent_done(LargeFile& file, std::uint64_t offset,
                                                          std::uint64_t length,
                                                          DirectoryCache& directories);
    // The extent did not arrive whole.
    void extent_lost(LargeFile& file);
    // All of the file was sent (FileEnd), perhaps by other connections on which it is still under
    // way. Publishes it if nothing is outstanding.
    struct EndedFile {
        proto::Fault fault = proto::Fault::none; // it has ended before, or a limit
        std::optional<StoreProblem> problem = std::nullopt;
        std::string path{}; // of the file that has the problem
    };
    [[nodiscard]] EndedFile end_file(std::uint64_t id, DirectoryCache& directories);
    // The file will not be completed (FileAbort), neither what has come of it nor what is still
    // under way on another connection. A Fault: too many of them.
    [[nodiscard]] proto::Fault abort_file(std::uint64_t id);

    // Files of which extents came, but neither FileEnd nor FileAbort, or the reverse.
    [[nodiscard]] bool has_unfinished_files();

    // Makes everything that is staged appear, sets times and modes of directories, and leaves
    // nothing in the work area. `report` gets what could not be published, path by path; an Error
    // ends it.
    using Report = std::function<void(const std::string& path, const StoreProblem& problem)>;
    [[nodiscard]] Status publish(const Report& report);

    // Removes what was not published. Slow where that is a big tree. False: not all of it could be
    // removed, try again later.
    [[nodiscard]] bool abandon();

    [[nodiscard]] bool dry_run() const noexcept { return (flags_ & proto::kOpenDryRun) != 0; }
    [[nodiscard]] const StoreCounts& counts() const noexcept { return counts_; }

private:
    Store(const ReceiverRoot& root, std::uint64_t owner, Target target, std::uint32_t flags,
          std::uint64_t min_free_bytes);

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
    [[nodiscard]] std::optional<StoreProblem> check_space(std::uint64_t bytes);

    [[nodiscard]] std::optional<StoreProblem>
    put_directory(const proto::Record& record, const Place& place, DirectoryCache& directories);
    [[nodiscard]] std::optional<StoreProblem> put_symlink(const proto::Record& record,
                                                          const Place& place, int parent);
    [[nodiscard]] std::optional<StoreProblem> put_file(const proto::Record& record,
                                                       const Place& place, int parent);
    [[nodiscard]] int create_file(int directory, const std::string& name, std::uint32_t mode,
                                  UniqueFd& out) const;
    [[nodiscard]] int set_metadata(int file, std::uint32_t mode,
                                   const proto::Timestamp& mtime) const;
    [[nodiscard]] std::optional<StoreProblem> open_large(LargeFile& file,
                                                         DirectoryCache& directories);
    [[nodiscard]] std::optional<StoreProblem> publish_large(LargeFile& file,
                                                            DirectoryCache& directories);
    [[nodiscard]] std::unique_ptr<LargeFile> take_if_complete(std::uint64_t id);
    void drop_large(LargeFile& file) noexcept;

    struct Publication;
    void finish_directory(const DirectoryNote& note, int base, Publication& publication);
    void finish_late(int destination, Publication& publication);
    [[nodiscard]] Status publish_staged(Publication& publication);
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
    const std::uint64_t min_free_bytes_;
    std::vector<std::uint16_t> fresh_roots_;

    std::mutex area_mutex_;
    std::optional<SessionArea> area_; // guarded by area_mutex_ until made

    std::mutex tops_mutex_;
    std::unordered_map<std::string, bool> tops_; // top-level name: staged?

    std::mutex files_mutex_;
    std::unordered_map<std::uint64_t, std::unique_ptr<LargeFile>> files_;
    // Ids that were aborted, or ended, and of which extents may still come.
    std::unordered_set<std::uint64_t> aborted_;
    std::unordered_set<std::uint64_t> ended_early_;

    DirectoryJournal journal_;
    std::atomic<std::uint64_t> unchecked_bytes_{0}; // stored since free space was looked at
    StoreCounts counts_;
};

} // namespace sluice
