#include "common/security.hpp"

#include <catch2/catch.hpp>
#include <optional>

namespace sluice {

TEST_CASE("levels of security are ordered and have names") {
    CHECK(Security::none < Security::signed_data);
    CHECK(Security::signed_data < Security::tls);
    for (const Security level : {Security::none, Security::signed_data, Security::tls}) {
        CHECK(parse_security(security_name(level)) == level);
    }
    CHECK_FALSE(parse_security(""));
    CHECK_FALSE(parse_security("TLS"));
}

TEST_CASE("without a word about it a key means tls, and no key none") {
    CHECK(*choose_security(std::nullopt, true) == Security::tls);
    CHECK(*choose_security(std::nullopt, false) == Security::none);
    CHECK(*choose_security(Security::none, true) == Security::none);
    CHECK(*choose_security(Security::signed_data, true) == Security::signed_data);
    for (const Security level : {Security::signed_data, Security::tls}) {
        const auto chosen = choose_security(level, false);
        REQUIRE_FALSE(chosen);
        CHECK(chosen.error().kind == ErrorKind::usage);
    }
}

TEST_CASE("what a session offers is what its sender does, not what it says") {
    CHECK(offered_security(false, false) == Security::none);
    CHECK(offered_security(true, true) == Security::signed_data);
    CHECK(offered_security(true, false) == Security::tls);
    CHECK_FALSE(offered_security(false, true)); // signed by whom?
}

} // namespace sluice
