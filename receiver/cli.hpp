// The command line of sluice-recv.
#pragma once

#include "common/exit_code.hpp"
#include "common/log.hpp"
#include "common/security.hpp"
#include "receiver/options.hpp"

#include <optional>
#include <string>
#include <variant>

namespace sluice {

struct ReceiverCommand {
    ReceiverOptions options;
    LogLevel log_level = LogLevel::normal;
    bool json = false;
    bool address_given = false;          // an address or a port to listen on
    std::optional<std::string> key_file; // as asked for: see choose_key_file()
    std::optional<Security> security;    // as asked for: see choose_security()
    // Make a key in this file, and nothing else; empty: serve.
    std::string generate_key;
};

// There is nothing to run: `text` is help, a version or an error, ready to print.
struct ReceiverExit {
    ExitCode code = ExitCode::done;
    std::string text;
};

[[nodiscard]] std::variant<ReceiverCommand, ReceiverExit> parse_receiver_command(int argc,
                                                                                 char** argv);

} // namespace sluice
