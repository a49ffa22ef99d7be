// The text of key files.
#include "common/key_file.hpp"
#include "common/text.hpp"

#include <algorithm>
#include <cstdint>
#include <fmt/format.h>
#include <limits>
#include <map>
#include <set>
#include <utility>

namespace sluice {

namespace {

constexpr std::uint64_t kMaxCount = std::numeric_limits<std::int64_t>::max();
constexpr std::uint64_t kMaxSessions = 100'000;
constexpr std::string_view kBlanks = " \t\r";
// So many behind the prefix are (part of) a key, not of a name that somebody has chosen.
constexpr std::size_t kTelltaleDigits = 16;

std::vector<std::string_view> split_words(std::string_view line) {
    std::vector<std::string_view> words;
    for (std::size_t at = line.find_first_not_of(kBlanks); at != std::string_view::npos;) {
        const std::size_t end = std::min(line.find_first_of(kBlanks, at), line.size());
        words.push_back(line.substr(at, end - at));
        at = line.find_first_not_of(kBlanks, end);
    }
    return words;
}

bool is_name(std::string_view word) {
    constexpr std::string_view kAllowed =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-@";
    return !word.empty() && word.size() <= kMaxKeyNameBytes &&
           word.find_first_not_of(kAllowed) == std::string_view::npos;
}

bool is_key(std::string_view word) {
    return word.starts_with(kKeyPrefix);
}

std::optional<unsigned> hex_digit(char digit) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    const std::size_t value = kDigits.find(digit);
    return value == std::string_view::npos ? std::nullopt
                                           : std::optional(static_cast<unsigned>(value));
}

// False: it is not the text of a key.
bool decode_key(std::string_view word, Secret& out) {
    const std::string_view digits = word.substr(kKeyPrefix.size());
    if (digits.size() != 2 * Secret::kBytes) {
        return false;
    }
    for (std::size_t index = 0; index < Secret::kBytes; ++index) {
        const auto high = hex_digit(digits[2 * index]);
        const auto low = hex_digit(digits[2 * index + 1]);
        if (!high || !low) {
            return false;
        }
        out.bytes()[index] = static_cast<std::byte>(*high * 16 + *low);
    }
    return true;
}

// A key in a wrong place is still a secret.
std::string bad_value(std::string_view name, std::string_view value, std::string_view wanted) {
    if (value.find(kKeyPrefix) != std::string_view::npos) {
        return fmt::format("{}: a key is not {}", name, wanted);
    }
    return fmt::format("{}: '{}' is not {}", name, escape(value, 64), wanted);
}

// What is wrong with it, if anything.
std::optional<std::string> set_right(std::string_view name, std::string_view value,
                                     KeyRights& rights) {
    const auto number = [&](std::uint64_t most, auto& out) -> std::optional<std::string> {
        const auto parsed = parse_number(value, 1, most);
        if (!parsed) {
            return bad_value(name, value, fmt::format("a number from 1 to {}", most));
        }
        out = static_cast<std::remove_reference_t<decltype(out)>>(*parsed);
        return std::nullopt;
    };
    if (name == "max-files") {
        return number(kMaxCount, rights.max_files);
    }
    if (name == "max-sessions") {
        return number(kMaxSessions, rights.max_sessions);
    }
    if (name == "max-bytes") {
        const auto size = parse_size(value);
        if (!size || *size == 0) {
            return bad_value(name, value, "a size such as 500M or 2G");
        }
        rights.max_bytes = *size;
        return std::nullopt;
    }
    if (name == "access") {
        if (value != "read" && value != "write" && value != "read-write") {
            return bad_value(name, value, "read, write or read-write");
        }
        rights.may_write = value != "read";
        rights.may_probe = value != "write";
        return std::nullopt;
    }
    if (name == "dir") {
        rights.directory = value.ends_with('/') ? value.substr(0, value.size() - 1) : value;
        return rights.directory.empty() ? std::optional(std::string("dir: a path is missing"))
                                        : std::nullopt;
    }
    return "there is no such option: dir, access, max-bytes, max-files and max-sessions are";
}

// Of the words behind the key.
std::optional<std::string> read_rights(const std::vector<std::string_view>& words,
                                       std::size_t first, KeyRights& rights) {
    std::set<std::string_view> seen;
    for (std::size_t index = first; index < words.size(); ++index) {
        const std::size_t equals = words[index].find('=');
        if (equals == std::string_view::npos) {
            return fmt::format("word {} is no OPTION=VALUE", index + 1);
        }
        const std::string_view name = words[index].substr(0, equals);
        if (auto wrong = set_right(name, words[index].substr(equals + 1), rights); wrong) {
            return fmt::format("word {}: {}", index + 1, *wrong);
        }
        if (!seen.insert(name).second) {
            return fmt::format("{} is given twice", name);
        }
    }
    return std::nullopt;
}

// What is wrong with it, if anything.
std::optional<std::string> parse_line(const std::vector<std::string_view>& words, AccessKey& key) {
    const std::size_t key_at = is_key(words[0]) ? 0 : 1;
    key.name = key_at == 0 ? kDefaultKeyName : words[0];
    if (key_at == 1 && !is_name(words[0])) {
        return fmt::format("the first word is neither a key ({}...) nor a name (at most {} "
                           "letters, digits and . _ - @)",
                           kKeyPrefix, kMaxKeyNameBytes);
    }
    if (words.size() <= key_at || !is_key(words[key_at])) {
        return fmt::format("there is no key ({}...) behind the name", kKeyPrefix);
    }
    if (!decode_key(words[key_at], key.secret)) {
        return fmt::format("the key is damaged: {} is followed by {} digits of 0-9 and a-f",
                           kKeyPrefix, 2 * Secret::kBytes);
    }
    key.identity = key_identity(key.secret);
    return read_rights(words, key_at + 1, key.rights);
}

} // namespace

