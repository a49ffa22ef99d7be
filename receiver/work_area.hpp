// Where things lie before they are published: DIRECTORY/.sluice.
//
// Each session has a directory of its own in there, named at random, locked with flock(2) for as
// long as the session lives, so that a sweep can tell what a dead receiver left from what a
// live one (perhaps another process) still uses. Being inside DIRECTORY it is on the same file
// system, so that publishing is a rename. It is made when first needed and removed, together with
// .sluice itself, when nothing is left in it.
#pragma once

#include "common/result.hpp"
#include "common/unique_fd.hpp"

#include <atomic>
#include <cstdint>
#include <string>
#include <sys/types.h>

namespace sluice {

// The receiver's directory. Borrowed by everything below it; immutable after open_root.
struct ReceiverRoot {
    UniqueFd fd;
    std::string path; // as given, for messages
    dev_t device = 0;
    mode_t umask = 022; // of this process, which no thread changes
};
[[nodiscard]] Result<ReceiverRoot> open_root(const std::string& path);

// One session's directory in the work area. Thread-safe after construction.
class SessionArea {
public:
    [[nodiscard]] static Result<SessionArea> create(const ReceiverRoot& root);

    SessionArea(SessionArea&& other) noexcept;
    SessionArea& operator=(SessionArea&&) = delete;
    SessionArea(const SessionArea&) = delete;
    SessionArea& operator=(const SessionArea&) = delete;
    ~SessionArea() = default; // leaves the directory: see remove()

    [[nodiscard]] int fd() const noexcept { return directory_.get(); }
    // Holds files that will be renamed into place one by one.
    [[nodiscard]] int files() const noexcept { return files_.get(); }
    // Holds the tree that will be published whole; its root is the name kTreeName in fd().
    [[nodiscard]] int tree() const noexcept { return tree_.get(); }
    static constexpr const char* kTreeName = "tree";

    // A name in files() that no one else has.
    [[nodiscard]] std::string next_name();

    // Removes everything, and the work area if it is empty then. Slow if a big tree is left. False:
    // something could not be removed (no descriptors, perhaps), and can be tried again.
    [[nodiscard]] bool remove();

private:
    SessionArea() = default;
    // Takes back what create() has made so far.
    void undo() const;

    const ReceiverRoot* root_ = nullptr;
    std::string name_; // in the work area
    UniqueFd area_;
    UniqueFd directory_; // locked
    UniqueFd files_;
    UniqueFd tree_;
    std::atomic<std::uint64_t> counter_{0};
};

// Removes what dead receivers left. Returns how many sessions' leftovers were removed.
[[nodiscard]] Result<std::size_t> sweep_work_area(const ReceiverRoot& root);

} // namespace sluice
