// A receiver that another program starts: under limits, in a namespace of its own, or watched.
#pragma once

#include "tests/support/programs.hpp"

#include <string>
#include <utility>
#include <vector>

namespace sluice::test {

class WrappedReceiver {
public:
    // `command` ends in sluice-recv and its arguments, or executes it.
    explicit WrappedReceiver(std::vector<std::string> command) : process_(std::move(command)) {
        eventually("the receiver listens", [this] {
            const std::string text = process_.err();
            INFO(text);
            REQUIRE_FALSE(process_.ends_within(std::chrono::milliseconds{0}));
            const std::size_t at = text.find("listening on ");
            const std::size_t end = at == std::string::npos ? at : text.find('\n', at);
            if (end == std::string::npos) {
                return false;
            }
            const std::string address = text.substr(at, end - at);
            port_ = address.substr(address.rfind(':') + 1);
            return true;
        });
    }

    [[nodiscard]] Process& process() noexcept { return process_; }
    [[nodiscard]] const std::string& port() const noexcept { return port_; }
    [[nodiscard]] std::vector<std::string> send_command(const std::vector<std::string>& arguments,
                                                        const std::string& path = "") const {
        std::vector<std::string> command{kSendProgram, "--port", port_};
        command.insert(command.end(), arguments.begin(), arguments.end());
        command.push_back("127.0.0.1:" + path);
        return command;
    }
    [[nodiscard]] Finished send(const std::vector<std::string>& arguments,
                                const std::string& path = "") const {
        return run(send_command(arguments, path));
    }

private:
    Process process_;
    std::string port_;
};

} // namespace sluice::test
