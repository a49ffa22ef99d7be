// Walks the sources and reports what it finds, one entry at a time: nothing is collected, so a tree
// of any size takes memory for its depth only. Runs on the caller's thread and blocks on the file
// system.
#pragma once

#include "common/result.hpp"
#include "common/unique_fd.hpp"
#include "proto/messages.hpp"
#include "sender/filter.hpp"

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <sys/stat.h>
#include <vector>

namespace sluice {

// One source argument. Entries are opened relative to its directory.
struct SourceRoot {
    std::string argument;  // as typed, for messages
    UniqueFd directory;    // a tree: the directory itself; otherwise the one that holds the file,
                           // perhaps O_PATH only
    std::string wire_name; // first component on the wire; empty for a trailing slash ("contents")
    bool is_tree = false;
    bool generated = false; // made up (sender/generated.hpp): there is no directory
};

// The version of a file on the wire: another one after any change (st_ctim, in nanoseconds; it
// wraps around in the year 2554).
[[nodiscard]] std::uint64_t version_of(const struct stat& status) noexcept;

enum class EntryKind : std::uint8_t { directory, symlink, file };

struct SourceEntry {
    EntryKind kind = EntryKind::file;
    std::shared_ptr<const SourceRoot> root;
    std::string wire_path;         // empty only for the directory of a "contents" source
    std::uint32_t name_offset = 0; // wire_path from here on is the path below root->directory
    std::uint32_t directory = 0;   // number of the directory that holds it, within its walk
    std::string link_target;       // symlinks
    std::uint64_t size = 0;        // files; as lstat(2) said during the walk
    bool sparse = false;           // fewer blocks than the size needs
    std::uint32_t mode = 0;        // permission bits, set-id and sticky bits dropped
    proto::Timestamp mtime;
    std::uint64_t version = 0; // files; see proto::OfferEntry
    // What the receiver has of the file from an earlier session, if anything; some ranges within
    // its size, in any order.
    std::shared_ptr<std::vector<proto::Range>> present;

    // Path relative to root->directory; "." for the root of a tree.
    [[nodiscard]] const char* relative_path() const noexcept;
    // For messages: the argument as typed, joined with the rest.
    [[nodiscard]] std::string display_path() const;
};

// Opens the directory of one source argument. "dir" goes to the wire as "dir/...", "dir/", ".",
// ".." and "/" as their contents. A symbolic link given as an argument is sent as a link, with a
// trailing slash it is followed. Kind some_files where it does not exist or cannot be opened.
[[nodiscard]] Result<SourceRoot> open_source(std::string_view argument);

class WalkSink {
public:
    virtual ~WalkSink() = default;
    // False stops the walk.
    [[nodiscard]] virtual bool found(SourceEntry entry) = 0;
    // Something that was not sent: unreadable, vanished (ErrorKind::source_changed), a device, a
    // FIFO or a socket (ErrorKind::some_files is not used for those: see skipped), a name that the
    // protocol cannot carry.
    virtual void failed(Error error) = 0;
    // A special file was left out: `what` is one line with path and reason.
    virtual void skipped(std::string what) = 0;
};

// Reports a directory before its contents. Where a directory cannot be read, reports it as failed
// and goes on. False if the sink stopped the walk.
[[nodiscard]] bool walk(std::shared_ptr<const SourceRoot> root, const Filter& filter,
                        WalkSink& sink);

} // namespace sluice
