// What the records of a session become: staged or in place, whole, with their mode and time.
#include "tests/support/store_session.hpp"
#include "tests/support/unprivileged.hpp"

#include <sys/resource.h>
#include <sys/statvfs.h>
#include <thread>

using namespace sluice;
using namespace sluice::test;
using proto::RecordKind;

namespace {

using Problems = std::map<std::string, std::string>;
const Problems kNone;

mode_t mode_of(const TempDir& directory, std::string_view name) {
    return directory.status(name).st_mode & 07777;
}

// A small tree, under a name of the root or, empty, as the destination itself.
void put_tree(StoreSession& session, const std::string& top, const std::string& content) {
    const std::string below = top.empty() ? "" : top + '/';
    CHECK(session.dir(below + "sub", 0750) == "");
    CHECK(session.file(below + "sub/file", content, 0640) == "");
    CHECK(session.link(below + "link", "sub/" + content) == "");
    CHECK(session.dir(below + "empty") == "");
    CHECK(session.file(below + "top", content) == "");
    CHECK(session.dir(top, 0751) == "");
}

void check_tree(const TempDir& directory, const std::string& top, const std::string& content) {
    CHECK(directory.read_file(top + "/sub/file") == content);
    CHECK(directory.read_file(top + "/top") == content);
    CHECK(directory.read_link(top + "/link") == "sub/" + content);
    CHECK(directory.list(top + "/empty").empty());
    CHECK(mode_of(directory, top) == 0751);
    CHECK(mode_of(directory, top + "/sub") == 0750);
    CHECK(mode_of(directory, top + "/sub/file") == 0640);
    for (const char* const name : {"", "/sub", "/sub/file", "/top", "/link", "/empty"}) {
        INFO(name);
        CHECK(directory.status(top + name).st_mtim.tv_sec == kStoredTime);
    }
}

} // namespace

TEST_CASE("a new tree appears at once when it is published") {
    const StoreRoot root;
    StoreSession session(root);
    put_tree(session, "tree", "new");
    CHECK_FALSE(root.directory.exists("tree"));
    CHECK(session.publish() == kNone);
    check_tree(root.directory, "tree", "new");
    CHECK(root.directory.list().size() == 1);
    CHECK(session.store().counts().files == 2);
    CHECK(session.store().counts().directories == 3);
    CHECK(session.store().counts().symlinks == 1);
}

TEST_CASE("a new destination appears at once, with its missing parents") {
    const StoreRoot root;
    StoreSession session(root, {"a/b/new", {""}});
    CHECK(session.store().fresh_roots().size() == 1);
    put_tree(session, "", "new");
    CHECK(session.file("tree/file", "x") == "");
    CHECK_FALSE(root.directory.exists("a"));
    CHECK(session.publish() == kNone);
    check_tree(root.directory, "a/b/new", "new");
    CHECK(root.directory.read_file("a/b/new/tree/file") == "x");
    CHECK(root.directory.list().size() == 1);
}

TEST_CASE("files below an existing name appear one by one, and others stay") {
    const StoreRoot root;
    root.directory.write_file("tree/top", "old");
    root.directory.write_file("tree/other", "kept");
    StoreSession session(root);
    CHECK(session.file("tree/top", "new") == "");
    CHECK(root.directory.read_file("tree/top") == "new");
    CHECK(session.file("tree/new/file", "new") == "");
    CHECK(root.directory.read_file("tree/new/file") == "new");
    CHECK(session.publish() == kNone);
    CHECK(root.directory.read_file("tree/other") == "kept");
    CHECK_FALSE(root.directory.exists(".sluice"));
}

TEST_CASE("an abandoned session leaves nothing of what it staged") {
    const StoreRoot root;
    StoreSession session(root);
    put_tree(session, "tree", "new");
    session.abandon();
    CHECK(root.directory.list().empty());
}

TEST_CASE("two sessions that stage the same new tree are merged, the later one wins") {
    const StoreRoot root;
    StoreSession first(root);
    StoreSession second(root);
    put_tree(first, "tree", "first");
    CHECK(first.file("tree/sub/only-first", "1") == "");
    put_tree(second, "tree", "second");
    CHECK(second.file("tree/sub/only-second", "2") == "");
    CHECK(first.publish() == kNone);
    check_tree(root.directory, "tree", "first");
    CHECK(second.publish() == kNone);
    check_tree(root.directory, "tree", "second");
    CHECK(root.directory.read_file("tree/sub/only-first") == "1");
    CHECK(root.directory.read_file("tree/sub/only-second") == "2");
    CHECK(root.directory.list().size() == 1);
}

