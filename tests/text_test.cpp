#include "common/exit_code.hpp"
#include "common/text.hpp"

#include <catch2/catch.hpp>
#include <limits>
#include <string>

using sluice::escape;
using sluice::parse_number;
using sluice::parse_size;

namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

} // namespace

TEST_CASE("escape leaves printable text of any script alone", "[text]") {
    const std::string text = "plain \"quoted\" na\u00efve \u65e5\u672c\u8a9e \U0001f600 ~";
    CHECK(escape(text) == text);
    CHECK(escape("").empty());
}

TEST_CASE("escape makes control characters visible and keeps one line", "[text]") {
    CHECK(escape("a\nb\tc\rd") == "a\\nb\\tc\\x0dd");
    CHECK(escape("\x1b[31m\x7f") == "\\x1b[31m\\x7f");
    CHECK(escape(std::string_view("a\0b", 3)) == "a\\x00b");
}

TEST_CASE("escape cannot be imitated by text that looks escaped", "[text]") {
    CHECK(escape("a\\nb") == "a\\\\nb");
    CHECK(escape("\\x41") == "\\\\x41");
}

TEST_CASE("escape shows bytes that are no valid UTF-8 in hexadecimal", "[text]") {
    CHECK(escape("\xff") == "\\xff");
    CHECK(escape("a\xc3") == "a\\xc3");        // ends within a character
    CHECK(escape("\xc3(") == "\\xc3(");        // wrong continuation
    CHECK(escape("\x80") == "\\x80");          // continuation alone
    CHECK(escape("\xc0\xaf") == "\\xc0\\xaf"); // overlong slash
    CHECK(escape("\xe0\x80\xaf") == "\\xe0\\x80\\xaf");
    CHECK(escape("\xed\xa0\x80") == "\\xed\\xa0\\x80");          // surrogate
    CHECK(escape("\xf4\x90\x80\x80") == "\\xf4\\x90\\x80\\x80"); // above U+10FFFF
    CHECK(escape("\xf0\x9f\x98\xe9\xa9") == "\\xf0\\x9f\\x98\\xe9\\xa9");
}

TEST_CASE("escape disarms C1 controls and bidirectional overrides", "[text]") {
    CHECK(escape("\u0085") == "\\xc2\\x85");
    CHECK(escape("\u009b31m") == "\\xc2\\x9b31m");
    CHECK(escape("a\u202etxt") == "a\\xe2\\x80\\xaetxt");
    CHECK(escape("\u2066") == "\\xe2\\x81\\xa6");
    CHECK(escape("\u2069") == "\\xe2\\x81\\xa9");
    CHECK(escape("\u00a0\u2029\u206a") == "\u00a0\u2029\u206a"); // their neighbours
}

