// sluice-send and sluice-recv, as end-to-end tests run them.
#pragma once

#include "tests/support/process.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace sluice::test {

// A receiver on a free loopback port.
class ReceiverProcess {
public:
    explicit ReceiverProcess(const std::string& directory, std::vector<std::string> options = {})
        : process_(command(directory, std::move(options))) {
        eventually("the receiver listens", [this] {
            const std::string text = process_.err();
            const std::size_t at = text.find("listening on ");
            const std::size_t end = text.find('\n', at == std::string::npos ? 0 : at);
            if (at == std::string::npos || end == std::string::npos) {
                INFO(text);
                REQUIRE_FALSE(process_.ends_within(std::chrono::milliseconds{0}));
                return false;
            }
            const std::string address = text.substr(at, end - at);
            port_ = address.substr(address.rfind(':') + 1);
            return true;
        });
    }

    [[nodiscard]] Process& process() noexcept { return process_; }
    [[nodiscard]] const std::string& port() const noexcept { return port_; }
    // SIGTERM, and the exit code.
    int stop() {
        process_.signal(SIGTERM);
        return process_.wait();
    }

private:
    static std::vector<std::string> command(const std::string& directory,
                                            std::vector<std::string> options) {
        std::vector<std::string> arguments{kRecvProgram, "--port", "0"};
        arguments.insert(arguments.end(), options.begin(), options.end());
        arguments.push_back(directory);
        return arguments;
    }

    Process process_;
    std::string port_;
};

// The command line of a sender to that receiver. `arguments` are options and sources; `path` is
// where below the receiver's directory.
inline std::vector<std::string> send_command(const ReceiverProcess& receiver,
                                             std::vector<std::string> arguments,
                                             const std::string& path = "") {
    std::vector<std::string> command{kSendProgram, "--port", receiver.port()};
    command.insert(command.end(), arguments.begin(), arguments.end());
    command.push_back("127.0.0.1:" + path);
    return command;
}

inline Finished send(const ReceiverProcess& receiver, std::vector<std::string> arguments,
                     const std::string& path = "") {
    return run(send_command(receiver, std::move(arguments), path));
}

} // namespace sluice::test
