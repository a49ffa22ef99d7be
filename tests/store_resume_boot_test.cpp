// After another boot of the machine what was left is only trusted where a digest says so.
#include "tests/support/extent_source.hpp"

#include <functional>

using namespace sluice;
using namespace sluice::test;
using Ranges = std::vector<proto::Range>;

namespace {

constexpr std::uint64_t kSize = 100'000;

void break_off(StoreSession&& session) {
    CHECK(session.store().is_worth_keeping());
    session.take_store().reset();
}

std::string area_of(const StoreRoot& root) {
    REQUIRE(root.directory.list(".sluice").size() == 1);
    return ".sluice/" + root.directory.list(".sluice").front();
}

// As if the machine had been booted again since the journal was written.
void reboot(const StoreRoot& root, const std::string& boot_id = "another boot") {
    const auto area = UniqueFd::adopt(
        ::open(root.directory.path(area_of(root)).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    auto journal = load_journal(area.get());
    REQUIRE(journal);
    journal->header.boot_id = boot_id;
    REQUIRE(ResumeJournal::create(area.get(), journal->header, journal->files));
}

// Where the data of the only large file lies.
std::string data_of(const StoreRoot& root, bool staged) {
    const std::string area = area_of(root);
    return staged ? area + "/tree/tree/large"
                  : area + "/files/" + root.directory.list(area + "/files").at(0);
}

void damage(const StoreRoot& root, const std::string& name, off_t offset) {
    const auto file =
        UniqueFd::adopt(::open(root.directory.path(name).c_str(), O_RDWR | O_CLOEXEC));
    char byte = 0;
    REQUIRE(::pread(file.get(), &byte, 1, offset) == 1);
    byte = static_cast<char>(byte ^ 1);
    REQUIRE(::pwrite(file.get(), &byte, 1, offset) == 1);
}

bool wants_whole(StoreSession& session) {
    return session.wants({5, {kStoredTime, 0}, 0644, 1, "tree/whole"});
}

// Three hashed pieces and one without a digest; a small file, too.
ExtentSource leave_some(const StoreRoot& root) {
    ExtentSource large(1, "tree/large", kSize);
    StoreSession session(root);
    CHECK(session.file("tree/whole", "12345") == "");
    large.hashed = true;
    CHECK(large.send(session, 0, 10'000) == "");
    CHECK(large.send(session, 20'000, 10'000) == "");
    CHECK(large.send(session, 40'000, 10'000) == "");
    large.hashed = false;
    CHECK(large.send(session, 60'000, 10'000) == "");
    break_off(std::move(session));
    return large;
}

void finish(const StoreRoot& root, StoreSession& session, const ExtentSource& large,
            const Ranges& present) {
    large.send_rest(session, present);
    CHECK(large.end(session) == "");
    CHECK(session.publish().empty());
    CHECK((root.directory.read_file("tree/large") == large.content()));
    CHECK_FALSE(root.directory.exists(".sluice"));
}

} // namespace

TEST_CASE("after another boot only pieces with the right digest count, and no whole file") {
    const StoreRoot root;
    const bool staged = GENERATE(true, false);
    if (!staged) {
        root.directory.make_dir("tree");
    }
    const ExtentSource large = leave_some(root);
    const std::string trouble = GENERATE("none", "damaged", "short", "gone");
    Ranges expected{{0, 10'000}, {20'000, 10'000}, {40'000, 10'000}};
    const std::string data = data_of(root, staged);
    if (trouble == "damaged") {
        damage(root, data, 29'999);
        expected = {{0, 10'000}, {40'000, 10'000}};
    } else if (trouble == "short") {
        REQUIRE(::truncate(root.directory.path(data).c_str(), 25'000) == 0);
        expected = {{0, 10'000}};
    } else if (trouble == "gone") {
        root.directory.remove(data);
        expected = {};
    }
    reboot(root, GENERATE("another boot", ""));
    StoreSession session(root);
    CHECK(wants_whole(session) == staged); // else it is at the destination already
    Ranges present;
    CHECK(session.wants(large.offer(), present));
    CHECK(present == expected);
    CHECK(session.store().counts().reused_files == 0);
    finish(root, session, large, present);
}

TEST_CASE("within one boot pieces count without being read again") {
    const StoreRoot root;
    const ExtentSource large = leave_some(root);
    StoreSession session(root);
    CHECK_FALSE(wants_whole(session));
    Ranges present;
    CHECK(session.wants(large.offer(), present));
    CHECK(present == Ranges{{0, 10'000}, {20'000, 10'000}, {40'000, 10'000}, {60'000, 10'000}});
    finish(root, session, large, present);
}

// The tree of the first session may have lost its bytes with the power; the second session lived
// and died after that, but its boot says nothing about what it only inherited.
TEST_CASE("whole files of an earlier boot do not become trusted by passing through a session") {
    const StoreRoot root;
    const ExtentSource large = leave_some(root);
    reboot(root);
    {
        StoreSession second(root);
        CHECK(second.file("tree/of-second", "x") == "");
        break_off(std::move(second));
    }
    StoreSession third(root);
    CHECK(wants_whole(third));
    CHECK_FALSE(third.wants({1, {kStoredTime, 0}, 0644, 1, "tree/of-second"}));
    Ranges present;
    CHECK(third.wants(large.offer(), present));
    CHECK(present == Ranges{{0, 10'000}, {20'000, 10'000}, {40'000, 10'000}}); // were verified
    third.abandon();
}

TEST_CASE("a whole file of an earlier boot is not published because it was offered as unchanged") {
    const StoreRoot root;
    { static_cast<void>(leave_some(root)); }
    const std::string whole = area_of(root) + "/tree/tree/whole";
    root.directory.write_file(whole, std::string(5, '\0')); // as some file systems do
    root.directory.set_mtime(whole, kStoredTime);
    reboot(root);
    for (int generation = 0; generation < 2; ++generation) {
        StoreSession session(root);
        CHECK(session.file("tree/other" + std::to_string(generation), "x") == "");
        break_off(std::move(session));
    }
    StoreSession session(root);
    if (wants_whole(session)) {
        CHECK(session.file("tree/whole", "12345") == "");
    }
    CHECK(session.publish().empty());
    CHECK(root.directory.read_file("tree/whole") == "12345");
}

// A directory that is renamed keeps the ctime, and thus the version, of what is in it: so a source
// may come back.
TEST_CASE("pieces do not count once another file has taken the place of their data") {
    const StoreRoot root;
    const ExtentSource large = leave_some(root); // staged
    const std::string by = GENERATE("small file", "small file of the same session", "link");
    {
        StoreSession second(root);
        if (by == "small file of the same session") {
            CHECK(large.send(second, 80'000, 1'000) == "");
        }
        if (by == "link") {
            CHECK(second.link("tree/large", "whole") == "");
        } else {
            CHECK(second.file("tree/large", std::string(kSize - 1, 'x')) == "");
        }
        break_off(std::move(second));
    }
    StoreSession third(root);
    Ranges present;
    CHECK(third.wants(large.offer(), present));
    CHECK(present.empty());
    finish(root, third, large, present);
}

// Trees are merged down to some depth only; what lies deeper of one of them is given up.
TEST_CASE("pieces do not count where an older file of a deep path has outlived their data") {
    const StoreRoot root;
    std::string path = "tree/";
    for (int depth = 0; depth < 80; ++depth) {
        path += "d/";
    }
    path += "file";
    const ExtentSource before(1, path, kSize);
    ExtentSource after(2, path, kSize);
    after.version = 2;
    {
        StoreSession first(root);
        before.send_rest(first, {});
        CHECK(before.end(first) == "");
        break_off(std::move(first));
    }
    {
        StoreSession second(root);
        CHECK(after.send(second, 0, 10'000) == "");
        break_off(std::move(second));
    }
    StoreSession third(root);
    Ranges present;
    CHECK(third.wants(after.offer(), present));
    after.send_rest(third, present);
    CHECK(after.end(third) == "");
    CHECK(third.publish().empty());
    CHECK((root.directory.read_file(path) == after.content()));
}

TEST_CASE("a journal that is damaged, missing or no file means that all is sent again") {
    const StoreRoot root;
    const ExtentSource large = leave_some(root);
    const std::string journal = area_of(root) + "/" + kResumeJournalName;
    const std::string what = GENERATE("missing", "empty", "noise", "directory", "link");
    root.directory.remove(journal);
    if (what == "empty" || what == "noise") {
        root.directory.write_file(journal, what == "empty" ? "" : std::string(100, 'n'));
    } else if (what == "directory") {
        root.directory.make_dir(journal);
    } else if (what == "link") {
        root.directory.symlink("/dev/zero", journal);
    }
    StoreSession session(root);
    CHECK(wants_whole(session));
    Ranges present;
    CHECK(session.wants(large.offer(), present));
    CHECK(present.empty());
    CHECK(session.file("tree/whole", "12345") == "");
    finish(root, session, large, present);
}