TEST_CASE("escape never exceeds its limit and cuts between characters", "[text]") {
    CHECK(escape("abcdef", 6) == "abcdef");
    CHECK(escape("abcdefg", 6) == "abc...");
    CHECK(escape("ab\x01\x02", 7) == "ab...");      // no half escape
    CHECK(escape("ab\u65e5\u672cx", 7) == "ab..."); // no half character
    CHECK(escape("ab\u65e5\u672cx", 8) == "ab\u65e5...");
    CHECK(escape("abcdef", 2) == "..");
    CHECK(escape("abcdef", 0).empty());
    for (std::size_t limit = 0; limit < 64; ++limit) {
        CHECK(escape("x\n\xff\u65e5\u202e\\ and so on, and so on", limit).size() <= limit);
    }
    CHECK(escape(std::string(100'000, 'x')).size() == 4096);
}

TEST_CASE("format_bytes shows three digits and a decimal unit", "[text]") {
    using sluice::format_bytes;
    CHECK(format_bytes(0) == "0 B");
    CHECK(format_bytes(12) == "12 B");
    CHECK(format_bytes(999) == "999 B");
    CHECK(format_bytes(1000) == "1.00 kB");
    CHECK(format_bytes(12'345) == "12.3 kB");
    CHECK(format_bytes(640'000) == "640 kB");
    CHECK(format_bytes(1'500'000'000) == "1.50 GB");
    CHECK(format_bytes(UINT64_MAX) == "18.4 EB");
}

TEST_CASE("format_bytes never rounds up to four digits", "[text]") {
    using sluice::format_bytes;
    CHECK(format_bytes(9'994) == "9.99 kB");
    CHECK(format_bytes(9'996) == "10.0 kB");
    CHECK(format_bytes(99'960) == "100 kB");
    CHECK(format_bytes(999'499) == "999 kB");
    CHECK(format_bytes(999'500) == "1.00 MB");
}

TEST_CASE("format_rate survives rates that make no sense", "[text]") {
    using sluice::format_rate;
    CHECK(format_rate(3.21e9) == "3.21 GB/s");
    CHECK(format_rate(0.4) == "0 B/s");
    CHECK(format_rate(-5) == "0 B/s");
    CHECK(format_rate(kNan) == "0 B/s");
    CHECK(format_rate(kInfinity) == "0 B/s");
}

TEST_CASE("format_seconds goes from hundredths to hours", "[text]") {
    using sluice::format_seconds;
    CHECK(format_seconds(0.42) == "0.42 s");
    CHECK(format_seconds(12.3) == "12.3 s");
    CHECK(format_seconds(185) == "3:05");
    CHECK(format_seconds(3727) == "1:02:07");
    CHECK(format_seconds(360'000) == "100:00:00");
}

TEST_CASE("format_seconds rounds into the next form, not beyond it", "[text]") {
    using sluice::format_seconds;
    CHECK(format_seconds(9.99) == "9.99 s");
    CHECK(format_seconds(9.996) == "10.0 s");
    CHECK(format_seconds(59.94) == "59.9 s");
    CHECK(format_seconds(59.97) == "1:00");
    CHECK(format_seconds(3599.7) == "1:00:00");
    CHECK(format_seconds(-1) == "0.00 s");
    CHECK(format_seconds(kNan) == "0.00 s");
    CHECK_FALSE(format_seconds(kInfinity).empty());
}

TEST_CASE("format_count groups by three digits", "[text]") {
    using sluice::format_count;
    CHECK(format_count(0) == "0");
    CHECK(format_count(999) == "999");
    CHECK(format_count(1000) == "1,000");
    CHECK(format_count(58'123) == "58,123");
    CHECK(format_count(123'456) == "123,456");
    CHECK(format_count(UINT64_MAX) == "18,446,744,073,709,551,615");
}

TEST_CASE("parse_size takes sizes as people type them", "[text]") {
    CHECK(parse_size("0") == 0U);
    CHECK(parse_size("4096") == 4096U);
    CHECK(parse_size("12B") == 12U);
    CHECK(parse_size("1k") == 1024U);
    CHECK(parse_size("1K") == 1024U);
    CHECK(parse_size("64kB") == 65536U);
    CHECK(parse_size("64KiB") == 65536U);
    CHECK(parse_size("2m") == 2097152U);
    CHECK(parse_size("1.5G") == 1610612736U);
    CHECK(parse_size("1T") == 1099511627776U);
    CHECK(parse_size("0.5K") == 512U);
    CHECK(parse_size("007k") == 7168U);
}

TEST_CASE("parse_size is exact for any number of digits behind the point", "[text]") {
    CHECK(parse_size("0.333333333333333333333333333333333333T") == 366503875925U);
    CHECK(parse_size("0.999999999999999999999999999999999999K") == 1023U);
    CHECK(parse_size("1.0009765625K") == 1025U);
}

TEST_CASE("parse_size refuses what is not a size", "[text]") {
    for (const char* text :
         {"",   "K",   "B",   ".5K", "1.K", "1.5",  "1.5B", "-1",   "+1",  " 1",
          "1 ", "1 K", "1Ki", "1iB", "1KK", "1KBB", "1P",   "0x10", "1e3", "1,000"}) {
        INFO(text);
        CHECK_FALSE(parse_size(text).has_value());
    }
}

TEST_CASE("parse_size stops at the largest file size", "[text]") {
    constexpr auto kMost = static_cast<std::uint64_t>(INT64_MAX);
    CHECK(parse_size("9223372036854775807") == kMost);
    CHECK_FALSE(parse_size("9223372036854775808").has_value());
    CHECK_FALSE(parse_size("99999999999999999999999").has_value());
    CHECK(parse_size("8388607T") == 8388607ULL << 40U);
    CHECK(parse_size("8388607.9999999999999999999T") == kMost);
    CHECK_FALSE(parse_size("8388608T").has_value());
    CHECK_FALSE(parse_size("18446744073709551615K").has_value());
}

TEST_CASE("parse_number takes whole numbers within their limits only", "[text]") {
    CHECK(parse_number("0", 0, 10) == 0U);
    CHECK(parse_number("10", 0, 10) == 10U);
    CHECK(parse_number("18446744073709551615", 0, UINT64_MAX) == UINT64_MAX);
    CHECK_FALSE(parse_number("11", 0, 10).has_value());
    CHECK_FALSE(parse_number("0", 1, 10).has_value());
    for (const char* text :
         {"", " 1", "1 ", "+1", "-1", "1.0", "0x1", "1a", "18446744073709551616"}) {
        INFO(text);
        CHECK_FALSE(parse_number(text, 0, UINT64_MAX).has_value());
    }
}

TEST_CASE("every kind of error has an exit code of its own and comes back from it", "[exit code]") {
    using sluice::ErrorKind;
    for (const auto kind :
         {ErrorKind::usage, ErrorKind::protocol_version, ErrorKind::refused, ErrorKind::network,
          ErrorKind::file_io, ErrorKind::protocol, ErrorKind::interrupted, ErrorKind::some_files,
          ErrorKind::source_changed, ErrorKind::timed_out}) {
        const auto code = static_cast<std::uint16_t>(sluice::exit_code(kind));
        CHECK(code != 0);
        CHECK(sluice::error_kind(code) == kind);
    }
    CHECK(static_cast<int>(sluice::exit_code(ErrorKind::source_changed)) == 24);
}

TEST_CASE("an unknown code from the wire counts as a protocol error", "[exit code]") {
    using sluice::ErrorKind;
    for (const int code : {0, 3, 99, 256, 256 + 11, 65535}) {
        CHECK(sluice::error_kind(static_cast<std::uint16_t>(code)) == ErrorKind::protocol);
    }
}
