#include "common/log.hpp"

#include <memory>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <string>

namespace sluice {

namespace {

spdlog::level::level_enum threshold(LogLevel level) noexcept {
    switch (level) {
    case LogLevel::quiet: return spdlog::level::err;
    case LogLevel::normal: return spdlog::level::info;
    case LogLevel::verbose: return spdlog::level::debug;
    }
    return spdlog::level::info;
}

} // namespace

void set_up_log(std::string_view program, LogLevel level, bool stamped) {
    auto logger = spdlog::stderr_logger_mt(std::string(program));
    logger->set_level(threshold(level));
    logger->set_pattern(stamped ? "%Y-%m-%dT%H:%M:%S.%e%z %n: %v" : "%n: %v");
    logger->flush_on(spdlog::level::debug);
    spdlog::set_default_logger(std::move(logger));
}

void log_verbose(std::string_view line) {
    spdlog::debug("{}", line);
}
void log_info(std::string_view line) {
    spdlog::info("{}", line);
}
void log_warning(std::string_view line) {
    spdlog::warn("{}", line);
}
void log_error(std::string_view line) {
    spdlog::error("{}", line);
}

} // namespace sluice
