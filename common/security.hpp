// How connections are protected. The levels are ordered: a receiver states the least it accepts.
#pragma once

#include "common/result.hpp"

#include <optional>
#include <string_view>

namespace sluice {

enum class Security : unsigned char {
    none,        // neither authenticated nor encrypted
    signed_data, // control connection in TLS; data in clear, but authenticated by keyed codes
    tls,         // all connections in TLS
};

// "none", "signed", "tls".
[[nodiscard]] std::string_view security_name(Security level) noexcept;
// nullopt for anything else.
[[nodiscard]] std::optional<Security> parse_security(std::string_view text) noexcept;

// What a program does that was asked for `asked` (--security): tls with a key, none without one. Of
// kind usage: it was asked for more than none, and has no key.
[[nodiscard]] Result<Security> choose_security(std::optional<Security> asked, bool has_key);

// How a session is protected, by what its sender does. Nothing: it asks for signed data over a
// connection that could be anybody's, which is no level at all.
[[nodiscard]] std::optional<Security> offered_security(bool control_in_tls,
                                                       bool asks_for_signed) noexcept;

} // namespace sluice
