#include "common/security.hpp"

#include <fmt/format.h>

namespace sluice {

std::string_view security_name(Security level) noexcept {
    switch (level) {
    case Security::none: return "none";
    case Security::signed_data: return "signed";
    case Security::tls: return "tls";
    }
    return "?";
}

std::optional<Security> parse_security(std::string_view text) noexcept {
    for (const Security level : {Security::none, Security::signed_data, Security::tls}) {
        if (text == security_name(level)) {
            return level;
        }
    }
    return std::nullopt;
}

Result<Security> choose_security(std::optional<Security> asked, bool has_key) {
    if (asked && *asked != Security::none && !has_key) {
        return Error{ErrorKind::usage,
                     fmt::format("--security {} needs a key: pass --key-file FILE (sluice-recv "
                                 "--generate-key FILE makes one)",
                                 security_name(*asked)),
                     0};
    }
    return asked.value_or(has_key ? Security::tls : Security::none);
}

std::optional<Security> offered_security(bool control_in_tls, bool asks_for_signed) noexcept {
    if (!control_in_tls) {
        return asks_for_signed ? std::nullopt : std::optional(Security::none);
    }
    return asks_for_signed ? Security::signed_data : Security::tls;
}

} // namespace sluice
