#include "receiver/key_ring.hpp"
#include "tests/support/temp_dir.hpp"

#include <catch2/catch.hpp>
#include <string>

namespace sluice {
namespace {

std::string line(const std::string& name, char digit, const std::string& rights = "") {
    return name + " " + std::string(kKeyPrefix) + std::string(64, digit) + " " + rights + "\n";
}

KeyIdentity identity_of(char digit) {
    const auto entries = parse_key_file(line("x", digit), "x");
    REQUIRE(entries);
    return entries->front().key.identity;
}

} // namespace

TEST_CASE("a key ring finds keys by identity, and reads its file again") {
    const test::TempDir directory;
    directory.write_file("keys", line("alice", 'a', "dir=x") + line("bob", 'b'), 0600);
    const auto loaded = KeyRing::load(directory.path("keys"));
    REQUIRE(loaded);
    KeyRing& ring = **loaded;
    CHECK(ring.size() == 2);
    const KeyRing::Key alice = ring.find(identity_of('a'));
    REQUIRE(alice);
    CHECK(alice->name == "alice");
    CHECK(alice->rights.directory == "x");
    CHECK_FALSE(ring.find(identity_of('c')));

    directory.write_file("keys", line("alice", 'a', "dir=y") + line("carol", 'c'), 0600);
    REQUIRE(ring.reload());
    CHECK(ring.find(identity_of('a'))->rights.directory == "y");
    CHECK(alice->rights.directory == "x"); // whoever holds it goes on with it
    CHECK_FALSE(ring.find(identity_of('b')));
    CHECK(ring.find(identity_of('c')));
}

TEST_CASE("a bad file leaves the key ring as it was") {
    const test::TempDir directory;
    directory.write_file("keys", line("alice", 'a'), 0600);
    const auto loaded = KeyRing::load(directory.path("keys"));
    REQUIRE(loaded);
    const auto still_opens = [&] { return (*loaded)->find(identity_of('a')) != nullptr; };
    directory.write_file("keys", line("bob", 'b') + "rubbish\n", 0600);
    CHECK_FALSE((*loaded)->reload());
    CHECK(still_opens());
    directory.write_file("keys", line("bob", 'b'), 0644);
    CHECK_FALSE((*loaded)->reload());
    CHECK(still_opens());
    directory.write_file("keys", "", 0600);
    CHECK_FALSE((*loaded)->reload());
    CHECK(still_opens());
    directory.remove("keys");
    CHECK_FALSE((*loaded)->reload());
    CHECK(still_opens());
}

TEST_CASE("the directory of a key is a path below the receiver's") {
    const test::TempDir directory;
    for (const char* const bad : {"/etc", "..", "a/../b", "a//b", ".sluice", ".sluice/x", "."}) {
        directory.write_file("keys", line("bob", 'b') + line("a", 'a', std::string("dir=") + bad),
                             0600);
        const auto loaded = KeyRing::load(directory.path("keys"));
        REQUIRE_FALSE(loaded);
        CHECK(loaded.error().kind == ErrorKind::usage);
        INFO(loaded.error().message);
        CHECK(loaded.error().message.find("keys:2: dir: '" + std::string(bad)) !=
              std::string::npos);
    }
    const std::string secret = std::string(kKeyPrefix) + std::string(64, 'c');
    directory.write_file("keys", line("a", 'a', "dir=/" + secret), 0600);
    const auto loaded = KeyRing::load(directory.path("keys"));
    REQUIRE_FALSE(loaded);
    CHECK(loaded.error().message.find("dir: a key is not a path") != std::string::npos);
    CHECK(loaded.error().message.find("cccc") == std::string::npos);
}

} // namespace sluice
