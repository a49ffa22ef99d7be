// From what a sender's command line says about keys to what the sender does.
#pragma once

#include "common/result.hpp"
#include "sender/cli.hpp"

namespace sluice {

// Finds and reads the key file, and decides on the level: fills SenderOptions::tls and ::security.
// Kinds: usage, file_io. Reads the environment; before threads are started.
[[nodiscard]] Status set_up_key(SenderCommand& command);

// Whether bytes may go to the peer of `socket`, a connected one: in clear only to this machine, or
// where the options say so (--insecure). Of kind usage otherwise; nothing has been sent.
[[nodiscard]] Status check_peer(const SenderOptions& options, int socket);

} // namespace sluice
