#include "common/hardening.hpp"
#include "common/log.hpp"
#include "sender/cli.hpp"
#include "sender/console.hpp"
#include "sender/key_setup.hpp"
#include "sender/sender.hpp"

#include <cstdio>
#include <utility>

namespace {

int run(sluice::SenderCommand command) {
    sluice::set_up_log("sluice-send", command.log_level, false);
    if (const sluice::Status hardened = sluice::harden_process(); !hardened) {
        sluice::log_error(hardened.error().message);
        return static_cast<int>(sluice::exit_code(hardened.error().kind));
    }
    if (const sluice::Status set_up = sluice::set_up_key(command); !set_up) {
        sluice::log_error(set_up.error().message);
        return static_cast<int>(sluice::exit_code(set_up.error().kind));
    }
    const auto observer = command.json ? sluice::make_json_observer()
                                       : sluice::make_console_observer(command.log_level);
    sluice::Sender sender(std::move(command.options), *observer);
    return static_cast<int>(sender.run(true).exit_code);
}

} // namespace

int main(int argc, char** argv) {
    auto parsed = sluice::parse_sender_command(argc, argv);
    if (const auto* early = std::get_if<sluice::SenderExit>(&parsed); early != nullptr) {
        std::fputs(early->text.c_str(), early->code == sluice::ExitCode::done ? stdout : stderr);
        return static_cast<int>(early->code);
    }
    return run(std::move(std::get<sluice::SenderCommand>(parsed)));
}