TEST_CASE("two sessions that stage the same new destination are merged") {
    const StoreRoot root;
    StoreSession first(root, {"new"});
    StoreSession second(root, {"new"});
    put_tree(first, "", "first");
    put_tree(second, "", "second");
    CHECK(second.file("only-second", "2") == "");
    CHECK(second.publish() == kNone);
    CHECK(first.publish() == kNone);
    check_tree(root.directory, "new", "first");
    CHECK(root.directory.read_file("new/only-second") == "2");
    CHECK_FALSE(root.directory.exists(".sluice"));
}

TEST_CASE("a merge into what came meanwhile reports conflicts and stores the rest") {
    const StoreRoot root;
    StoreSession session(root);
    CHECK(session.file("tree/a", "file") == "");
    CHECK(session.file("tree/b/inner", "in a directory") == "");
    CHECK(session.file("tree/c", "file") == "");
    root.directory.write_file("tree/a/inner", "a directory by now");
    root.directory.write_file("tree/b", "a file by now");
    const Problems problems = session.publish();
    CHECK(problems.size() == 2);
    CHECK(problems.count("tree/a") == 1);
    CHECK(problems.count("tree/b") == 1);
    CHECK(root.directory.read_file("tree/a/inner") == "a directory by now");
    CHECK(root.directory.read_file("tree/b") == "a file by now");
    CHECK(root.directory.read_file("tree/c") == "file");
    CHECK_FALSE(root.directory.exists(".sluice"));
}

TEST_CASE("directories that their owner may not enter or change are filled and published") {
    const TempDir base;
    base.set_mode("", 0777);
    const bool meanwhile = GENERATE(false, true); // the tree came into being meanwhile
    const std::string trouble = as_nobody([&] {
        const TempDir mine(base.path());
        auto opened = open_root(mine.path());
        proto::Open request;
        auto store = Store::open(*opened, 1, request, {});
        DirectoryCache cache(8);
        const auto put = [&](RecordKind kind, std::string_view path, std::uint32_t mode) {
            proto::Record record;
            record.kind = kind;
            record.path = path;
            record.mode = mode;
            record.mtime.seconds = kStoredTime;
            const auto problem = (*store)->put(record, cache);
            expect(!problem, std::string(path) + ": " + StoreSession::text(problem));
        };
        for (const auto& [name, mode] : std::map<std::string, std::uint32_t>{
                 {"tree/r", 0555}, {"tree/r/x", 0500}, {"tree/none", 0}, {"tree", 0555}}) {
            put(RecordKind::directory, name, mode);
        }
        put(RecordKind::file, "tree/r/x/file", 0400);
        put(RecordKind::file, "tree/none/file", 0);
        if (meanwhile) {
            mine.write_file("tree/something", "");
        }
        const Status done =
            (*store)->publish([](const std::string& path, const StoreProblem& problem) {
                expect(false, path + ": " + problem.text);
            });
        expect(done.has_value(), "not published");
        expect(!mine.exists(".sluice"), "the work area is still there");
        expect(mode_of(mine, "tree") == 0555, "mode of tree");
        expect(mode_of(mine, "tree/r") == 0555, "mode of tree/r");
        expect(mode_of(mine, "tree/r/x") == 0500, "mode of tree/r/x");
        expect(mode_of(mine, "tree/none") == 0, "mode of tree/none");
        expect(mine.exists("tree/r/x/file"), "tree/r/x/file");
        for (const char* const name : {"tree", "tree/r", "tree/none", "tree/r/x"}) {
            expect(mine.status(name).st_mtim.tv_sec == kStoredTime, std::string("time of ") + name);
            mine.set_mode(name, 0700);
        }
        expect(mine.exists("tree/none/file"), "tree/none/file");
    });
    CHECK(trouble == "");
}

