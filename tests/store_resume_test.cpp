// What a session that broke leaves behind, and which later session goes on with it.
#include "tests/support/extent_source.hpp"
#include "tests/support/source_tree.hpp"
#include "tests/support/store_session.hpp"
#include "tests/support/unprivileged.hpp"

#include <functional>

using namespace sluice;
using namespace sluice::test;
using Ranges = std::vector<proto::Range>;

namespace {

constexpr std::uint64_t kSize = 100'000;

// The session ends as if its sender had been lost. What it held goes on to exist.
void break_off(StoreSession&& session) {
    CHECK(session.store().is_worth_keeping());
    session.store().touch();
    session.take_store().reset();
}

proto::OfferEntry small_offer(std::string_view path, std::uint64_t size) {
    return {size, {kStoredTime, 0}, 0644, 1, path};
}

// A session that got a file, half of a large one, and then lost its sender.
ExtentSource leave_some(const StoreRoot& root, const SessionRequest& request = {},
                        const std::string& top = "tree/") {
    ExtentSource large(1, top + "large", kSize);
    StoreSession session(root, request);
    CHECK(session.file(top + "whole", "12345") == "");
    CHECK(large.send(session, 0, 30'000) == "");
    CHECK(large.send(session, 50'000, 10'000) == "");
    break_off(std::move(session));
    return large;
}

const Ranges kLeft{{0, 30'000}, {50'000, 10'000}};

// What a session with this request is offered of that.
struct Offered {
    bool whole = false; // need not be sent
    Ranges pieces{};
};
Offered offer(StoreSession& session, const ExtentSource& large, const std::string& top = "tree/") {
    Offered result;
    result.whole = !session.wants(small_offer(top + "whole", 5));
    CHECK(session.wants(large.offer(), result.pieces));
    return result;
}

std::string nothing_left(const StoreRoot& root) {
    return root.directory.exists(".sluice") ? "the work area is still there" : "";
}

} // namespace

TEST_CASE("a session goes on with what one of the same request left") {
    const StoreRoot root;
    const SessionRequest request{"", {"tree"}};
    const ExtentSource large = leave_some(root, request);
    CHECK_FALSE(root.directory.exists("tree"));
    StoreSession session(root, request);
    CHECK(session.store().fresh_roots().empty()); // has to ask
    const Offered offered = offer(session, large);
    CHECK(offered.whole);
    CHECK(offered.pieces == kLeft);
    large.send_rest(session, offered.pieces);
    CHECK(large.end(session) == "");
    CHECK(session.publish().empty());
    CHECK(root.directory.read_file("tree/whole") == "12345");
    CHECK((root.directory.read_file("tree/large") == large.content()));
    CHECK((root.directory.status("tree/large").st_mode & 07777) == 0640);
    CHECK(root.directory.status("tree/large").st_mtim.tv_nsec == 7);
    CHECK(session.store().counts().reused_files == 1);
    CHECK(session.store().counts().reused_bytes == 5 + 40'000);
    CHECK(session.store().counts().unchanged == 1);
    CHECK(session.store().counts().files == 1);
    CHECK(nothing_left(root) == "");
}

TEST_CASE("a session of another request is offered nothing of it") {
    const StoreRoot root;
    root.directory.make_dir("there");
    const SessionRequest mine{"there", {"tree"}};
    const ExtentSource large = leave_some(root, mine);
    SessionRequest other = mine;
    SECTION("another destination") {
        other.destination = "there/deeper";
    }
    SECTION("other roots") {
        other.roots = {"tree", "more"};
    }
    SECTION("no roots") {
        other.roots = {};
    }
    SECTION("without times") {
        other.flags = 0;
    }
    SECTION("file by file") {
        other.flags |= proto::kOpenPublishByFile;
    }
    SECTION("single file") {
        other.flags |= proto::kOpenSingleFile;
    }
    SECTION("a receiver that resumes nothing") {
        other.policy.resume = false;
    }
    SECTION("a dry run") {
        other.flags |= proto::kOpenDryRun;
    }
    {
        StoreSession session(root, other);
        const Offered offered = offer(session, large);
        CHECK_FALSE(offered.whole);
        CHECK(offered.pieces.empty());
        session.abandon();
    }
    StoreSession session(root, mine); // and what is not its own it leaves alone
    CHECK(offer(session, large).pieces == kLeft);
    session.abandon();
    CHECK(nothing_left(root) == "");
}

TEST_CASE("without times pieces are gone on with, but no whole file is recognised") {
    const StoreRoot root;
    const SessionRequest request{"", {}, 0};
    const ExtentSource large = leave_some(root, request);
    StoreSession session(root, request);
    const Offered offered = offer(session, large);
    CHECK_FALSE(offered.whole);
    CHECK(offered.pieces == kLeft);
    large.send_rest(session, offered.pieces);
    CHECK(large.end(session) == "");
    CHECK(session.publish().empty());
    CHECK((root.directory.read_file("tree/large") == large.content()));
}

TEST_CASE("what a live session holds is not taken from it") {
    const StoreRoot root;
    const ExtentSource large(1, "tree/large", kSize);
    StoreSession first(root);
    CHECK(large.send(first, 0, 30'000) == "");
    StoreSession second(root); // has waited for it for a while
    Ranges present;
    CHECK(second.wants(large.offer(), present));
    CHECK(present.empty());
    large.send_rest(second, {});
    CHECK(large.end(second) == "");
    CHECK(second.publish().empty());
    large.send_rest(first, {{0, 30'000}});
    CHECK(large.end(first) == "");
    CHECK(first.publish().empty());
    CHECK((root.directory.read_file("tree/large") == large.content()));
    CHECK(nothing_left(root) == "");
}

TEST_CASE("flags that change nothing about what is stored do not matter") {
    const StoreRoot root;
    const ExtentSource large = leave_some(root);
    StoreSession session(root,
                         {"", {}, proto::kOpenPreserve | proto::kOpenVerify | proto::kOpenSync});
    CHECK(offer(session, large).pieces == kLeft);
    session.abandon();
}

TEST_CASE("without size and time as evidence only sessions of the same run go on") {
    const StoreRoot root;
    const ExtentSource large = leave_some(root, {"", {}, proto::kOpenPreserve, {}, 1});
    const bool same_run = GENERATE(true, false);
    StoreSession session(root, {"",
                                {},
                                proto::kOpenPreserve | proto::kOpenIgnoreTimes,
                                {},
                                static_cast<std::uint8_t>(same_run ? 1 : 2)});
    const Offered offered = offer(session, large);
    CHECK(offered.whole == same_run);
    CHECK(offered.pieces == (same_run ? kLeft : Ranges{}));
    session.abandon();
    CHECK(nothing_left(root) == "");
}

TEST_CASE("a source that has changed is sent afresh") {
    const StoreRoot root;
    const ExtentSource before = leave_some(root);
    const std::string what = GENERATE("size", "time", "version");
    ExtentSource after(2, before.path(), what == "size" ? kSize + 1 : kSize);
    after.mtime.nanoseconds += what == "time" ? 1U : 0U;
    after.version += what == "version" ? 1U : 0U;
    StoreSession session(root);
    Ranges present;
    CHECK(session.wants(after.offer(), present));
    CHECK(present.empty());
    CHECK(session.wants(small_offer("tree/whole", 6)));
    CHECK(session.wants({5, {kStoredTime + 1, 0}, 0644, 1, "tree/whole"}));
    CHECK(session.file("tree/whole", "other!") == "");
    after.send_rest(session, {});
    CHECK(after.end(session) == "");
    CHECK(session.publish().empty());
    CHECK((root.directory.read_file("tree/large") == after.content()));
    CHECK(root.directory.read_file("tree/whole") == "other!");
    CHECK(session.store().counts().reused_bytes == 0);
    CHECK(nothing_left(root) == "");
}

TEST_CASE("the mode of a whole file that is gone on with is put right") {
    const StoreRoot root;
    leave_some(root);
    StoreSession session(root);
    CHECK_FALSE(session.wants({5, {kStoredTime, 0}, 0600, 2, "tree/whole"}));
    CHECK(session.publish().empty());
    CHECK((root.directory.status("tree/whole").st_mode & 07777) == 0600);
}

TEST_CASE("what has vanished from the source is not published from what was left") {
    const StoreRoot root;
    leave_some(root);
    StoreSession session(root);
    CHECK(session.file("tree/new", "new") == "");
    CHECK(session.publish().empty());
    CHECK(root.directory.list("tree") == std::vector<std::string>{"new"});
    CHECK(nothing_left(root) == "");
}

TEST_CASE("pieces of files that are renamed into place one by one are gone on with, too") {
    const StoreRoot root;
    root.directory.write_file("tree/large", "old content");
    const ExtentSource large = leave_some(root);
    CHECK(root.directory.read_file("tree/whole") == "12345"); // was published at once
    CHECK(root.directory.read_file("tree/large") == "old content");
    StoreSession session(root);
    const Offered offered = offer(session, large);
    CHECK(offered.whole);
    CHECK(offered.pieces == kLeft);
    CHECK(session.store().counts().reused_files == 0); // unchanged is something else
    large.send_rest(session, offered.pieces);
    CHECK(root.directory.read_file("tree/large") == "old content");
    CHECK(large.end(session) == "");
    CHECK((root.directory.read_file("tree/large") == large.content()));
    CHECK(session.publish().empty());
    CHECK(nothing_left(root) == "");
}

TEST_CASE("pieces survive when the way in which they are stored changes") {
    const StoreRoot root;
    const bool staged_first = GENERATE(true, false);
    if (!staged_first) {
        root.directory.make_dir("tree");
    }
    const ExtentSource large = leave_some(root);
    if (staged_first) {
        root.directory.make_dir("tree");
    } else {
        root.directory.remove("tree");
    }
    StoreSession session(root);
    const Offered offered = offer(session, large);
    CHECK_FALSE(offered.whole);
    CHECK(offered.pieces == kLeft);
    large.send_rest(session, offered.pieces);
    CHECK(root.directory.exists("tree") == staged_first);
    CHECK(large.end(session) == "");
    CHECK(session.publish().empty());
    CHECK((root.directory.read_file("tree/large") == large.content()));
    CHECK(nothing_left(root) == "");
}

TEST_CASE("a destination that is new is gone on with, also if it exists by now") {
    const StoreRoot root;
    const SessionRequest request{"a/b", {"tree"}};
    const ExtentSource large = leave_some(root, request);
    const bool exists = GENERATE(true, false);
    if (exists) {
        root.directory.make_dir("a/b");
    }
    StoreSession session(root, request);
    CHECK(session.store().fresh_roots().empty());
    const Offered offered = offer(session, large);
    CHECK(offered.whole);
    CHECK(offered.pieces == kLeft);
    large.send_rest(session, offered.pieces);
    CHECK(large.end(session) == "");
    CHECK(session.publish().empty());
    CHECK((root.directory.read_file("a/b/tree/large") == large.content()));
    CHECK(root.directory.read_file("a/b/tree/whole") == "12345");
    CHECK(nothing_left(root) == "");
}

TEST_CASE("a single file that gets a new name is gone on with") {
    const StoreRoot root;
    const std::string parent = GENERATE("", "new/", "there/");
    root.directory.make_dir("there");
    const SessionRequest request{
        parent + "name", {"label"}, proto::kOpenPreserve | proto::kOpenSingleFile};
    const ExtentSource large(1, "label", kSize);
    {
        StoreSession first(root, request);
        CHECK(large.send(first, 0, 30'000) == "");
        break_off(std::move(first));
    }
    StoreSession session(root, request);
    CHECK(session.store().fresh_roots().empty()); // else the sender would not ask
    Ranges present;
    CHECK(session.wants(large.offer(), present));
    CHECK(present == Ranges{{0, 30'000}});
    large.send_rest(session, present);
    CHECK(large.end(session) == "");
    CHECK(session.publish().empty());
    CHECK((root.directory.read_file(parent + "name") == large.content()));
    CHECK(nothing_left(root) == "");
}

TEST_CASE(
    "a file that became a directory between sessions, and the reverse, is stored as it is now") {
    const StoreRoot root;
    const std::string top = GENERATE("new/", "old/");
    const bool staged = top == "new/";
    if (!staged) {
        root.directory.make_dir("old");
    }
    SourceTree source;
    source.large(top + "large-to-dir", 40'000, 1);
    source.file(top + "small-to-dir", "file");
    source.large(top + "dir-to-large/inner", 40'000, 2);
    source.file(top + "dir-to-small/inner", "file");
    {
        StoreSession first(root);
        source.send(first, {}, nullptr, [steps = 13]() mutable { return --steps > 0; });
        break_off(std::move(first));
    }
    SourceTree now;
    now.file(top + "large-to-dir/inner", "now below");
    if (staged) { // what has been published already would be in the way
        now.large(top + "small-to-dir/inner", 40'000, 3);
        now.large(top + "dir-to-large", 40'000, 4);
        now.file(top + "dir-to-small", "now a file");
    }
    for (int generation = 0; generation < 2; ++generation) {
        StoreSession broken(root);
        now.send(broken, {}, nullptr,
                 [steps = 3 + 9 * generation]() mutable { return --steps > 0; });
        break_off(std::move(broken));
    }
    StoreSession session(root);
    CHECK(now.send(session));
    CHECK(session.publish().empty());
    CHECK(now.check(root.directory, "", staged) == "");
    CHECK(nothing_left(root) == "");
}

TEST_CASE("what five broken sessions left, one after the other, adds up") {
    const StoreRoot root;
    const bool staged = GENERATE(true, false);
    if (!staged) {
        root.directory.make_dir("tree");
    }
    const ExtentSource large(1, "tree/large", kSize);
    Ranges expected;
    for (std::uint64_t number = 0; number < 5; ++number) {
        StoreSession session(root);
        Ranges present;
        CHECK(session.wants(large.offer(), present));
        CHECK(present == expected);
        for (std::uint64_t before = 0; before < number; ++before) {
            CHECK_FALSE(session.wants(small_offer("tree/f" + std::to_string(before), 1)));
        }
        CHECK(session.file("tree/f" + std::to_string(number), "x") == "");
        if (number != 2) { // one of them does not touch the large file
            CHECK(large.send(session, number * 20'000, 10'000) == "");
            expected.push_back({number * 20'000, 10'000});
        }
        break_off(std::move(session));
    }
    StoreSession session(root);
    Ranges present;
    CHECK(session.wants(large.offer(), present));
    CHECK(present == expected);
    CHECK(session.store().counts().reused_files == 0);
    for (std::uint64_t before = 0; before < 5; ++before) {
        CHECK_FALSE(session.wants(small_offer("tree/f" + std::to_string(before), 1)));
    }
    large.send_rest(session, present);
    CHECK(large.end(session) == "");
    CHECK(session.publish().empty());
    CHECK(root.directory.list("tree").size() == 6);
    CHECK((root.directory.read_file("tree/large") == large.content()));
    CHECK(nothing_left(root) == "");
}

TEST_CASE("a session that has everything publishes it when one byte has come again") {
    const StoreRoot root;
    const ExtentSource large(1, "tree/large", kSize);
    {
        StoreSession first(root);
        CHECK(large.send(first, 0, 60'000) == "");
        CHECK(large.send(first, 60'000, 40'000) == "");
        break_off(std::move(first));
    }
    StoreSession session(root);
    Ranges present;
    CHECK(session.wants(large.offer(), present));
    CHECK(present == Ranges{{0, kSize}});
    large.send_rest(session, present);
    CHECK(large.end(session) == "");
    CHECK(session.publish().empty());
    CHECK((root.directory.read_file("tree/large") == large.content()));
}

TEST_CASE("what was aborted, or lost under way, is not gone on with") {
    const StoreRoot root;
    const ExtentSource aborted(1, "tree/aborted", kSize);
    const ExtentSource lost(2, "tree/lost", kSize);
    {
        StoreSession first(root);
        CHECK(aborted.send(first, 0, 30'000) == "");
        CHECK(first.store().abort_file(1) == proto::Fault::none);
        CHECK(lost.send(first, 0, 10'000) == "");
        const auto begun = lost.begin(first.store(), first.directories(), 10'000, 10'000);
        first.store().extent_lost(*begun.file);
        static_cast<void>(lost.begin(first.store(), first.directories(), 20'000, 10'000));
        break_off(std::move(first)); // while that was being written
    }
    StoreSession session(root);
    Ranges present;
    CHECK(session.wants(aborted.offer(), present));
    CHECK(present.empty());
    CHECK(session.wants(lost.offer(), present));
    CHECK(present == Ranges{{0, 10'000}});
    session.abandon();
    CHECK(nothing_left(root) == "");
}

TEST_CASE("a session that stored nothing leaves nothing worth keeping") {
    const StoreRoot root;
    StoreSession session(root);
    CHECK_FALSE(session.store().is_worth_keeping());
    CHECK(session.dir("tree") == "");
    CHECK_FALSE(session.store().is_worth_keeping());
    CHECK(session.file("tree/file", "x") == "");
    CHECK(session.store().is_worth_keeping());
    StoreSession random(root); // its key is taken by then
    CHECK(random.file("tree/file", "x") == "");
    CHECK_FALSE(random.store().is_worth_keeping());
    random.abandon();
    CHECK(session.publish().empty());
    CHECK_FALSE(session.store().is_worth_keeping());
    CHECK(nothing_left(root) == "");
}

TEST_CASE("a large file that its owner may not write to is gone on with") {
    const TempDir base;
    base.set_mode("", 0777);
    const std::uint32_t mode = GENERATE(0444U, 0200U, 0U);
    const std::string trouble = as_nobody([&] {
        const TempDir mine(base.path());
        auto opened = open_root(mine.path());
        ExtentSource large(1, "tree/large", kSize);
        large.mode = mode;
        const auto run = [&](bool whole) {
            auto store = Store::open(*opened, whole ? 2 : 1, {}, {});
            (*store)->adopt();
            DirectoryCache cache(8);
            Ranges present;
            expect((*store)->wants(large.offer(), cache, present), "not wanted");
            std::uint64_t at = present.empty() ? 0 : present[0].length;
            const std::uint64_t end = whole ? kSize : 30'000;
            const auto begun = large.begin(**store, cache, at, end - at);
            expect(begun.fault == proto::Fault::none && !begun.problem, "an extent failed");
            expect(!(*store)->extent_done(*begun.file, at, end - at, {}), "it was not stored");
            if (whole) {
                const auto ended = (*store)->end_file(1, cache);
                expect(ended.fault == proto::Fault::none,
                       "its end is a fault though all but what was present came");
                expect(!ended.problem, "it was not published");
                const auto ignore = [](const std::string&, const StoreProblem&) {};
                expect((*store)->publish(ignore).has_value(), "nothing was published");
                mine.set_mode("tree/large", 0600);
                expect(mine.read_file("tree/large") == large.content(), "another content");
            }
        };
        run(false);
        run(true);
    });
    CHECK(trouble == "");
}
