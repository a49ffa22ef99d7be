// DIRECTORY/.sluice: made when needed, locked while in use, swept of what dead receivers left.
#include "receiver/work_area.hpp"
#include "tests/support/temp_dir.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <chrono>
#include <fcntl.h>
#include <functional>
#include <optional>
#include <sys/file.h>
#include <thread>

using namespace sluice;
using namespace sluice::test;

namespace {

constexpr std::chrono::seconds kWeek = std::chrono::hours(24 * 7);
const std::string kKey = "0123456789abcdef0123456789abcdef";
const std::string kAreaName = ".sluice/" + kKey;

struct Area {
    TempDir directory{TempDir::quick_base()};
    ReceiverRoot root = open(directory.path());

    static ReceiverRoot open(const std::string& path) {
        auto opened = open_root(path);
        REQUIRE(opened);
        return std::move(*opened);
    }

    [[nodiscard]] std::size_t sweep(std::chrono::seconds keep = kWeek) const {
        const auto swept = sweep_work_area(root, keep);
        REQUIRE(swept);
        return *swept;
    }
    // As a receiver that was killed leaves it: with files, and not locked.
    void leave_behind(const std::string& name) const {
        directory.write_file(".sluice/" + name + "/files/0", "part of a file");
        directory.write_file(".sluice/" + name + "/tree/a/b/c", "staged");
        directory.symlink("/", ".sluice/" + name + "/tree/link");
        directory.make_dir(".sluice/" + name + "/tree/locked/inside");
        directory.set_mode(".sluice/" + name + "/tree/locked", 0);
    }
};

void write_into(int directory, const char* name) {
    const auto file =
        UniqueFd::adopt(::openat(directory, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    REQUIRE(file);
}

} // namespace

TEST_CASE("a root that is no directory, or is not there, is an error that names it") {
    const TempDir directory;
    directory.write_file("file", "");
    for (const char* const name : {"file", "missing"}) {
        const auto root = open_root(directory.path(name));
        REQUIRE_FALSE(root);
        CHECK(root.error().kind == ErrorKind::file_io);
        CHECK(root.error().message.find(directory.path(name)) != std::string::npos);
    }
}

TEST_CASE("a session area is private, and goes with the work area when it is removed") {
    const Area area;
    CHECK_FALSE(area.directory.exists(".sluice"));
    auto made = SessionArea::create(area.root, "");
    REQUIRE(made);
    CHECK((area.directory.status(".sluice").st_mode & 0777) == 0700);
    REQUIRE(area.directory.list(".sluice").size() == 1);
    const std::string name = ".sluice/" + area.directory.list(".sluice").front();
    CHECK((area.directory.status(name).st_mode & 0777) == 0700);
    write_into(made->files(), "0");
    write_into(made->tree(), "staged");
    CHECK(area.directory.exists(name + "/files/0"));
    CHECK(area.directory.exists(name + '/' + SessionArea::kTreeName + "/staged"));
    CHECK(made->remove());
    CHECK_FALSE(area.directory.exists(".sluice"));
}

TEST_CASE("names of files in a session area do not repeat, whoever asks") {
    const Area area;
    auto made = SessionArea::create(area.root, "");
    REQUIRE(made);
    std::vector<std::vector<std::string>> names(4);
    std::vector<std::thread> threads;
    for (auto& mine : names) {
        threads.emplace_back([&made, &mine] {
            for (int count = 0; count < 1'000; ++count) {
                mine.push_back(made->next_name());
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    std::vector<std::string> all;
    for (const auto& mine : names) {
        all.insert(all.end(), mine.begin(), mine.end());
    }
    std::sort(all.begin(), all.end());
    CHECK(std::unique(all.begin(), all.end()) == all.end());
    CHECK(made->remove());
}

TEST_CASE("two sessions have areas of their own, and the last takes the work area away") {
    const Area area;
    auto first = SessionArea::create(area.root, "");
    auto second = SessionArea::create(area.root, "");
    REQUIRE(first);
    REQUIRE(second);
    CHECK(area.directory.list(".sluice").size() == 2);
    CHECK(first->remove());
    CHECK(area.directory.list(".sluice").size() == 1);
    CHECK(second->remove());
    CHECK_FALSE(area.directory.exists(".sluice"));
}

TEST_CASE("a sweep without a work area does nothing") {
    const Area area;
    CHECK(area.sweep() == 0);
    CHECK_FALSE(area.directory.exists(".sluice"));
}

TEST_CASE("a sweep removes what dead receivers left, and the work area with it") {
    const Area area;
    area.leave_behind("0123456789abcdef");
    area.leave_behind("fedcba9876543210");
    area.directory.write_file(".sluice/stray", "a file");
    CHECK(area.sweep() >= 2);
    CHECK_FALSE(area.directory.exists(".sluice"));
    CHECK(area.sweep() == 0);
}

TEST_CASE("a sweep leaves alone what a live session uses") {
    const Area area;
    area.leave_behind("0123456789abcdef");
    auto live = SessionArea::create(area.root, "");
    REQUIRE(live);
    write_into(live->tree(), "staged");
    CHECK(area.sweep() == 1);
    REQUIRE(area.directory.list(".sluice").size() == 1);
    const std::string name = ".sluice/" + area.directory.list(".sluice").front();
    CHECK(area.directory.exists(name + "/tree/staged"));
    CHECK(live->remove());
    CHECK_FALSE(area.directory.exists(".sluice"));
}

TEST_CASE("a session area whose process ended is swept") {
    const Area area;
    {
        auto gone = SessionArea::create(area.root, ""); // its lock goes with its descriptors
        REQUIRE(gone);
        write_into(gone->files(), "0");
    }
    CHECK(area.directory.list(".sluice").size() == 1);
    CHECK(area.sweep() == 1);
    CHECK_FALSE(area.directory.exists(".sluice"));
}

TEST_CASE("a symbolic link in the place of the work area is refused and not followed") {
    const Area area;
    const TempDir outside;
    outside.write_file("0123456789abcdef/files/0", "somebody's");
    area.directory.symlink(outside.path(), ".sluice");
    const auto swept = sweep_work_area(area.root, kWeek);
    REQUIRE_FALSE(swept);
    CHECK(swept.error().kind == ErrorKind::refused);
    CHECK(swept.error().message.find(".sluice") != std::string::npos);
    const auto made = SessionArea::create(area.root, "");
    REQUIRE_FALSE(made);
    CHECK(made.error().message.find(".sluice") != std::string::npos);
    CHECK(outside.read_file("0123456789abcdef/files/0") == "somebody's");
    CHECK(outside.list().size() == 1);
    CHECK(area.directory.exists(".sluice"));
}

TEST_CASE("a file in the place of the work area is refused and kept") {
    const Area area;
    area.directory.write_file(".sluice", "somebody's");
    CHECK_FALSE(sweep_work_area(area.root, kWeek));
    CHECK_FALSE(SessionArea::create(area.root, ""));
    CHECK(area.directory.read_file(".sluice") == "somebody's");
}

TEST_CASE("a sweep removes symbolic links inside the work area, not what they lead to") {
    const Area area;
    const TempDir outside;
    outside.write_file("deep/file", "somebody's");
    area.directory.make_dir(".sluice");
    area.directory.symlink(outside.path(), ".sluice/0123456789abcdef");
    area.directory.symlink(outside.path("deep"), ".sluice/1123456789abcdef/tree/link");
    static_cast<void>(area.sweep());
    CHECK_FALSE(area.directory.exists(".sluice"));
    CHECK(outside.read_file("deep/file") == "somebody's");
}

TEST_CASE("sessions come and go while sweeps run, and none loses its area") {
    const Area area;
    std::atomic<bool> stop{false};
    std::atomic<bool> sweeps_failed{false};
    std::thread sweeper([&] {
        while (!stop) {
            sweeps_failed = sweeps_failed || !sweep_work_area(area.root, kWeek);
        }
    });
    std::atomic<int> lost{0};
    std::vector<std::thread> sessions;
    for (int thread = 0; thread < 3; ++thread) {
        sessions.emplace_back([&] {
            for (int round = 0; round < 200; ++round) {
                auto made = SessionArea::create(area.root, "");
                if (!made) {
                    ++lost;
                    continue;
                }
                const auto file = UniqueFd::adopt(
                    ::openat(made->files(), "0", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
                lost += file ? 0 : 1;
                static_cast<void>(made->remove());
            }
        });
    }
    for (std::thread& session : sessions) {
        session.join();
    }
    stop = true;
    sweeper.join();
    CHECK(lost == 0);
    CHECK_FALSE(sweeps_failed);
    static_cast<void>(area.sweep());
    CHECK_FALSE(area.directory.exists(".sluice"));
}

TEST_CASE("an area with a key is found by it, one without a key by nobody") {
    const Area area;
    auto made = SessionArea::create(area.root, kKey);
    REQUIRE(made);
    CHECK(made->adoptable());
    CHECK(made->old() == -1);
    CHECK(SessionArea::exists(area.root, kKey));
    auto other = SessionArea::create(area.root, kKey); // the name is taken
    REQUIRE(other);
    CHECK_FALSE(other->adoptable());
    CHECK(area.directory.list(".sluice").size() == 2);
    CHECK(made->remove());
    CHECK_FALSE(SessionArea::exists(area.root, kKey));
    CHECK(other->remove());
    CHECK_FALSE(area.directory.exists(".sluice"));
}

TEST_CASE("what a session left is adopted once its lock is gone, and not before") {
    const Area area;
    {
        auto live = SessionArea::create(area.root, kKey);
        REQUIRE(live);
        write_into(live->files(), "7");
        write_into(live->tree(), "staged");
        CHECK_FALSE(SessionArea::adopt(area.root, kKey, std::chrono::milliseconds(30)));
    }
    CHECK_FALSE(SessionArea::adopt(area.root, kKey.substr(1) + 'f', {}));
    auto adopted = SessionArea::adopt(area.root, kKey, {});
    REQUIRE(adopted);
    CHECK(adopted->adoptable());
    CHECK(area.directory.exists(kAreaName + "/old/staged"));
    CHECK(area.directory.list(kAreaName + "/tree").empty());
    CHECK(adopted->next_name() == "8"); // none that is there
    CHECK_FALSE(SessionArea::adopt(area.root, kKey, {}));
    CHECK(adopted->remove());
    CHECK_FALSE(area.directory.exists(".sluice"));
}

TEST_CASE("whoever waits for a lock gets the area when it is let go of") {
    const Area area;
    std::optional<SessionArea> live;
    {
        auto made = SessionArea::create(area.root, kKey);
        REQUIRE(made);
        live.emplace(std::move(*made));
    }
    std::thread holder([&live] {
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
        live.reset();
    });
    CHECK(SessionArea::adopt(area.root, kKey, std::chrono::seconds(60)));
    holder.join();
}

TEST_CASE("trees of several sessions are merged, the newest wins, whatever kind it was") {
    const Area area;
    const auto put = [&](const std::string& name, const std::string& content) {
        area.directory.write_file(kAreaName + name, content);
    };
    put("/old/both/a", "old");
    put("/old/both/b", "old");
    put("/old/dir-to-file/inner/deep", "old");
    put("/old/file-to-dir", "old");
    area.directory.symlink("/", kAreaName + "/old/link-to-dir");
    put("/old/dir-to-link/inner", "old");
    put("/tree/both/b", "new");
    put("/tree/both/c", "new");
    put("/tree/dir-to-file", "new");
    put("/tree/file-to-dir/inner", "new");
    put("/tree/link-to-dir/inner", "new");
    area.directory.symlink("/", kAreaName + "/tree/dir-to-link");
    auto adopted = SessionArea::adopt(area.root, kKey, {});
    REQUIRE(adopted);
    const auto read = [&](const std::string& name) {
        return area.directory.read_file(kAreaName + "/old/" + name);
    };
    CHECK(read("both/a") == "old");
    CHECK(read("both/b") == "new");
    CHECK(read("both/c") == "new");
    CHECK(read("dir-to-file") == "new");
    CHECK(read("file-to-dir/inner") == "new");
    CHECK(read("link-to-dir/inner") == "new");
    CHECK(area.directory.read_link(kAreaName + "/old/dir-to-link") == "/");
    CHECK(area.directory.list(kAreaName + "/old").size() == 5);
    CHECK(area.directory.list(kAreaName + "/tree").empty());
    CHECK(adopted->remove());
}

TEST_CASE("a sweep keeps what can be adopted until it is old, and removes it at once if told to") {
    const Area area;
    const auto leave = [&] {
        area.leave_behind(kKey);
        area.directory.write_file(kAreaName + "/resume", "a journal");
    };
    const auto age = [&](std::chrono::seconds by) {
        const auto now = std::chrono::system_clock::now().time_since_epoch() - by;
        for (const std::string& name : {kAreaName, kAreaName + "/resume"}) {
            area.directory.set_mtime(name,
                                     std::chrono::duration_cast<std::chrono::seconds>(now).count());
        }
    };
    leave();
    CHECK(area.sweep() == 0);
    age(kWeek - std::chrono::minutes(5));
    CHECK(area.sweep() == 0);
    CHECK(area.directory.exists(kAreaName + "/files/0"));
    age(kWeek + std::chrono::minutes(5));
    {
        const auto held = SessionArea::adopt(area.root, kKey, {});
        REQUIRE(held);
        age(kWeek + std::chrono::minutes(5));
        CHECK(area.sweep() == 0); // somebody has it
        CHECK(area.sweep({}) == 0);
        held->touch();
    }
    CHECK(area.sweep() == 0); // young again
    age(kWeek + std::chrono::minutes(5));
    CHECK(area.sweep() == 1);
    CHECK_FALSE(area.directory.exists(".sluice"));
    leave();
    CHECK(area.sweep({}) == 1);
    CHECK_FALSE(area.directory.exists(".sluice"));
    leave();
    area.directory.remove(kAreaName + "/resume"); // without it nobody can use the rest
    CHECK(area.sweep() == 1);
    CHECK_FALSE(area.directory.exists(".sluice"));
}

TEST_CASE("sessions of one key, adopters and sweeps are never in one area at a time") {
    const Area area;
    std::atomic<bool> stop{false};
    std::atomic<int> inside{0};
    std::atomic<int> failed_sweeps{0};
    std::atomic<int> not_made{0};
    std::atomic<int> shared_areas{0};
    std::atomic<int> lost_files{0};
    std::atomic<int> not_removed{0};
    std::atomic<int> adopted{0};
    std::thread sweeper([&] {
        while (!stop) {
            failed_sweeps += sweep_work_area(area.root, kWeek) ? 0 : 1;
        }
    });
    std::vector<std::thread> sessions;
    for (int thread = 0; thread < 3; ++thread) {
        sessions.emplace_back([&, thread] {
            for (int round = 0; round < 150; ++round) {
                std::optional<SessionArea> mine = SessionArea::adopt(area.root, kKey, {});
                adopted += mine ? 1 : 0;
                if (!mine) {
                    auto made = SessionArea::create(area.root, kKey);
                    if (!made) {
                        ++not_made;
                        continue;
                    }
                    mine.emplace(std::move(*made));
                }
                const bool shared = mine->adoptable();
                shared_areas += shared && inside.fetch_add(1) != 0 ? 1 : 0;
                const std::string name = mine->next_name();
                const auto file = UniqueFd::adopt(::openat(
                    mine->files(), name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
                lost_files += file ? 0 : 1;
                const auto journal = UniqueFd::adopt(
                    ::openat(mine->fd(), "resume", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
                inside -= shared ? 1 : 0;
                if ((round + thread) % 3 == 0 || !shared) {
                    not_removed += mine->remove() ? 0 : 1;
                }
            }
        });
    }
    for (std::thread& session : sessions) {
        session.join();
    }
    stop = true;
    sweeper.join();
    CHECK(failed_sweeps == 0);
    CHECK(not_made == 0);
    CHECK(shared_areas == 0);
    CHECK(lost_files == 0);
    CHECK(not_removed == 0);
    CHECK(adopted > 0);
    static_cast<void>(area.sweep({}));
    CHECK_FALSE(area.directory.exists(".sluice"));
}
