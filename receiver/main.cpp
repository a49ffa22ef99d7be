#include "common/log.hpp"
#include "receiver/cli.hpp"
#include "receiver/console.hpp"
#include "receiver/receiver.hpp"
#include "receiver/service_manager.hpp"
#include "receiver/startup.hpp"

#include <cstdio>
#include <utility>

namespace {

int fail(const sluice::Error& error) {
    sluice::log_error(error.message);
    return static_cast<int>(sluice::exit_code(error.kind));
}

int run(sluice::ReceiverCommand command) {
    sluice::set_up_log("sluice-recv", command.log_level, true);
    if (!command.generate_key.empty()) {
        return static_cast<int>(sluice::make_key(command.generate_key));
    }
    const sluice::ServiceNotifier manager;
    sluice::Result<sluice::UniqueFd> socket = sluice::start_up(command);
    if (!socket) {
        return fail(socket.error());
    }
    const auto observer =
        command.json ? sluice::make_json_observer() : sluice::make_console_observer();
    sluice::Receiver receiver(std::move(command.options), *observer);
    if (const sluice::Status started = receiver.start(std::move(*socket)); !started) {
        return fail(started.error());
    }
    manager.ready();
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
