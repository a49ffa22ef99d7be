// What a broken session left in the work area, in the hands of the session that adopted it: whole
// files of its staged tree, and pieces of files that it did not complete.
//
// A whole file is recognised as rsync does it, by size and mtime, which is set last. Pieces are
// known from the journal; they are only good for a source of the same size, mtime and version.
// After another boot of the machine the page cache is gone, and what had been written into it
// perhaps, too: then a piece counts only if its bytes have the digest that the journal names, and
// whole files of the tree, of which no digest is kept, do not count at all.
//
// load() comes first; all else is thread-safe.
#pragma once

#include "proto/messages.hpp"
#include "receiver/resume_journal.hpp"
#include "receiver/work_area.hpp"

#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sluice {

class Leftovers {
public:
    // `area` was adopted, is borrowed, and outlives this.
    explicit Leftovers(SessionArea& area) noexcept : area_(area) {}

    // Reads the journal, checks what has to be checked, and removes data that nobody will want.
    // Slow where there is much to check. False: nothing can be used (for one, where `only_run` is
    // given and the journal is of another run).
    [[nodiscard]] bool load(const std::string& boot_id,
                            const std::optional<proto::Token>& only_run);

    // For the new journal, under which a partial file has the number of its place here.
    [[nodiscard]] std::vector<PartialFile> partial_files() const;

    // Whether there is anything below this first component of a path; of any, where it is empty.
    [[nodiscard]] bool has(std::string_view top) const;
    [[nodiscard]] bool trusts_whole_files() const noexcept { return trusts_whole_files_; }

    // Whether something of the file is there that was not complete.
    [[nodiscard]] bool is_partial(std::string_view path) const;
    // The ranges that are there of a file, merged; none where its source has changed.
    [[nodiscard]] std::vector<proto::Range> ranges_of(std::string_view path, std::uint64_t size,
                                                      const proto::Timestamp& mtime,
                                                      std::uint64_t version) const;
    // The caller has the partial file from now on.
    struct Taken {
        PartialFile file;
        std::uint64_t journal_number = 0;
    };
    [[nodiscard]] std::optional<Taken> take(std::string_view path);
    // Where its data lies: a directory below the area, and the name in it.
    [[nodiscard]] int directory_of(const PartialFile& file) const noexcept {
        return file.staged ? area_.old() : area_.files();
    }

private:
    void check(PartialFile& file) const;
    [[nodiscard]] bool rescue_partial_files();
    void remove_strays() const;

    SessionArea& area_;
    bool trusts_whole_files_ = false;
    mutable std::mutex mutex_;
    std::map<std::string, Taken, std::less<>> partial_; // by path
};

} // namespace sluice
