// What a receiver is told to do.
#pragma once

#include "common/net.hpp"
#include "common/zero_copy.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>

namespace sluice {

struct ReceiverOptions {
    std::string directory; // everything lands below it; must exist
    bool discard = false;  // keep nothing: then there need be no directory
    std::string listen_address = "127.0.0.1";
    std::uint16_t port = kDefaultPort; // 0: any free one
    bool once = false;                 // serve one session, then stop with its result
    bool insecure = false;             // allow an address other than loopback
    CopyPath receive_path = CopyPath::automatic;
    std::size_t max_sessions = 256;
    std::uint64_t min_free_bytes = 0; // refuse data that would leave less than this
    std::string digests_file;         // gets the digest of every file received; empty: none
    bool sync = false;                // on the medium before success is reported, also unasked
    // How long what a broken session left is kept for its sender to come back; 0: not at all.
    std::chrono::seconds keep_partial{std::chrono::hours{24 * 7}};
    // A sender that is silent for so long is gone; 0: never.
    std::chrono::milliseconds timeout{30'000};
    // From accept to a working session, and for data connections to their token.
    std::chrono::milliseconds handshake_timeout{10'000};
    // How long sessions may go on after the first stop().
    std::chrono::milliseconds stop_grace{5'000};
};

} // namespace sluice
