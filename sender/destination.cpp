#include "sender/destination.hpp"

#include "common/text.hpp"
#include "proto/limits.hpp"
#include "proto/path_rules.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <utility>

namespace sluice {

namespace {

constexpr std::size_t kNowhere = std::string_view::npos;
constexpr std::size_t kMaxHostBytes = 255; // RFC 1035, 2.3.4
constexpr std::string_view kForms = "HOST:PATH, [ADDRESS]:PATH or sluice://HOST[:PORT]/PATH";

// The text up to where the path begins, and what begins there.
struct Parts {
    std::string_view host;
    std::string_view rest;
};

std::string quoted(std::string_view text) {
    return '"' + escape(text) + '"';
}

Error bad(std::string_view text, std::string_view why) {
    return {ErrorKind::usage, fmt::format("destination {}: {}", quoted(text), why), 0};
}

bool is_host_byte(char c) {
    const auto byte = static_cast<unsigned char>(c);
    const bool alphanumeric =
        (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    // Bytes above ASCII: a name that the resolver may know in its own encoding.
    return alphanumeric || c == '.' || c == '-' || c == '_' || byte >= 0x80;
}

// With or without a zone ("%eth0").
bool is_ipv6(std::string_view text) {
    const std::string address(text.substr(0, text.find('%')));
    const std::string_view zone = text.substr(address.size());
    if (!zone.empty() &&
        (zone.size() == 1 || !std::all_of(zone.begin() + 1, zone.end(), is_host_byte))) {
        return false;
    }
    in6_addr ignored{};
    return ::inet_pton(AF_INET6, address.c_str(), &ignored) == 1;
}

// "2001:db8::1:dir" or "::1": an address whose colons hide where it ends. Returns the address.
std::optional<std::string_view> bare_ipv6(std::string_view text) {
    for (std::size_t end = text.size(); end != kNowhere && end > 0;
         end = text.rfind(':', end - 1)) {
        if (is_ipv6(text.substr(0, end))) {
            return text.substr(0, end);
        }
    }
    return std::nullopt;
}

// Why this is no host, or nothing.
std::optional<std::string> host_trouble(std::string_view host) {
    if (host.empty()) {
        return fmt::format("to which host? Write {}", kForms);
    }
    if (const auto at = host.rfind('@'); at != kNowhere) {
        return fmt::format("sluice knows no users, leave out {}", quoted(host.substr(0, at + 1)));
    }
    if (host.size() > kMaxHostBytes) {
        return fmt::format("the host name is longer than {} bytes", kMaxHostBytes);
    }
    const auto* const wrong = std::find_if_not(host.begin(), host.end(), is_host_byte);
    if (wrong != host.end()) {
        return fmt::format("{} cannot be in a host name", quoted({wrong, 1}));
    }
    return std::nullopt;
}

// Takes "[ADDRESS]" off the front.
Result<Parts> split_bracketed(std::string_view text, std::string_view from) {
    const auto end = from.find(']');
    if (end == kNowhere) {
        return bad(text, "the bracket around the address is not closed");
    }
    const std::string_view address = from.substr(1, end - 1);
    if (!is_ipv6(address)) {
        return bad(text, fmt::format("{} is not an IPv6 address; only those go in brackets",
                                     quoted(address)));
    }
    return Parts{address, from.substr(end + 1)};
}

// Takes "." and doubled slashes out; keeps a slash at the end.
Result<std::string> clean_path(std::string_view text, std::string_view path) {
    if (path.starts_with('/')) {
        return bad(text, "the path is absolute; everything lands below the receiver's own "
                         "directory, so write it without the slash at the front");
    }
    std::string clean;
    bool directory = false; // ends in a slash, or in a "." that says the same
    for (std::string_view rest = path; !rest.empty();) {
        const auto slash = rest.find('/');
        const std::string_view component = rest.substr(0, slash);
        rest.remove_prefix(slash == kNowhere ? rest.size() : slash + 1);
        if (component == "..") {
            return bad(text, "\"..\" cannot be in the path; everything lands below the "
                             "receiver's own directory");
        }
        directory = component.empty() || component == "." || slash != kNowhere;
        if (!component.empty() && component != ".") {
            clean.append(clean.empty() ? "" : "/").append(component);
        }
    }
    if (clean.empty()) {
        return clean;
    }
    if (const proto::Fault fault = proto::check_path(clean); fault != proto::Fault::none) {
        return bad(text, proto::describe(fault));
    }
    if (directory && clean.size() == proto::kMaxPathBytes) {
        return bad(text, proto::describe(proto::Fault::path_too_long));
    }
    clean.append(directory ? "/" : "");
    return clean;
}

int hex_value(char c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

Result<std::string> percent_decode(std::string_view text, std::string_view encoded) {
    std::string decoded;
    for (std::size_t i = 0; i < encoded.size(); ++i) {
        const char c = encoded[i];
        if (c == '?' || c == '#') {
            return bad(text, fmt::format("a '{}' in the path of a URL is written %{:02X}", c,
                                         static_cast<unsigned char>(c)));
        }
        if (c != '%') {
            decoded += c;
            continue;
        }
        const int high = i + 2 < encoded.size() ? hex_value(encoded[i + 1]) : -1;
        const int low = i + 2 < encoded.size() ? hex_value(encoded[i + 2]) : -1;
        if (high < 0 || low < 0) {
            return bad(text, "two hexadecimal digits have to follow each '%'; write %25 for a "
                             "percent sign");
        }
        const int byte = high * 16 + low;
        if (byte == 0 || byte == '/') {
            return bad(text, byte == 0 ? "%00 cannot be in a name"
                                       : "%2F cannot be in a name, a slash separates names");
        }
        decoded += static_cast<char>(byte);
        i += 2;
    }
    return decoded;
}

// Behind "sluice://".
Result<Destination> parse_url(std::string_view text, std::string_view from) {
    const std::string_view authority = from.substr(0, from.find_first_of("/?#"));
    std::string_view encoded_path = from.substr(authority.size());
    Parts parts{authority.substr(0, authority.find(':')), {}};
    parts.rest = authority.substr(parts.host.size());
    if (authority.starts_with('[')) {
        auto split = split_bracketed(text, authority);
        if (!split) {
            return std::move(split.error());
        }
        parts = *split;
    } else if (const auto address = bare_ipv6(authority)) {
        return bad(
            text, fmt::format("put the address in brackets: sluice://[{}]/PATH", escape(*address)));
    } else if (const auto trouble =
                   host_trouble(authority.find('@') == kNowhere ? parts.host : authority)) {
        return bad(text, *trouble);
    }
    Destination result;
    result.host = parts.host;
    if (const auto zone = result.host.find("%25"); zone != std::string::npos) {
        result.host.erase(zone + 1, 2); // in a URL the zone's percent sign is encoded (RFC 6874)
    }
    if (!parts.rest.empty()) {
        if (parts.rest.front() != ':') { // only behind a bracket
            return bad(text, "a colon or a slash has to follow the bracket");
        }
        const std::string_view digits = parts.rest.substr(1);
        const auto port = parse_number(digits, 1, UINT16_MAX);
        if (!port) {
            return bad(text, fmt::format("{} is not a port, which is a number from 1 to 65535",
                                         quoted(digits)));
        }
        result.port = static_cast<std::uint16_t>(*port);
    }
    if (encoded_path.starts_with('/')) {
        encoded_path.remove_prefix(1); // separates, and is no part of the path
    }
    auto decoded = percent_decode(text, encoded_path);
    auto path = decoded ? clean_path(text, *decoded) : std::move(decoded);
    if (!path) {
        return std::move(path.error());
    }
    result.path = std::move(*path);
    return result;
}

// HOST:PATH or [ADDRESS]:PATH.
Result<Parts> split_host(std::string_view text) {
    if (text.starts_with('[')) {
        auto split = split_bracketed(text, text);
        if (split && !split->rest.starts_with(':')) {
            return bad(text, "a colon has to follow the bracket: [ADDRESS]:PATH");
        }
        if (split) {
            split->rest.remove_prefix(1);
        }
        return split;
    }
    if (const auto address = bare_ipv6(text)) {
        return bad(text, fmt::format("put the address in brackets: [{}]:PATH", escape(*address)));
    }
    const auto colon = text.find(':');
    if (colon == kNowhere || text.find('/') < colon) {
        return bad(text, fmt::format("to which host? Write {}", kForms));
    }
    if (const auto trouble = host_trouble(text.substr(0, colon))) {
        return bad(text, *trouble);
    }
    return Parts{text.substr(0, colon), text.substr(colon + 1)};
}

} // namespace

Result<Destination> parse_destination(std::string_view text) {
    if (text.find('\0') != kNowhere) {
        return bad(text, "a NUL byte cannot be in a destination");
    }
    constexpr std::string_view kSchemeEnd = "://";
    constexpr std::string_view kScheme = "sluice";
    if (const auto end = text.find(kSchemeEnd); end != kNowhere && text.find(':') == end) {
        const std::string_view scheme = text.substr(0, end);
        const bool known =
            std::equal(scheme.begin(), scheme.end(), kScheme.begin(), kScheme.end(),
                       [](char a, char b) { return a == b || a + ('a' - 'A') == b; });
        if (!known) {
            return bad(text, fmt::format("unknown scheme {}; write {}", quoted(scheme), kForms));
        }
        return parse_url(text, text.substr(end + kSchemeEnd.size()));
    }
    auto parts = split_host(text);
    if (!parts) {
        return std::move(parts.error());
    }
    if (parts->rest.starts_with(':')) {
        return bad(text, "there are no modules as in rsync: write one colon, HOST:PATH");
    }
    auto path = clean_path(text, parts->rest);
    if (!path) {
        return std::move(path.error());
    }
    Destination result;
    result.host = parts->host;
    result.path = std::move(*path);
    return result;
}

} // namespace sluice
