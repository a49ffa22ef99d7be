// Where things lie before they are published: DIRECTORY/.sluice.
//
// Each session has a directory of its own in there, locked with flock(2) for as long as the
// session lives, so that a sweep can tell what a dead receiver left from what a live one (perhaps
// another process) still uses. Being inside DIRECTORY it is on the same file system, so that
// publishing is a rename. It is made when first needed and removed, together with .sluice itself,
// when nothing is left in it.
//
// Its name is the session's key, made from what the sender asked for: so a later session that asks
// for the same finds what a broken one left, and adopts it. In a session's directory:
//
//     tree/   what will be published whole        old/    the trees of sessions that broke: what is
//     files/  what will be renamed into place             still good moves from here to tree/
//             file by file                        resume  the journal (receiver/resume_journal.hpp)
#pragma once

#include "common/result.hpp"
#include "common/unique_fd.hpp"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <sys/types.h>

namespace sluice {

// The receiver's directory. Borrowed by everything below it; immutable after open_root.
// It does not know its path: what is said about it may go to a sender, whose business that is not.
struct ReceiverRoot {
    UniqueFd fd;
    dev_t device = 0;
    mode_t umask = 022; // of this process, which no thread changes
};
[[nodiscard]] Result<ReceiverRoot> open_root(const std::string& path);

// Of a session's key: the hexadecimal digits of a digest. Random names have another length.
inline constexpr std::size_t kKeyLength = 32;
// The same behind the identity of an access key, where the session has one.
inline constexpr std::size_t kHeldKeyLength = 64;

// One session's directory in the work area. Thread-safe after construction.
class SessionArea {
public:
    // Makes a new one, named `key`, or at random where the key is empty or its name is taken: then
    // nobody will ever adopt it.
    [[nodiscard]] static Result<SessionArea> create(const ReceiverRoot& root,
                                                    const std::string& key);
    // Whether a session of this key may have left something.
    [[nodiscard]] static bool exists(const ReceiverRoot& root, const std::string& key);
    // Takes over what an earlier session of this key left: its tree goes to old(). Waits for as
    // long as `patience` while another session still holds it. Nothing: there is none, or it cannot
    // be had. Slow where there are big trees to merge.
    [[nodiscard]] static std::optional<SessionArea>
    adopt(const ReceiverRoot& root, const std::string& key, std::chrono::milliseconds patience);

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
    // The staged tree of earlier sessions; -1 where nothing was adopted.
    [[nodiscard]] int old() const noexcept { return old_.get(); }
    // Removes what is in old(). False: something is left.
    [[nodiscard]] bool clear_old();
    // Whether a later session can find it.
    [[nodiscard]] bool adoptable() const noexcept { return adoptable_; }

    // A name in files() that no one else has.
    [[nodiscard]] std::string next_name();

    // Removes everything, and the work area if it is empty then. Slow if a big tree is left. False:
    // something could not be removed (no descriptors, perhaps), and can be tried again.
    [[nodiscard]] bool remove();

    // Its age counts from now on (sweep_work_area).
    void touch() const noexcept;

private:
    SessionArea() = default;
    // Makes NAME in the work area and locks it. EAGAIN: somebody was quicker, try again.
    [[nodiscard]] int make(const ReceiverRoot& root, const std::string& name);
    // 0, or errno. Opens what is in the directory, which is locked.
    [[nodiscard]] int take_over();
    // Takes back what create() has made so far.
    void undo() const;

    const ReceiverRoot* root_ = nullptr;
    std::string name_; // in the work area
    UniqueFd area_;
    UniqueFd directory_; // locked
    UniqueFd files_;
    UniqueFd tree_;
    UniqueFd old_;
    bool adoptable_ = false;
    std::atomic<std::uint64_t> counter_{0};
};

// Removes what sessions left that nobody will adopt: what has no journal, and what has not been
// touched for longer than `keep`. Returns how many sessions' leftovers were removed.
[[nodiscard]] Result<std::size_t> sweep_work_area(const ReceiverRoot& root,
                                                  std::chrono::seconds keep);

} // namespace sluice
