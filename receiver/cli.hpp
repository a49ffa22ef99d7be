// The command line of sluice-recv.
#pragma once

#include "common/exit_code.hpp"
#include "common/log.hpp"
#include "receiver/options.hpp"

#include <string>
#include <variant>

namespace sluice {

struct ReceiverCommand {
    ReceiverOptions options;
    LogLevel log_level = LogLevel::normal;
    bool json = false;
};

// There is nothing to run: `text` is help, a version or an error, ready to print.
struct ReceiverExit {
    ExitCode code = ExitCode::done;
    std::string text;
};

[[nodiscard]] std::variant<ReceiverCommand, ReceiverExit> parse_receiver_command(int argc,
                                                                                 char** argv);

} // namespace sluice
