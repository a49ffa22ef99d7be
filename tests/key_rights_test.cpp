#include "receiver/key_rights.hpp"

#include <catch2/catch.hpp>
#include <string>

namespace sluice {
namespace {

AccessKey alice(const std::string& directory) {
    AccessKey key;
    key.name = "alice";
    key.rights.directory = directory;
    return key;
}

proto::Open open_to(std::string_view destination, std::uint32_t flags = 0) {
    proto::Open open;
    open.flags = flags;
    open.destination = destination;
    return open;
}

// Where it goes; otherwise what is said about it.
std::string outcome(const AccessKey& key, const proto::Open& request) {
    const auto permitted = permitted_destination(key, request);
    if (!permitted) {
        CHECK(permitted.error().kind == ErrorKind::refused);
    }
    return permitted ? *permitted : permitted.error().message;
}

} // namespace

TEST_CASE("a key without a directory opens all of the receiver's") {
    for (const char* const destination : {"", "a", "a/", "backups/alice"}) {
        CHECK(outcome(alice(""), open_to(destination)) == destination);
        CHECK(outcome(alice(""), open_to(destination, proto::kOpenSingleFile)) == destination);
    }
}

TEST_CASE("the directory of a key confines by whole components") {
    const AccessKey key = alice("backups/alice");
    for (const char* const inside :
         {"backups/alice", "backups/alice/", "backups/alice/x", "backups/alice/x/y/"}) {
        CHECK(outcome(key, open_to(inside)) == inside);
    }
    for (const char* const outside : {"backups", "backups/", "backups/alicex", "backups/alicex/y",
                                      "backups/alic", "backups/bob", "alice", "x/backups/alice"}) {
        CHECK(outcome(key, open_to(outside)) == "key 'alice' may only store below backups/alice/, "
                                                "not below '" +
                                                    std::string(outside) + "'");
    }
    CHECK(outcome(key, open_to("")) == "key 'alice' may only store below backups/alice/, not into "
                                       "the receiver's directory itself");
}

TEST_CASE("a file sent to the directory of a key goes into it, and never takes its name") {
    const AccessKey key = alice("backups/alice");
    CHECK(outcome(key, open_to("backups/alice", proto::kOpenSingleFile)) == "backups/alice/");
    CHECK(outcome(key, open_to("backups/alice/", proto::kOpenSingleFile)) == "backups/alice/");
    CHECK(outcome(key, open_to("backups/alice/x", proto::kOpenSingleFile)) == "backups/alice/x");
}

TEST_CASE("what a key may not do is refused before anything is looked at") {
    AccessKey reader = alice("");
    reader.rights.may_write = false;
    CHECK(outcome(reader, open_to("a", proto::kOpenDryRun)) == "a");
    CHECK(outcome(reader, open_to("a")).find("--dry-run") != std::string::npos);
    AccessKey writer = alice("");
    writer.rights.may_probe = false;
    CHECK(outcome(writer, open_to("a")) == "a");
    CHECK(outcome(writer, open_to("a", proto::kOpenDryRun)).find("not learn") != std::string::npos);
}

TEST_CASE("a refusal shows a destination on one line") {
    const std::string shown = outcome(alice("a"), open_to("\x1b[2J\n" + std::string(4000, 'x')));
    CHECK(shown.find('\n') == std::string::npos);
    CHECK(shown.find('\x1b') == std::string::npos);
    CHECK(shown.size() < 600);
}

} // namespace sluice
