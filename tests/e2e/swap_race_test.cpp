// Every operation on names, while somebody swaps the directories on the way for symbolic links that
// lead out of the receiver's directory. What is out there must not change, nor be opened.
//
// SLUICE_SWAP_OPERATIONS=N is how many operations.
#include "tests/support/extent_source.hpp"
#include "tests/support/store_session.hpp"
#include "tests/support/tree.hpp"

#include <array>
#include <atomic>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <set>
#include <thread>

using namespace sluice;
using namespace sluice::test;

namespace {

constexpr std::uint64_t kOperationsByDefault = 20'000;
constexpr std::uint64_t kLargeBytes = 70'000;
// So that a name that was made and removed again shows in the time of its directory.
constexpr std::int64_t kOldTime = 1'234'567'890;

std::uint64_t wanted_operations() {
    const char* const text = std::getenv("SLUICE_SWAP_OPERATIONS");
    return text == nullptr ? kOperationsByDefault : std::strtoull(text, nullptr, 10);
}

// A receiver's directory with a tree in it, and outside of it another with the same names.
class Arena {
public:
    Arena() {
        for (const std::string base : {"root/tree", "outside"}) {
            for (const std::string below : {"", "/dir", "/dir/sub"}) {
                const std::string at = base + below + '/';
                outer_.write_file(at + "small", base, 0600);
                outer_.write_file(at + "large", base, 0600);
                outer_.write_file(at + "spare", base, 0600);
                outer_.symlink("small", at + "link");
                outer_.write_file(at + "pushed/file", base, 0600);
                outer_.write_file(at + "doomed/deep/file", base, 0600);
            }
        }
        // What a swapped work area would lead to.
        outer_.make_dir("outside/files");
        outer_.make_dir("outside/tree");
        outer_.make_dir("root/.sluice");
        Result<ReceiverRoot> opened = open_root(outer_.path("root"));
        REQUIRE(opened);
        root_ = std::move(*opened);
        make_old();
        before_ = describe_tree(outer_, "outside");
        for (const auto& [path, node] : before_) {
            outside_.emplace(node.status.st_dev, node.status.st_ino);
        }
    }

    [[nodiscard]] const TempDir& outer() const noexcept { return outer_; }
    [[nodiscard]] const ReceiverRoot& root() const noexcept { return root_; }
    [[nodiscard]] std::string changes() const {
        const Tree now = describe_tree(outer_, "outside");
        return touched(before_, now) + differences(before_, now);
    }
    [[nodiscard]] bool is_outside(int fd) const {
        struct stat status {};
        return ::fstat(fd, &status) == 0 && outside_.contains({status.st_dev, status.st_ino});
    }

private:
    // From the deepest up, because each changes the time of the one that it is in.
    void make_old() const {
        Tree tree = describe_tree(outer_, "outside");
        for (auto one = tree.rbegin(); one != tree.rend(); ++one) {
            outer_.set_mtime(one->first == "." ? "outside" : "outside/" + one->first, kOldTime);
        }
    }

    TempDir outer_{TempDir::quick_base()};
    ReceiverRoot root_;
    Tree before_;
    std::set<std::pair<dev_t, ino_t>> outside_;
};

// Exchanges directories for links to the outside and back, as fast as it can, until destroyed. It
// never goes through a name that it swaps itself.
class Swapper {
public:
    explicit Swapper(const Arena& arena) {
        const auto directory = [&](const char* path) {
            Opened opened = open_directory_beneath(arena.root().fd.get(), path);
            REQUIRE(opened.ok());
            return std::move(opened.fd);
        };
        const std::string outside = arena.outer().path("outside");
        victims_.push_back({directory(""), "tree", outside});
        victims_.push_back({directory("tree"), "dir", outside + "/dir"});
        victims_.push_back({directory("tree/dir"), "sub", outside + "/dir/sub"});
        victims_.push_back({directory("tree/dir"), "doomed", outside + "/dir/doomed"});
        victims_.push_back({directory("tree/dir"), "small", outside + "/dir/small"});
        victims_.push_back({directory(""), ".sluice", outside});
        thread_ = std::thread([this] { run(); });
    }
    ~Swapper() { stop(); }
    Swapper(const Swapper&) = delete;
    Swapper& operator=(const Swapper&) = delete;

    void stop() {
        stop_ = true;
        if (thread_.joinable()) {
            thread_.join();
        }
    }
    [[nodiscard]] std::uint64_t swaps() const noexcept { return swaps_; }

private:
    struct Victim {
        UniqueFd parent;
        std::string name;
        std::string outside;
        [[nodiscard]] std::string spare() const { return name + "-swapped"; }
    };

    void run() {
        for (std::size_t turn = 0; !stop_; ++turn) {
            const Victim& victim = victims_[turn % victims_.size()];
            const int parent = victim.parent.get();
            // Either may have been removed, as what it was.
            static_cast<void>(::symlinkat(victim.outside.c_str(), parent, victim.spare().c_str()));
            static_cast<void>(::mkdirat(parent, victim.name.c_str(), 0755));
            if (::renameat2(parent, victim.name.c_str(), parent, victim.spare().c_str(),
                            RENAME_EXCHANGE) == 0) {
                ++swaps_;
            }
        }
    }

    std::vector<Victim> victims_;
    std::atomic<bool> stop_{false};
    std::atomic<std::uint64_t> swaps_{0};
    std::thread thread_;
};

struct Count {
    std::uint64_t done = 0;
    std::uint64_t refused = 0;
    std::uint64_t escapes = 0;

