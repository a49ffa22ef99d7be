// DIRECTORY/.sluice: made when needed, locked while in use, swept of what dead receivers left.
#include "receiver/work_area.hpp"
#include "tests/support/temp_dir.hpp"

#include <catch2/catch.hpp>
#include <fcntl.h>
#include <optional>
#include <sys/file.h>
#include <thread>

using namespace sluice;
using namespace sluice::test;

namespace {

struct Area {
    TempDir directory{TempDir::quick_base()};
    ReceiverRoot root = open(directory.path());

    static ReceiverRoot open(const std::string& path) {
        auto opened = open_root(path);
        REQUIRE(opened);
        return std::move(*opened);
    }

    [[nodiscard]] std::size_t sweep() const {
        const auto swept = sweep_work_area(root);
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
    auto made = SessionArea::create(area.root);
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
    auto made = SessionArea::create(area.root);
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
    auto first = SessionArea::create(area.root);
    auto second = SessionArea::create(area.root);
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
    auto live = SessionArea::create(area.root);
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
        auto gone = SessionArea::create(area.root); // its lock goes with its descriptors
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
    const auto swept = sweep_work_area(area.root);
    REQUIRE_FALSE(swept);
    CHECK(swept.error().kind == ErrorKind::refused);
    CHECK(swept.error().message.find(".sluice") != std::string::npos);
    const auto made = SessionArea::create(area.root);
    REQUIRE_FALSE(made);
    CHECK(made.error().message.find(".sluice") != std::string::npos);
    CHECK(outside.read_file("0123456789abcdef/files/0") == "somebody's");
    CHECK(outside.list().size() == 1);
    CHECK(area.directory.exists(".sluice"));
}

TEST_CASE("a file in the place of the work area is refused and kept") {
    const Area area;
    area.directory.write_file(".sluice", "somebody's");
    CHECK_FALSE(sweep_work_area(area.root));
    CHECK_FALSE(SessionArea::create(area.root));
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
            sweeps_failed = sweeps_failed || !sweep_work_area(area.root);
        }
    });
    std::atomic<int> lost{0};
    std::vector<std::thread> sessions;
    for (int thread = 0; thread < 3; ++thread) {
        sessions.emplace_back([&] {
            for (int round = 0; round < 200; ++round) {
                auto made = SessionArea::create(area.root);
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
