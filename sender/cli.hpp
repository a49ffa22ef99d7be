// The command line of sluice-send.
#pragma once

#include "common/exit_code.hpp"
#include "common/log.hpp"
#include "sender/options.hpp"

#include <string>
#include <variant>

namespace sluice {

struct SenderCommand {
    SenderOptions options;
    LogLevel log_level = LogLevel::normal;
    bool json = false;
};

// There is nothing to run: `text` is help, a version or an error, ready to print.
struct SenderExit {
    ExitCode code = ExitCode::done;
    std::string text;
};

[[nodiscard]] std::variant<SenderCommand, SenderExit> parse_sender_command(int argc, char** argv);

} // namespace sluice
