// sluice-send and sluice-recv, as end-to-end tests run them.
#pragma once

#include "tests/support/process.hpp"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace sluice::test {

// A receiver on a loopback port: a free one unless the options say which.
class ReceiverProcess {
public:
    explicit ReceiverProcess(const std::string& directory,
                             const std::vector<std::string>& options = {})
        : ReceiverProcess(Command{command(directory, options)}) {}

    // Another program starts it: under limits, in a namespace of its own, or watched. `command`
    // ends in sluice-recv and its arguments, or executes it.
    struct Command {
        std::vector<std::string> words;
    };
    explicit ReceiverProcess(Command command)
        : process_(std::move(command.words)), port_(wait_for_port(process_)) {}

    [[nodiscard]] Process& process() noexcept { return process_; }
    [[nodiscard]] const std::string& port() const noexcept { return port_; }
    // SIGTERM, and the exit code.
    int stop() {
        process_.signal(SIGTERM);
        return process_.wait();
    }

private:
    static std::vector<std::string> command(const std::string& directory,
                                            const std::vector<std::string>& options) {
        std::vector<std::string> arguments{kRecvProgram, "--port", "0"};
        arguments.insert(arguments.end(), options.begin(), options.end());
        arguments.push_back(directory);
        return arguments;
    }

    // The port in the line that says that it listens.
    static std::string wait_for_port(Process& process) {
        std::string port;
        eventually("the receiver listens", [&] {
            const std::string text = process.err();
            const std::size_t at = text.find("listening on ");
            const std::size_t end = at == std::string::npos ? at : text.find('\n', at);
            if (end == std::string::npos) {
                INFO(text);
                REQUIRE_FALSE(process.ends_within(std::chrono::milliseconds{0}));
                return false;
            }
            const std::string address = text.substr(at, end - at);
            port = address.substr(address.rfind(':') + 1);
            return true;
        });
        return port;
    }

    Process process_;
    std::string port_;
};

// The command line of a sender to that receiver. `arguments` are options and sources; `path` is
// where below the receiver's directory.
inline std::vector<std::string> send_command(const std::string& port,
                                             const std::vector<std::string>& arguments,
                                             const std::string& path = "") {
    std::vector<std::string> command{kSendProgram, "--port", port};
    command.insert(command.end(), arguments.begin(), arguments.end());
    command.push_back("127.0.0.1:" + path);
    return command;
}
inline std::vector<std::string> send_command(const ReceiverProcess& receiver,
                                             const std::vector<std::string>& arguments,
                                             const std::string& path = "") {
    return send_command(receiver.port(), arguments, path);
}

inline Finished send(const ReceiverProcess& receiver, const std::vector<std::string>& arguments,
                     const std::string& path = "") {
    return run(send_command(receiver, arguments, path));
}

} // namespace sluice::test
