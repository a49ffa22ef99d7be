#include "receiver/startup.hpp"

#include "common/hardening.hpp"
#include "common/log.hpp"
#include "receiver/key_setup.hpp"
#include "receiver/service_manager.hpp"

#include <cstdio>
#include <utility>

namespace sluice {

Result<UniqueFd> start_up(ReceiverCommand& command) {
    if (Status hardened = harden_process(); !hardened) {
        return std::move(hardened).error();
    }
    Result<UniqueFd> socket = take_inherited_socket(command.address_given);
    if (!socket) {
        return socket;
    }
    if (Status set_up = set_up_keys(command); !set_up) {
        return std::move(set_up).error();
    }
    return socket;
}

ExitCode make_key(const std::string& file) {
    if (const Status hardened = harden_process(); !hardened) {
        log_error(hardened.error().message);
        return exit_code(hardened.error().kind);
    }
    const Result<std::string> text = generate_key(file);
    if (!text) {
        log_error(text.error().message);
        return exit_code(text.error().kind);
    }
    std::fputs(text->c_str(), stdout);
    return ExitCode::done;
}

} // namespace sluice
