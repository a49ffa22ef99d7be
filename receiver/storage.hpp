// Where what one session receives goes, as its connections see it: onto disk (Store), or nowhere
// (Discarder).
//
// Shared by all connections of the session: every function is thread-safe except adopt(), which
// comes before everything else, and publish(), which comes after. Each caller brings the
// DirectoryCache of its own thread.
#pragma once

#include "common/digest.hpp"
#include "common/result.hpp"
#include "proto/batch.hpp"
#include "proto/messages.hpp"
#include "receiver/digest_list.hpp"
#include "receiver/directory_cache.hpp"
#include "receiver/large_file.hpp"

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
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

struct StoreCounts {
    std::atomic<std::uint64_t> files{0};     // published, or staged
    std::atomic<std::uint64_t> unchanged{0}; // those that were left by an earlier session, too
    std::atomic<std::uint64_t> reused_files{0};
    std::atomic<std::uint64_t> reused_bytes{0};
    std::atomic<std::uint64_t> directories{0};
    std::atomic<std::uint64_t> symlinks{0};
    std::atomic<std::uint64_t> settled{0}; // regular files received to their end, stored or not
};

class Storage {
public:
    Storage() = default;
    virtual ~Storage() = default;
    Storage(const Storage&) = delete;
    Storage& operator=(const Storage&) = delete;

    // Nothing is kept. What has been received cannot be read back either, so digests have to be
    // computed as it comes.
    [[nodiscard]] virtual bool discards() const noexcept = 0;
    // Nothing may be changed, and no data comes.
    [[nodiscard]] virtual bool dry_run() const noexcept = 0;
    // end_file() and publish() wait for the medium.
    [[nodiscard]] virtual bool syncs() const noexcept = 0;
    [[nodiscard]] virtual const StoreCounts& counts() const noexcept = 0;

    // Whether an earlier session may have left something to adopt.
    [[nodiscard]] virtual bool may_adopt() const = 0;
    // Adopts it. Slow where there is much of it.
    virtual void adopt() = 0;

    // As in proto::Welcome.
    [[nodiscard]] virtual const std::vector<std::uint16_t>& fresh_roots() const noexcept = 0;

    // Whether the file is to be sent: not if it is there with the same size and mtime (its mode is
    // put right then). If it is, `present` gets the ranges of it that need not be.
    [[nodiscard]] virtual bool wants(const proto::OfferEntry& offered, DirectoryCache& directories,
                                     std::vector<proto::Range>& present) = 0;

    // Stores a directory, a symbolic link or a small file; a problem on failure.
    [[nodiscard]] virtual std::optional<StoreProblem> put(proto::Record record,
                                                          DirectoryCache& directories) = 0;

    // Announces bytes of a large file; opens it at its first extent. The file takes the bytes until
    // extent_done() or extent_lost(); bytes for a dead file are to be dropped.
    struct BegunExtent {
        LargeFile* file = nullptr;               // null after a fault
        proto::Fault fault = proto::Fault::none; // it contradicts earlier ones, or a limit
        std::optional<StoreProblem> problem = std::nullopt; // why the file has just died
        bool is_new = false;                                // the first extent of the file
    };
    [[nodiscard]] virtual BegunExtent begin_extent(const proto::Extent& extent,
                                                   DirectoryCache& directories) = 0;
    // The extent is complete and good. `digest`: of its bytes, where they were hashed.
    [[nodiscard]] virtual std::optional<StoreProblem>
    extent_done(LargeFile& file, std::uint64_t offset, std::uint64_t length,
                const std::optional<Digest>& digest) = 0;
    // The same for one that is a hole.
    [[nodiscard]] virtual std::optional<StoreProblem>
    hole_done(LargeFile& file, std::uint64_t offset, std::uint64_t length) = 0;
    // The extent did not arrive whole, or not as it should.
    virtual void extent_lost(LargeFile& file) = 0;
    // All of the file is there (FileEnd): publishes it. Slow where it has to be synced.
    struct EndedFile {
        proto::Fault fault = proto::Fault::none; // it is unknown, or something is missing
        std::optional<StoreProblem> problem = std::nullopt;
        std::string path{}; // of the file that has the problem
    };
    [[nodiscard]] virtual EndedFile end_file(std::uint64_t id, DirectoryCache& directories) = 0;
    // The file will not be completed (FileAbort), neither what has come of it nor what is still
    // under way on a data connection. A Fault: too many of them.
    [[nodiscard]] virtual proto::Fault abort_file(std::uint64_t id) = 0;

    // Files of which extents came, but neither FileEnd nor FileAbort.
    [[nodiscard]] virtual bool has_unfinished_files() = 0;

    // Makes everything that is staged appear, sets times and modes of directories, and leaves
    // nothing in the work area. `report` gets what could not be published, path by path; an Error
    // ends it.
    using Report = std::function<void(const std::string& path, const StoreProblem& problem)>;
    [[nodiscard]] virtual Status publish(const Report& report) = 0;

    // After publish(): all regular files of the session with their digests, those that needed not
    // be sent, too. Slow: they are read once more. `left_out` counts those that could not be.
    [[nodiscard]] virtual Status list_files(const std::function<void(const ListedFile&)>& visit,
                                            std::uint64_t& left_out) = 0;

    // Removes what was not published. Slow where that is a big tree. False: not all of it could be
    // removed, try again later.
    [[nodiscard]] virtual bool abandon() = 0;
    // Instead of abandon(): whether a later session could make use of what is there. Then it may be
    // left where it is, by destroying the object.
    [[nodiscard]] virtual bool is_worth_keeping() const = 0;
    // Until then: from when on the leftovers are counted as old.
    virtual void touch() = 0;
};

} // namespace sluice
