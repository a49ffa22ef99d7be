// What one session may bring.
#include "receiver/session_limits.hpp"

#include <catch2/catch.hpp>
#include <string>

using namespace sluice;

namespace {

std::string refusal(const std::optional<Error>& error) {
    REQUIRE(error);
    CHECK(error->kind == ErrorKind::refused);
    CHECK(error->message.find('\n') == std::string::npos);
    return error->message;
}

} // namespace

TEST_CASE("without limits a session may bring what it likes, but not at any depth") {
    SessionQuota quota({});
    for (int count = 0; count < 1'000; ++count) {
        REQUIRE_FALSE(quota.take("a/b", INT64_MAX));
    }
    std::string path = "d";
    for (int level = 1; level < 512; ++level) {
        path += "/d";
    }
    CHECK_FALSE(quota.take(path, 0));
    CHECK(refusal(quota.take(path + "/d\n", 0)).find("--max-depth") != std::string::npos);
}

TEST_CASE("one file more than the limit is too much") {
    SessionQuota quota({3});
    CHECK_FALSE(quota.take("", 0)); // the destination itself
    CHECK_FALSE(quota.take("a", 5));
    CHECK_FALSE(quota.take("b", 5));
    CHECK(refusal(quota.take("c", 0)).find("more than 3 files") != std::string::npos);
}

TEST_CASE("sizes add up to the limit and not beyond, and no size makes the sum wrap") {
    SessionQuota quota({0, 1'000});
    CHECK_FALSE(quota.take("a", 999));
    CHECK_FALSE(quota.take("b", 1));
    CHECK_FALSE(quota.take("c", 0));
    CHECK(refusal(quota.take("d", 1)).find("--max-bytes") != std::string::npos);
    SessionQuota other({0, UINT64_MAX / 2});
    for (int count = 0; count < 10; ++count) {
        CHECK(other.take("a", UINT64_MAX));
        CHECK(other.take("b", UINT64_MAX / 2 + 1));
    }
    CHECK_FALSE(other.take("c", UINT64_MAX / 2));
    CHECK(other.take("d", 1));
}

TEST_CASE("the narrower limit counts, and the message says whose it is") {
    KeyRights rights;
    rights.max_files = 2;
    rights.max_bytes = 500;
    SessionLimits limits;
    limits.max_bytes = 100;
    limits = limited_by(limits, rights);
    CHECK(limits.max_files == 2);
    CHECK(limits.max_bytes == 100);
    SessionQuota quota(limits);
    CHECK(refusal(quota.take("a", 101)).find("--max-bytes") != std::string::npos);
    CHECK_FALSE(quota.take("b", 1));
    CHECK(refusal(quota.take("c", 1)).find("limit of this key") != std::string::npos);
    limits = limited_by({0, 1'000}, rights);
    CHECK(limits.max_bytes == 500);
    SessionQuota other(limits);
    CHECK(refusal(other.take("a", 501)).find("limit of this key") != std::string::npos);
    CHECK(limited_by({7, 8}, {}).max_files == 7);
    CHECK(limited_by({7, 8}, {}).max_bytes == 8);
}

TEST_CASE("depth is the number of components") {
    CHECK(depth_of("") == 0);
    CHECK(depth_of("a") == 1);
    CHECK(depth_of("a/b/c") == 3);
}
