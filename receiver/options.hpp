// What a receiver is told to do.
#pragma once

#include "common/net.hpp"
#include "common/security.hpp"
#include "common/tls.hpp"
#include "common/zero_copy.hpp"
#include "proto/limits.hpp"
#include "receiver/session_limits.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace sluice {

class KeyRing; // receiver/key_ring.hpp

// automatic: what the kernel has.
enum class SandboxMode : unsigned char { automatic, required, off };

// What a sender opens before it is let in, twice: where all the rest waits longer, its first
// connection stays in the younger half, which nobody has to leave (see GuestList).
inline constexpr std::size_t kPendingPerSession = 2 * (1 + proto::kMaxStreamsBeforeWelcome);

struct ReceiverOptions {
    std::string directory; // everything lands below it; must exist
    bool discard = false;  // keep nothing: then there need be no directory
    std::string listen_address = "127.0.0.1";
    std::uint16_t port = kDefaultPort; // 0: any free one
    bool once = false;                 // serve one session, then stop with its result
    // Allow an address other than loopback although anybody may come in.
    bool insecure = false;
    // Who may come in; null: anybody.
    std::shared_ptr<KeyRing> keys;
    std::shared_ptr<TlsContext> tls; // for connections that begin with TLS; null: they may not
    // Senders that offer less are refused. Above `none` there must be keys and a `tls`.
    Security least_security = Security::none;
    CopyPath receive_path = CopyPath::automatic;
    std::size_t max_sessions = 256;
    // Connections that have not yet said what they want, at least kPendingPerSession; fewer where
    // descriptors are few.
    std::size_t max_pending = 1024;
    // Sessions of one IPv4 address, or of the /64 network of an IPv6 address; and for each of them
    // it may have kPendingPerSession connections that have not yet said what they want.
    std::size_t max_per_address = 1024;
    SessionLimits session_limits;
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
    // What start() does to the whole process, for good (receiver/sandbox.hpp, privileges.hpp); a
    // library is not to do that unasked.
    SandboxMode sandbox = SandboxMode::off;
    std::string user; // to become, after listening; empty: none
};

} // namespace sluice
