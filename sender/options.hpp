// What a sender is told to do.
#pragma once

#include "common/net.hpp"
#include "common/zero_copy.hpp"
#include "sender/destination.hpp"
#include "sender/filter.hpp"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace sluice {

struct SenderOptions {
    std::vector<std::string> sources;
    Destination destination; // its port, where set, wins over `port`
    std::uint16_t port = kDefaultPort;
    std::uint16_t streams = 2;            // data connections, 1..proto::kMaxStreams
    std::optional<int> compression_level; // zstd; none: not compressed
    CopyPath send_path = CopyPath::automatic;
    Filter filter;
    bool dry_run = false;
    bool ignore_times = false;
    bool preserve = true;         // mode and mtime
    bool publish_by_file = false; // no staging of new trees
    std::string congestion = "auto";
    bool verify = true; // compare digests of what was sent and what arrived
    bool sync = false;  // everything is on the receiver's medium before success is reported
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
