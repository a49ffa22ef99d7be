// A session that is let in and brings as much work as few bytes can: blocks that unpack to some
// thousand times their length, as fast as the receiver takes them, over and over into one range of
// one file. Or blocks that unpack to more than the protocol allows, each of which ends its session.
// Each in a thread of its own, until the object goes.
#pragma once

#include "proto/messages.hpp"

#include <atomic>
#include <cstdint>
#include <thread>

namespace sluice::attack {

class Bomber {
public:
    enum class Kind : unsigned char { within_the_protocol, beyond_it };

    Bomber(Kind kind, std::uint16_t port, unsigned number);
    ~Bomber();
    Bomber(const Bomber&) = delete;
    Bomber& operator=(const Bomber&) = delete;

    [[nodiscard]] std::uint64_t sessions() const noexcept { return sessions_; } // welcomed
    [[nodiscard]] std::uint64_t unpacked_bytes() const noexcept { return unpacked_bytes_; }
    // Sessions that ended with an Error of this code.
    [[nodiscard]] std::uint64_t refused() const noexcept { return refused_; }

private:
    void run();
    void run_session();

    const Kind kind_;
    const std::uint16_t port_;
    const unsigned number_;
    const proto::Bytes payload_; // of a block
    std::atomic<bool> stopping_{false};
    std::atomic<std::uint64_t> sessions_{0};
    std::atomic<std::uint64_t> unpacked_bytes_{0};
    std::atomic<std::uint64_t> refused_{0};
    std::thread thread_;
};

} // namespace sluice::attack
