// With --fsync: everything still arrives, nothing is written without need, and errors surface. In
// which order things are brought to the medium is seen only from outside (system calls).
#include "receiver/durability.hpp"
#include "tests/support/source_tree.hpp"
#include "tests/support/unprivileged.hpp"

#include <cerrno>
#include <fcntl.h>

using namespace sluice;
using namespace sluice::test;

namespace {

UniqueFd open_directory(const TempDir& directory, std::string_view name = {}) {
    return UniqueFd::adopt(
        ::open(directory.path(name).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

SessionRequest synced(const std::string& destination = {}) {
    return {destination, {}, proto::kOpenPreserve | proto::kOpenSync};
}

} // namespace

TEST_CASE("who does not want it pays nothing: no call is made and no error seen") {
    Durability none(false);
    CHECK_FALSE(none.wanted());
    none.start(-1, 0, 10);
    none.note_directory("nowhere");
    none.note_many();
    CHECK(none.settle_file(-1) == 0);
    CHECK(none.settle_file_system(-1) == 0);
    CHECK(none.settle_directories(-1) == 0);
}

TEST_CASE("errors of each call are reported") {
    const TempDir directory;
    Durability durability(true);
    CHECK(durability.wanted());
    durability.start(-1, 0, 10); // only a hint
    CHECK(durability.settle_file(-1) == EBADF);
    CHECK(durability.settle_file_system(-1) == EBADF);
    CHECK(durability.settle_directories(-1) == 0); // there are none
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    CHECK(durability.settle_file(ends[1]) == EINVAL); // cannot be synced
    ::close(ends[0]);
    ::close(ends[1]);
    durability.note_many();
    CHECK(durability.settle_directories(-1) == EBADF);
}

TEST_CASE(
    "directories that were noted are settled, the root too, and one that vanished is an error") {
    const TempDir directory;
    const UniqueFd root = open_directory(directory);
    directory.make_dir("a/b");
    Durability durability(true);
    for (const char* const name : {"", "a", "a/b", "a/b"}) {
        durability.note_directory(name);
    }
    CHECK(durability.settle_directories(root.get()) == 0);
    directory.remove("a/b");
    CHECK(durability.settle_directories(root.get()) == ENOENT);
    directory.symlink("..", "a/b");
    CHECK(durability.settle_directories(root.get()) == ELOOP);
}

TEST_CASE("very many directories are settled all at once") {
    const TempDir directory;
    const UniqueFd root = open_directory(directory);
    Durability durability(true);
    for (int number = 0; number < 1'000; ++number) {
        durability.note_directory("missing/" + std::to_string(number));
    }
    CHECK(durability.settle_directories(root.get()) == 0); // none is looked for
}

TEST_CASE("a session that syncs stores what another does, staged and in place") {
    const StoreRoot root;
    const std::string destination = GENERATE("", "new/deep");
    const bool asked = GENERATE(true, false);
    const std::string top = destination.empty() ? "old/" : "";
    SessionRequest request = asked ? synced(destination) : SessionRequest{destination};
    request.policy.sync = !asked; // the receiver's own wish does as well
    if (!top.empty()) {
        root.directory.write_file("old/replaced", "old content");
    }
    SourceTree source;
    source.file(top + "replaced", "new content");
    source.file("fresh/small", "x");
    source.large(top + "deep/large", 200'000, 1);
    source.large("fresh/large", 50'000, 2);
    source.link(top + "link", "target");
    source.dir(top + "dir", 0711);
    StoreSession session(root, request);
    CHECK(session.store().syncs());
    CHECK(source.send(session));
    CHECK(session.publish().empty());
    CHECK(source.check(root.directory, destination, true) == "");
    CHECK_FALSE(root.directory.exists(".sluice"));
}

TEST_CASE("a session that syncs goes on with what another left") {
    const StoreRoot root;
    const bool staged = GENERATE(true, false);
    if (!staged) {
        root.directory.make_dir("tree");
    }
    SourceTree source;
    source.large("tree/large", 50'000, 1);
    source.file("tree/small", "x");
    {
        StoreSession first(root);
        source.send(first, {}, nullptr, [steps = 5]() mutable { return --steps > 0; });
    }
    StoreSession session(root, synced());
    CHECK(source.send(session));
    CHECK(session.publish().empty());
    CHECK(session.store().counts().reused_bytes > 0);
    CHECK(source.check(root.directory, "", staged) == "");
}

TEST_CASE("a directory of the destination that vanished meanwhile fails a publish that syncs") {
    const StoreRoot root;
    root.directory.make_dir("old");
    StoreSession session(root, synced());
    CHECK(session.file("old/sub/file", "x") == "");
    root.directory.remove("old/sub");
    const auto problems = session.publish();
    REQUIRE(problems.count("(all)") == 1);
    CHECK(problems.at("(all)").find("medium") != std::string::npos);
    session.abandon();
}

TEST_CASE(
    "directories that their owner may not enter in the end do not keep a session from syncing") {
    const TempDir base;
    base.set_mode("", 0777);
    const std::string trouble = as_nobody([&] {
        const TempDir mine(base.path());
        mine.make_dir("old");
        auto opened = open_root(mine.path());
        proto::Open request;
        request.flags |= proto::kOpenSync;
        auto store = Store::open(*opened, 1, request, {});
        DirectoryCache cache(8);
        const auto put = [&](proto::RecordKind kind, std::string_view path, std::uint32_t mode) {
            proto::Record record;
            record.kind = kind;
            record.path = path;
            record.mode = mode;
            const auto problem = (*store)->put(record, cache);
            expect(!problem, std::string(path) + ": " + StoreSession::text(problem));
        };
        put(proto::RecordKind::directory, "old/none", 0);
        put(proto::RecordKind::file, "old/none/file", 0644);
        const Status done = (*store)->publish([](const std::string& path, const StoreProblem& one) {
            expect(false, path + ": " + one.text);
        });
        const mode_t mode = mine.status("old/none").st_mode & 07777;
        mine.set_mode("old/none", 0700);
        expect(done.has_value(), done ? "" : done.error().message);
        expect(mode == 0, "another mode");
        expect(mine.exists("old/none/file"), "no file");
    });
    CHECK(trouble == "");
}
