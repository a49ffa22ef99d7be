// The command line of sluice-send.
#pragma once

#include "common/exit_code.hpp"
#include "common/log.hpp"
#include "common/security.hpp"
#include "sender/options.hpp"

#include <optional>
#include <string>
#include <variant>

namespace sluice {

struct SenderCommand {
    SenderOptions options;
    LogLevel log_level = LogLevel::normal;
    bool json = false;
    std::optional<std::string> key_file; // as asked for: see choose_key_file()
    std::optional<Security> security;    // as asked for: see choose_security()
};

// There is nothing to run: `text` is help, a version or an error, ready to print.
struct SenderExit {
    ExitCode code = ExitCode::done;
    std::string text;
};

[[nodiscard]] std::variant<SenderCommand, SenderExit> parse_sender_command(int argc, char** argv);

} // namespace sluice
