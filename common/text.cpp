#include "common/text.hpp"

#include <array>
#include <charconv>
#include <cmath>
#include <fmt/format.h>
#include <iterator>

namespace sluice {

namespace {

constexpr std::string_view kEllipsis = "...";

constexpr unsigned char byte_at(std::string_view text, std::size_t index) {
    return static_cast<unsigned char>(text[index]);
}

struct CodePoint {
    std::uint32_t value = 0;
    std::size_t length = 0; // bytes; 0 where the text does not begin with valid UTF-8
};

// Strict: no overlong forms, no surrogates, nothing above U+10FFFF (RFC 3629).
CodePoint decode_utf8(std::string_view text) {
    const unsigned char lead = byte_at(text, 0);
    if (lead < 0x80) {
        return {lead, 1};
    }
    std::size_t length = 0;
    std::uint32_t value = 0;
    std::uint32_t lowest = 0; // a smaller value would have had a shorter form
    if ((lead & 0xe0U) == 0xc0U) {
        length = 2, value = lead & 0x1fU, lowest = 0x80;
    } else if ((lead & 0xf0U) == 0xe0U) {
        length = 3, value = lead & 0x0fU, lowest = 0x800;
    } else if ((lead & 0xf8U) == 0xf0U) {
        length = 4, value = lead & 0x07U, lowest = 0x10000;
    }
    if (length == 0 || length > text.size()) {
        return {};
    }
    for (std::size_t i = 1; i < length; ++i) {
        const unsigned char next = byte_at(text, i);
        if ((next & 0xc0U) != 0x80U) {
            return {};
        }
        value = (value << 6U) | (next & 0x3fU);
    }
    const bool surrogate = value >= 0xd800 && value <= 0xdfff;
    if (value < lowest || value > 0x10ffff || surrogate) {
        return {};
    }
    return {value, length};
}

bool is_printable(std::uint32_t code) {
    const bool control = code < 0x20 || (code >= 0x7f && code <= 0x9f);
    const bool reorders = (code >= 0x202a && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069);
    return !control && !reorders;
}

// Appends what the first character (or the first byte, where it is none) of `text` looks like;
// returns how many bytes of `text` that was.
std::size_t append_escaped(std::string_view text, std::string& out) {
    const char first = text.front();
    if (first == '\\' || first == '\n' || first == '\t') {
        out += '\\';
        out += first == '\\' ? '\\' : first == '\n' ? 'n' : 't';
        return 1;
    }
    const CodePoint code = decode_utf8(text);
    if (code.length > 0 && is_printable(code.value)) {
        out += text.substr(0, code.length);
        return code.length;
    }
    const std::size_t length = code.length > 0 ? code.length : 1;
    for (std::size_t i = 0; i < length; ++i) {
        fmt::format_to(std::back_inserter(out), "\\x{:02x}", byte_at(text, i));
    }
    return length;
}

// Three significant digits and a decimal unit.
std::string scaled(double value) {
    constexpr std::array<const char*, 7> kUnits = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
    std::size_t unit = 0;
    // What would be printed as "1000" belongs to the next unit.
    while (value >= 999.5 && unit + 1 < kUnits.size()) {
        value /= 1000;
        ++unit;
    }
    const int decimals = unit == 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
    return fmt::format("{:.{}f} {}", value, decimals, kUnits[unit]);
}

bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

char lower(char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

std::string_view take_digits(std::string_view& text) {
    std::size_t length = 0;
    while (length < text.size() && is_digit(text[length])) {
        ++length;
    }
    const std::string_view digits = text.substr(0, length);
    text.remove_prefix(length);
    return digits;
}

// What is left of a size after its digits: the factor that it names, nullopt where it names none.
std::optional<std::uint64_t> parse_unit(std::string_view text) {
    constexpr std::string_view kPrefixes = "kmgt"; // powers of 1024, ascending
    std::uint64_t factor = 1;
    if (!text.empty()) {
        if (const auto index = kPrefixes.find(lower(text.front()));
            index != std::string_view::npos) {
            factor = std::uint64_t{1} << (10 * (index + 1));
            text.remove_prefix(1);
            if (text.size() == 2 && lower(text.front()) == 'i') {
                text.remove_prefix(1); // the binary prefix's "i", which goes with a "B" only
            }
        }
    }
    if (text.empty() || (text.size() == 1 && lower(text.front()) == 'b')) {
        return factor;
    }
    return std::nullopt;
}

std::optional<std::uint64_t> parse_time_unit(std::string_view unit) {
    struct Unit {
        std::string_view name;
        std::uint64_t milliseconds;
    };
    for (const Unit& known : {Unit{"", 1'000}, Unit{"s", 1'000}, Unit{"m", 60'000},
                              Unit{"h", 3'600'000}, Unit{"d", 86'400'000}}) {
        if (unit == known.name) {
            return known.milliseconds;
        }
    }
    return std::nullopt;
}

// Digits, perhaps a fraction, and a unit, for which `unit_factor` gives a factor.
std::optional<std::uint64_t>
parse_scaled(std::string_view text, std::optional<std::uint64_t> (*unit_factor)(std::string_view)) {
    const std::string_view whole_digits = take_digits(text);
    std::string_view fraction_digits;
    if (text.starts_with('.')) {
        text.remove_prefix(1);
        fraction_digits = take_digits(text);
        if (fraction_digits.empty()) {
            return std::nullopt;
        }
    }
    const auto whole = parse_number(whole_digits, 0, INT64_MAX);
    const auto factor = unit_factor(text);
    if (!whole || !factor || (*factor == 1 && !fraction_digits.empty())) {
        return std::nullopt; // the last: there is no such thing as half a byte
    }
    // From the last digit to the first each step divides what is behind the point by ten, so any
    // number of digits is exact (rounded down) in 64 bits.
    std::uint64_t fraction = 0;
    for (auto digit = fraction_digits.rbegin(); digit != fraction_digits.rend(); ++digit) {
        fraction = (fraction + static_cast<std::uint64_t>(*digit - '0') * *factor) / 10;
    }
    if (*whole > (static_cast<std::uint64_t>(INT64_MAX) - fraction) / *factor) {
        return std::nullopt;
    }
    return *whole * *factor + fraction;
}

// What fits into 32 bits, as the protocol has it: 49 days.
constexpr std::uint64_t kMaxDurationMs = UINT32_MAX;

} // namespace

std::string escape(std::string_view bytes, std::size_t max_bytes) {
    std::string out;
    std::size_t cut_at = 0; // longest prefix of whole characters that leaves room for the ellipsis
    while (!bytes.empty()) {
        bytes.remove_prefix(append_escaped(bytes, out));
        if (out.size() > max_bytes) {
            out.resize(cut_at);
            out += kEllipsis.substr(0, max_bytes);
            return out;
        }
        if (out.size() + kEllipsis.size() <= max_bytes) {
            cut_at = out.size();
        }
    }
    return out;
}

std::string format_bytes(std::uint64_t bytes) {
    return scaled(static_cast<double>(bytes));
}

std::string format_rate(double bytes_per_second) {
    const bool sensible = std::isfinite(bytes_per_second) && bytes_per_second > 0;
    return scaled(sensible ? bytes_per_second : 0) + "/s";
}

std::string format_seconds(double seconds) {
    if (!(seconds > 0)) { // a NaN, too
        seconds = 0;
    }
    // Each limit is where rounding would add a digit: 9.996 is "10.0 s", 59.97 is "1:00".
    if (seconds < 9.995) {
        return fmt::format("{:.2f} s", seconds);
    }
    if (seconds < 59.95) {
        return fmt::format("{:.1f} s", seconds);
    }
    constexpr double kMostSeconds = 1e15; // 30 million years; keeps the conversion defined
    const auto whole = static_cast<std::uint64_t>(std::llround(std::fmin(seconds, kMostSeconds)));
    const std::uint64_t hours = whole / 3600;
    const std::uint64_t minutes = whole / 60 % 60;
    return hours > 0 ? fmt::format("{}:{:02}:{:02}", hours, minutes, whole % 60)
                     : fmt::format("{}:{:02}", minutes, whole % 60);
}

std::string format_count(std::uint64_t count) {
    std::string digits = fmt::format("{}", count);
    for (std::size_t end = digits.size(); end > 3; end -= 3) {
        digits.insert(end - 3, 1, ',');
    }
    return digits;
}

std::optional<std::uint64_t> parse_size(std::string_view text) {
    return parse_scaled(text, parse_unit);
}

std::optional<std::chrono::milliseconds> parse_duration(std::string_view text) {
    const auto parsed = parse_scaled(text, parse_time_unit);
    if (!parsed || *parsed > kMaxDurationMs) {
        return std::nullopt;
    }
    return std::chrono::milliseconds(*parsed);
}

std::optional<std::uint64_t> parse_number(std::string_view text, std::uint64_t low,
                                          std::uint64_t high) {
    std::uint64_t value = 0;
    const char* const end = text.data() + text.size();
    // from_chars takes no sign for an unsigned type, no space and no "0x".
    const auto [stop, error] = std::from_chars(text.data(), end, value);
    if (error != std::errc{} || stop != end || value < low || value > high) {
        return std::nullopt;
    }
    return value;
}

} // namespace sluice
