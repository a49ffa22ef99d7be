// Whose leftovers a session goes on with, and what it tells about what is there.
#include "tests/support/extent_source.hpp"
#include "tests/support/store_session.hpp"

#include <algorithm>
#include <chrono>

using namespace sluice;
using namespace sluice::test;

namespace {

SessionRequest request_of(const std::string& holder, bool reveal = true) {
    SessionRequest request{"", {"tree"}};
    request.policy.holder = holder;
    request.policy.reveal = reveal;
    return request;
}

proto::OfferEntry offer_of(std::string_view path, std::uint64_t size) {
    return {size, {kStoredTime, 0}, 0644, 1, path};
}

// A session of that holder stores a file and breaks off.
void leave_file(const StoreRoot& root, const std::string& holder) {
    StoreSession session(root, request_of(holder));
    CHECK(session.file("tree/file", "12345") == "");
    CHECK(session.store().is_worth_keeping());
    session.store().touch();
    session.take_store().reset();
}

} // namespace

TEST_CASE("only the same holder finds what a session has left") {
    const std::string alice(32, 'a');
    const std::string bob(32, 'b');
    for (const std::string& left_by : {alice, std::string()}) {
        const StoreRoot root;
        leave_file(root, left_by);
        for (const std::string& holder : {alice, bob, std::string()}) {
            INFO(left_by << " " << holder);
            StoreSession session(root, request_of(holder));
            const bool own = holder == left_by;
            CHECK(session.store().fresh_roots().empty() == own);
            CHECK(session.wants(offer_of("tree/file", 5)) == !own);
            CHECK(session.store().counts().reused_files == (own ? 1U : 0U));
            if (own) { // gone on with, and left again
                session.store().touch();
                session.take_store().reset();
            }
        }
    }
}

TEST_CASE("what a session has left bears its holder's name, in full") {
    const StoreRoot root;
    const std::string alice(32, 'a');
    leave_file(root, "");
    const std::vector<std::string> before = root.directory.list(".sluice");
    REQUIRE(before.size() == 1);
    CHECK(before[0].size() == kKeyLength);
    leave_file(root, alice);
    const std::vector<std::string> after = root.directory.list(".sluice");
    REQUIRE(after.size() == 2);
    CHECK(std::find(after.begin(), after.end(), alice + before[0]) != after.end());
    CHECK((alice + before[0]).size() == kHeldKeyLength);
    const auto swept = sweep_work_area(root.root, std::chrono::hours{1});
    REQUIRE(swept);
    CHECK(*swept == 0);
    CHECK(root.directory.list(".sluice") == after);
}

TEST_CASE("a session that tells nothing takes everything") {
    const StoreRoot root;
    root.directory.write_file("tree/file", "12345");
    root.directory.set_mtime("tree/file", kStoredTime);
    root.directory.symlink("file", "tree/link");
    root.directory.set_mtime("tree/link", kStoredTime);
    for (const bool reveal : {true, false}) {
        StoreSession session(root, request_of("", reveal));
        CHECK(session.store().fresh_roots().size() == (reveal ? 0U : 1U));
        CHECK(session.wants(offer_of("tree/file", 5)) == !reveal);
        CHECK(session.link("tree/link", "file") == "");
        CHECK(session.store().counts().symlinks == (reveal ? 0U : 1U));
        CHECK(session.store().counts().unchanged == (reveal ? 1U : 0U));
        CHECK(session.file("tree/file", "54321") == "");
        CHECK(session.publish().empty());
        CHECK(root.directory.read_file("tree/file") == "54321");
        root.directory.write_file("tree/file", "12345");
        root.directory.set_mtime("tree/file", kStoredTime);
    }
}
