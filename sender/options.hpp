// What a sender is told to do.
#pragma once

#include "common/net.hpp"
#include "common/zero_copy.hpp"
#include "sender/destination.hpp"
#include "sender/filter.hpp"

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
    std::chrono::milliseconds connect_timeout{30'000};
};

} // namespace sluice
