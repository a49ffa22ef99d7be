// What sluice-recv does before there is a Receiver.
#pragma once

#include "common/exit_code.hpp"
#include "common/result.hpp"
#include "common/unique_fd.hpp"
#include "receiver/cli.hpp"

#include <string>

namespace sluice {

// Hardens the process before it reads a secret, takes over the listening socket that it may have
// been started with, and reads the keys. The socket, empty where there is none. Before threads are
// started: it reads and changes the environment. Kinds: those of take_inherited_socket() and
// set_up_keys(); refused.
[[nodiscard]] Result<UniqueFd> start_up(ReceiverCommand& command);

// In place of serving: hardens the process, too, makes a key in a new file, and says what to do
// with it.
[[nodiscard]] ExitCode make_key(const std::string& file);

} // namespace sluice
