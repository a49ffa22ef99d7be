// From what a receiver's command line says about keys to what the receiver does.
#pragma once

#include "common/result.hpp"
#include "receiver/cli.hpp"

#include <string>

namespace sluice {

// Finds and reads the key file, and decides on the level: fills ReceiverOptions::keys, ::tls
// and ::least_security. Kinds: usage, file_io. Reads the environment; before threads are started.
[[nodiscard]] Status set_up_keys(ReceiverCommand& command);

// Makes a key in a new file. What is then to be told: its fingerprint and what to do with it. Kinds
// as those of generate_key_file().
[[nodiscard]] Result<std::string> generate_key(const std::string& file);

} // namespace sluice
