// What a sender is told to do.
#pragma once

#include "common/net.hpp"
#include "common/security.hpp"
#include "common/tls.hpp"
#include "common/zero_copy.hpp"
#include "sender/destination.hpp"
#include "sender/filter.hpp"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace sluice {

enum class Compress : unsigned char {
    never,
    always,    // at one level, what looks worth it
    automatic, // where and as far as it makes the transfer faster
};

struct SenderOptions {
    std::vector<std::string> sources;
    // Instead of sources: one made-up file of that size (sender/generated.hpp).
    std::optional<std::uint64_t> generate_bytes;
    Destination destination; // its port, where set, wins over `port`
    std::uint16_t port = kDefaultPort;
    // How connections are protected. Above `none` there must be a `tls`.
    Security security = Security::none;
    std::shared_ptr<TlsContext> tls;
    bool insecure = false; // allow level none to an address other than loopback
    // What one data connection carries under TLS before it is replaced. RFC 8446, 5.5: with AES-GCM
    // at most some 24 million full records, 388 GB. To change its keys instead is not possible
    // where the kernel encrypts (OpenSSL 3.0).
    std::uint64_t most_tls_bytes = std::uint64_t{256} << 30;
    // Data connections, 1..proto::kMaxStreams; none: as many as pay.
    std::optional<std::uint16_t> streams;
    Compress compress = Compress::never;
    int compression_level = 0; // of zstd, for Compress::always
    CopyPath send_path = CopyPath::automatic;
    Filter filter;
    bool dry_run = false;
    bool ignore_times = false;
    bool preserve = true;         // mode and mtime
    bool publish_by_file = false; // no staging of new trees
    std::string congestion = "auto";
    std::uint64_t bandwidth_limit = 0; // bytes per second of all data connections; 0: none
    bool verify = true;                // compare digests of what was sent and what arrived
    bool sync = false; // everything is on the receiver's medium before success is reported
    // A peer that is silent for so long is given up; zero: never.
    std::chrono::milliseconds timeout{30'000};
    // How long to try again after the connection was lost. Unset: kDefaultRetryFor, but a first
    // connection that fails is final.
    std::optional<std::chrono::milliseconds> retry_for;
    std::chrono::milliseconds connect_timeout{30'000};

    static constexpr std::chrono::milliseconds kDefaultRetryFor{60'000};
    [[nodiscard]] std::chrono::milliseconds effective_retry_for() const {
        return retry_for.value_or(kDefaultRetryFor);
    }
    [[nodiscard]] std::chrono::milliseconds effective_connect_timeout() const {
        return timeout.count() > 0 ? std::min(timeout, connect_timeout) : connect_timeout;
    }
};

} // namespace sluice