TEST_CASE("permissions are those of the sender whatever the umask, or the usual ones") {
    const StoreRoot root;
    const bool preserve = GENERATE(true, false);
    StoreSession session(root, {"", {}, preserve ? proto::kOpenPreserve : 0U});
    for (const std::uint32_t mode : {0777U, 0666U, 0600U, 0444U, 0U, 07777U}) {
        const std::string name = std::to_string(mode);
        CHECK(session.file("tree/f" + name, "", mode) == "");
        CHECK(session.file("f" + name, "", mode) == "");
        CHECK(session.dir("tree/d" + name, mode) == "");
    }
    CHECK(session.publish() == kNone);
    const mode_t umask = root.root.umask;
    for (const std::uint32_t mode : {0777U, 0666U, 0600U, 0444U, 0U, 07777U}) {
        const std::string name = std::to_string(mode);
        INFO("mode " << name);
        CHECK(mode_of(root.directory, "tree/f" + name) == (preserve ? mode & 0777 : 0666 & ~umask));
        CHECK(mode_of(root.directory, "f" + name) == (preserve ? mode & 0777 : 0666 & ~umask));
        CHECK(mode_of(root.directory, "tree/d" + name) == (preserve ? mode & 0777 : 0777 & ~umask));
    }
}

TEST_CASE("a symbolic link that is already there is left alone") {
    const StoreRoot root;
    root.directory.symlink("target", "dir/same");
    root.directory.set_mtime("dir/same", kStoredTime);
    root.directory.symlink("other", "dir/changed");
    const ino_t before = root.directory.status("dir/same").st_ino;
    StoreSession session(root);
    CHECK(session.link("dir/same", "target") == "");
    CHECK(session.link("dir/changed", "target") == "");
    CHECK(session.store().counts().symlinks == 1);
    CHECK(session.publish() == kNone);
    CHECK(root.directory.status("dir/same").st_ino == before);
    CHECK(root.directory.read_link("dir/changed") == "target");
}

TEST_CASE("a path that comes twice holds what came last") {
    const StoreRoot root;
    const std::string top = GENERATE("new/", "old/", "");
    root.directory.make_dir("old");
    StoreSession session(root);
    CHECK(session.file(top + "a", "first") == "");
    CHECK(session.file(top + "a", "second") == "");
    CHECK(session.link(top + "b", "first") == "");
    CHECK(session.link(top + "b", "second") == "");
    CHECK(session.file(top + "c", "file") == "");
    CHECK(session.link(top + "c", "link") == "");
    CHECK(session.link(top + "d", "link") == "");
    CHECK(session.file(top + "d", "file") == "");
    CHECK(session.publish() == kNone);
    CHECK(root.directory.read_file(top + "a") == "second");
    CHECK(root.directory.read_link(top + "b") == "second");
    CHECK(root.directory.read_link(top + "c") == "link");
    CHECK(root.directory.read_file(top + "d") == "file");
    CHECK_FALSE(root.directory.exists(".sluice"));
}

TEST_CASE("a directory in the way of a file, and the reverse, is a conflict that harms nothing") {
    const StoreRoot root;
    const std::string top = GENERATE("new/", "old/");
    root.directory.make_dir("old");
    StoreSession session(root);
    CHECK(session.file(top + "d/inner", "kept") == "");
    CHECK(session.file(top + "d", "in the way") != "");
    CHECK(session.link(top + "d", "in the way") != "");
    CHECK(session.file(top + "f", "kept") == "");
    CHECK(session.dir(top + "f") != "");
    CHECK(session.file(top + "f/inner", "below a file") != "");
    CHECK(session.publish() == kNone);
    CHECK(root.directory.read_file(top + "d/inner") == "kept");
    CHECK(root.directory.read_file(top + "f") == "kept");
    CHECK_FALSE(root.directory.exists(".sluice"));
}

TEST_CASE("a file and a staged directory of one name end in one of them and a report") {
    const StoreRoot root;
    StoreSession session(root);
    CHECK(session.file("name/inner", "staged") == "");
    const bool refused = session.file("name", "a file") != "";
    const Problems problems = session.publish();
    CHECK((refused || problems.count("name") == 1));
    CHECK(S_ISDIR(root.directory.status("name").st_mode) == refused);
    CHECK_FALSE(root.directory.exists(".sluice"));
}

