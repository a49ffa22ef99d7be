// A key that lets its holder in, and what it lets them do.
#pragma once

#include "common/secret.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

namespace sluice {

// Names a key without telling anything about it: the first bytes of a hash (see key_identity()).
// Travels in clear in the first message of every connection.
using KeyIdentity = std::array<std::byte, 16>;

// What the holder of a key may do, as the receiver's key file says.
struct KeyRights {
    // Below the receiver's directory; everything has to go there or below. Empty: anywhere. In the
    // form of a path of the protocol (proto/path_rules.hpp).
    std::string directory;
    bool may_write = true;          // else only dry runs
    bool may_probe = true;          // else it never learns which files are there already
    std::uint64_t max_bytes = 0;    // of content in one session; 0: no limit
    std::uint64_t max_files = 0;    // in one session; 0: no limit
    std::uint32_t max_sessions = 0; // at a time; 0: no limit of its own
};

struct AccessKey {
    std::string name; // on the receiver; empty in a sender's key file
    Secret secret;
    KeyIdentity identity{};
    KeyRights rights;
};

// The first 16 bytes of SHA-256 over a label and the secret.
[[nodiscard]] KeyIdentity key_identity(const Secret& secret);
// For people: "SHA256:" and the identity in Base64.
[[nodiscard]] std::string fingerprint(const KeyIdentity& identity);

} // namespace sluice
