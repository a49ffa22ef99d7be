// Text for people and text from people. Pure functions, safe from any thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace sluice {

// Makes any bytes safe and unambiguous to print on one line of a terminal or a log: control
// characters, DEL, backslash and bytes that are not part of valid UTF-8 become \n, \t, \\ or \xHH.
// C1 controls (U+0080..U+009F) and the bidirectional overrides (U+202A..U+202E, U+2066..U+2069)
// are escaped byte by byte, too. At most `max_bytes` of output; longer text is cut, never within a
// character or an escape, and ends in "...".
[[nodiscard]] std::string escape(std::string_view bytes, std::size_t max_bytes = 4096);

// "1.50 GB", "640 kB", "12 B": decimal units, three significant digits.
[[nodiscard]] std::string format_bytes(std::uint64_t bytes);
// "3.21 GB/s".
[[nodiscard]] std::string format_rate(double bytes_per_second);
// "0.42 s", "12.3 s", "3:05", "1:02:07".
[[nodiscard]] std::string format_seconds(double seconds);
// "58,123".
[[nodiscard]] std::string format_count(std::uint64_t count);

// A size as people type it: digits, optionally a fraction ("1.5G"), optionally K, M, G, T (powers
// of 1024, case does not matter), optionally followed by "B" or (behind a letter) "iB". A fraction
// needs such a letter and is rounded down to whole bytes. nullopt for anything else, and above
// INT64_MAX.
[[nodiscard]] std::optional<std::uint64_t> parse_size(std::string_view text);
// A duration: digits, optionally a fraction, optionally s, m, h or d, by itself seconds. nullopt
// for anything else, and above 2^32 - 1 milliseconds.
[[nodiscard]] std::optional<std::chrono::milliseconds> parse_duration(std::string_view text);
// A whole decimal number within [low, high], nothing else around it.
[[nodiscard]] std::optional<std::uint64_t> parse_number(std::string_view text, std::uint64_t low,
                                                        std::uint64_t high);

} // namespace sluice
