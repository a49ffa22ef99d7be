#include "common/log.hpp"
#include "receiver/cli.hpp"
#include "receiver/console.hpp"
#include "receiver/receiver.hpp"

#include <cstdio>
#include <utility>

namespace {

int run(sluice::ReceiverCommand command) {
    sluice::set_up_log("sluice-recv", command.log_level, true);
    const auto observer =
        command.json ? sluice::make_json_observer() : sluice::make_console_observer();
    sluice::Receiver receiver(std::move(command.options), *observer);
    if (const sluice::Status started = receiver.start(); !started) {
        sluice::log_error(started.error().message);
        return static_cast<int>(sluice::exit_code(started.error().kind));
    }
    return static_cast<int>(receiver.run(true));
}

} // namespace

int main(int argc, char** argv) {
    auto parsed = sluice::parse_receiver_command(argc, argv);
    if (const auto* early = std::get_if<sluice::ReceiverExit>(&parsed); early != nullptr) {
        std::fputs(early->text.c_str(), early->code == sluice::ExitCode::done ? stdout : stderr);
        return static_cast<int>(early->code);
    }
    return run(std::move(std::get<sluice::ReceiverCommand>(parsed)));
}