TEST_CASE("an offered file is wanted unless size and time match, and its mode is put right") {
    const StoreRoot root;
    root.directory.write_file("dir/file", "12345", 0600);
    root.directory.set_mtime("dir/file", kStoredTime, 42);
    root.directory.symlink("file", "dir/link");
    StoreSession session(root);
    const auto wants = [&](std::string_view path, std::uint64_t size, proto::Timestamp time,
                           std::uint32_t mode) {
        return session.wants({size, time, mode, 1, path});
    };
    CHECK(wants("dir/file", 4, {kStoredTime, 42}, 0600));
    CHECK(wants("dir/file", 5, {kStoredTime + 1, 42}, 0600));
    CHECK(wants("dir/file", 5, {kStoredTime, 43}, 0600));
    CHECK(wants("dir/link", 5, {kStoredTime, 42}, 0600));
    CHECK(wants("dir", 5, {kStoredTime, 42}, 0600));
    CHECK(wants("missing/file", 5, {kStoredTime, 42}, 0600));
    CHECK(mode_of(root.directory, "dir/file") == 0600);
    CHECK_FALSE(wants("dir/file", 5, {kStoredTime, 42}, 0644));
    CHECK(mode_of(root.directory, "dir/file") == 0644);
    CHECK(session.store().counts().unchanged == 1);
    CHECK(root.directory.list().size() == 1); // asking makes nothing

    StoreSession again(root, {"", {}, proto::kOpenPreserve | proto::kOpenIgnoreTimes});
    CHECK(again.wants({5, {kStoredTime, 42}, 0644, 1, "dir/file"}));
    StoreSession dry(root, {"", {}, proto::kOpenPreserve | proto::kOpenDryRun});
    CHECK_FALSE(dry.wants({5, {kStoredTime, 42}, 0600, 1, "dir/file"}));
    CHECK(mode_of(root.directory, "dir/file") == 0644);
}

TEST_CASE("roots are fresh when nothing has their name") {
    const StoreRoot root;
    root.directory.make_dir("there");
    root.directory.symlink("nowhere", "dangling");
    StoreSession session(root, {"", {"there", "new", "dangling", ""}});
    CHECK(session.store().fresh_roots() == std::vector<std::uint16_t>{1});
    StoreSession empty(root, {"there/", {"x", ""}});
    CHECK(empty.store().fresh_roots() == std::vector<std::uint16_t>{0, 1});
}

TEST_CASE("less free space than demanded refuses the session") {
    const StoreRoot root;
    struct statvfs status {};
    REQUIRE(::statvfs(root.directory.path().c_str(), &status) == 0);
    const std::uint64_t more_than_all = std::uint64_t{status.f_blocks} * status.f_frsize + 1;
    const StoreSession refused(root, {"", {}, proto::kOpenPreserve, {more_than_all}});
    REQUIRE_FALSE(refused.ok());
    CHECK(refused.error().kind == ErrorKind::file_io);
    CHECK(refused.error().message.find("no space") != std::string::npos);
    CHECK(StoreSession(root, {"", {}, proto::kOpenPreserve, {1}}).ok());
    CHECK(root.directory.list().empty());
}

TEST_CASE("a publish that cannot open the staged tree does not pretend that it published") {
    const StoreRoot root;
    StoreSession session(root);
    CHECK(session.file("tree/file", "content") == "");
    rlimit before{};
    REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
    const int lowest_free = ::dup(root.root.fd.get());
    ::close(lowest_free);
    const rlimit none{static_cast<rlim_t>(lowest_free), before.rlim_max};
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &none) == 0);
    const Problems problems = session.publish();
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
    CHECK((!problems.empty() || root.directory.exists("tree/file")));
    session.abandon();
}

TEST_CASE("several threads store into one session, each with a cache of its own") {
    const StoreRoot root;
    root.directory.make_dir("old");
    StoreSession session(root);
    std::atomic<int> failed{0};
    std::vector<std::thread> threads;
    for (int thread = 0; thread < 4; ++thread) {
        threads.emplace_back([&, thread] {
            DirectoryCache cache(8);
            for (int number = 0; number < 200; ++number) {
                for (const char* const top : {"new/", "old/"}) {
                    const std::string path = std::string(top)
                                                 .append(std::to_string(number % 20))
                                                 .append("/f")
                                                 .append(std::to_string(number / 20 * 4 + thread));
                    proto::Record record;
                    record.path = path;
                    record.mode = 0644;
                    failed += session.store().put(record, cache) ? 1 : 0;
                }
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    CHECK(failed == 0);
    CHECK(session.publish() == kNone);
    for (const char* const top : {"new", "old"}) {
        CHECK(root.directory.list(top).size() == 20);
        CHECK(root.directory.list(std::string(top) + "/7").size() == 40);
    }
    CHECK(session.store().counts().files == 1'600);
}