    [[nodiscard]] std::uint64_t all() const noexcept { return done + refused; }
    void add(bool succeeded) { ++(succeeded ? done : refused); }
};

// What the store does to names, one by one.
class NameOperations {
public:
    NameOperations(const Arena& arena, Count& count) : arena_(arena), count_(count) {}

    void round() {
        static constexpr std::array kPlaces{"tree", "tree/dir", "tree/dir/sub"};
        const std::string place = kPlaces[turn_++ % kPlaces.size()];
        const int root = arena_.root().fd.get();
        open(place + "/small", O_RDONLY | O_NONBLOCK);
        open(place + "/small", O_WRONLY | O_TRUNC);
        open(place + "/new", O_WRONLY | O_CREAT | O_EXCL);
        const Opened made = make_directories_beneath(root, place + "/pushed/deep", 0755);
        note(made);
        in_directory(place, [this](int at) {
            count_.add(::renameat(at, "new", at, "spare") == 0);
            count_.add(::mkdirat(at, "made", 0755) == 0);
            const auto times = modification_time({kStoredTime, 0});
            count_.add(::utimensat(at, "small", times.data(), AT_SYMLINK_NOFOLLOW) == 0);
            count_.add(::symlinkat("x", at, "new") == 0);
            count_.add(::unlinkat(at, "new", 0) == 0);
        });
        in_directory(place + "/made", [this](int at) {
            count_.add(::fchmod(at, 0700) == 0);
            count_.add(::mkdirat(at, "deep", 0) == 0); // removing it takes chmod(2)
        });
        for (const char* const name : {"made", "doomed"}) {
            in_directory(place, [&](int at) { count_.add(remove_tree(at, name) == 0); });
        }
        std::vector<std::string> names;
        in_directory(place, [&](int at) { count_.add(list_directory(at, names) == 0); });
    }

private:
    void note(const Opened& opened) {
        count_.add(opened.ok());
        if (opened.ok() && arena_.is_outside(opened.fd.get())) {
            ++count_.escapes;
        }
    }
    void open(const std::string& path, int flags) {
        note(open_beneath(arena_.root().fd.get(), path, flags, (flags & O_CREAT) != 0 ? 0600 : 0));
    }
    void in_directory(const std::string& path, const std::function<void(int)>& work) {
        const Opened opened = open_directory_beneath(arena_.root().fd.get(), path);
        note(opened);
        if (opened.ok()) {
            work(opened.fd.get());
        }
    }

    const Arena& arena_;
    Count& count_;
    std::size_t turn_ = 0;
};

// Whole sessions of the store: small and large files, directories, links, offers, publishing.
class StoreOperations {
public:
    StoreOperations(const Arena& arena, Count& count) : arena_(arena), count_(count) {}

    void round() {
        static constexpr std::array kDestinations{"", "tree", "tree/dir"};
        const std::size_t turn = turn_++;
        const std::string destination = kDestinations[turn % kDestinations.size()];
        const std::string at = destination.empty()     ? "tree/dir/sub/"
                               : destination == "tree" ? "dir/"
                                                       : "";
        StoreSession session(arena_.root(), {destination, {"tree"}});
        count_.add(session.ok());
        if (!session.ok()) {
            return;
        }
        const auto stored = [this](const std::string& problem) { count_.add(problem.empty()); };
        stored(session.dir(at + "pushed", 0750));
        stored(session.file(at + "pushed/file", "pushed"));
        stored(session.file(at + "small", "pushed"));
        stored(session.link(at + "link", "spare"));
        ExtentSource large(turn + 1, at + "large", kLargeBytes);
        large.version = turn + 1;
        stored(large.send(session, 0, kLargeBytes));
        stored(large.end(session));
        count_.add(!session.wants(large.offer()));
        if (turn % 4 == 3) {
            count_.add(session.store().abandon());
        } else {
            count_.add(session.publish().empty());
        }
    }

private:
    const Arena& arena_;
    Count& count_;
    std::size_t turn_ = 0;
};

} // namespace

TEST_CASE("whatever is swapped for links to the outside, no operation leads there") {
    const std::uint64_t wanted = wanted_operations();
    const Arena arena;
    Swapper swapper(arena);
    Count names;
    Count sessions;
    NameOperations name_operations(arena, names);
    StoreOperations store_operations(arena, sessions);
    while (names.all() + sessions.all() < wanted) {
        name_operations.round();
        store_operations.round();
    }
    swapper.stop();
    std::cout << names.all() << " operations on names (" << names.refused << " refused), "
              << sessions.all() << " of sessions (" << sessions.refused << " refused), "
              << swapper.swaps() << " swaps, " << names.escapes << " escapes\n";
    CHECK(names.escapes == 0);
    CHECK(arena.changes() == "");
    // It was a race.
    CHECK(swapper.swaps() > 0);
    CHECK(names.done > 0);
    CHECK(names.refused > 0);
    CHECK(sessions.done > 0);
}

TEST_CASE("the same swaps lead a name that is resolved carelessly to the outside") {
    const Arena arena;
    const Swapper swapper(arena);
    const std::string path = arena.outer().path("root/tree/dir/sub/small");
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds{30};
    bool escaped = false;
    while (!escaped && std::chrono::steady_clock::now() < deadline) {
        const UniqueFd file = UniqueFd::adopt(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
        escaped = file && arena.is_outside(file.get());
    }
    CHECK(escaped);
}
