// Lines for the log on stderr (spdlog). One line per event; callers pass text that is already
// escaped (common/text.hpp). Thread-safe.
#pragma once

#include <string_view>

namespace sluice {

enum class LogLevel : unsigned char { quiet, normal, verbose };

// Once, before threads are started. `program` goes before warnings and errors; `stamped` puts date
// and time before every line, as a daemon's log wants it.
void set_up_log(std::string_view program, LogLevel level, bool stamped);

void log_verbose(std::string_view line);
void log_info(std::string_view line);
void log_warning(std::string_view line);
void log_error(std::string_view line); // also when quiet

} // namespace sluice