std::string shown_path(const std::string& path) {
    constexpr std::string_view kHexDigits = "0123456789abcdefABCDEF";
    for (std::size_t at = path.find(kKeyPrefix); at != std::string::npos;
         at = path.find(kKeyPrefix, at)) {
        at += kKeyPrefix.size();
        const std::size_t end = std::min(path.find_first_not_of(kHexDigits, at), path.size());
        if (end - at >= kTelltaleDigits) {
            return "(a key, not a file name)";
        }
    }
    return escape(path);
}

Error key_file_error(const std::string& file, std::size_t line, std::string_view what) {
    return {ErrorKind::usage, fmt::format("{}:{}: {}", shown_path(file), line, what), 0};
}

Result<std::vector<KeyFileEntry>> parse_key_file(std::string_view text, const std::string& file) {
    std::vector<KeyFileEntry> entries;
    std::map<std::string, std::size_t, std::less<>> names; // and their lines
    std::map<KeyIdentity, std::size_t> identities;
    std::size_t line = 0;
    while (!text.empty()) {
        ++line;
        const std::size_t end = std::min(text.find('\n'), text.size());
        const std::string_view content = text.substr(0, end);
        text.remove_prefix(std::min(end + 1, text.size()));
        if (content.size() > kMaxKeyLineBytes) {
            return key_file_error(
                file, line, fmt::format("the line is longer than {} bytes", kMaxKeyLineBytes));
        }
        const std::vector<std::string_view> words = split_words(content);
        if (words.empty() || words[0].front() == '#') {
            continue;
        }
        if (entries.size() == kMaxKeys) {
            return key_file_error(file, line, fmt::format("more than {} keys", kMaxKeys));
        }
        KeyFileEntry entry;
        entry.line = line;
        if (const auto wrong = parse_line(words, entry.key); wrong) {
            return key_file_error(file, line, *wrong);
        }
        if (const auto [at, added] = names.try_emplace(entry.key.name, line); !added) {
            return key_file_error(
                file, line,
                fmt::format("the name '{}' is that of line {}, too", entry.key.name, at->second));
        }
        if (const auto [at, added] = identities.try_emplace(entry.key.identity, line); !added) {
            return key_file_error(file, line,
                                  fmt::format("the key is that of line {}, too", at->second));
        }
        entries.push_back(std::move(entry));
    }
    if (entries.empty()) {
        return Error{ErrorKind::usage, fmt::format("{} holds no key", shown_path(file)), 0};
    }
    return entries;
}

} // namespace sluice
