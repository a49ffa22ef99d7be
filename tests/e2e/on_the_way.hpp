// Pushes on whose way something happens at a known place: a connection that stalls, say, so that
// the test can look, or kill, in peace.
#pragma once

#include "tests/support/chaos_proxy.hpp"
#include "tests/support/programs.hpp"

#include <cstdint>
#include <string>

namespace sluice::test {

inline std::uint16_t port_number(const ReceiverProcess& receiver) {
    return static_cast<std::uint16_t>(std::stoul(receiver.port()));
}

// One fault, on the connection of this number; all others are left alone. With one stream, 0 is
// the control connection of the first session, and 1 its data connection.
inline ChaosPlan one_fault(unsigned connection, ProxyFault fault) {
    return [=](unsigned index) {
        return index == connection ? ConnectionPlan{{fault}, 0} : ConnectionPlan{};
    };
}
inline ChaosPlan stall_data(std::uint64_t offset) {
    return one_fault(1, {FaultKind::stall, Way::to_server, offset});
}

} // namespace sluice::test
