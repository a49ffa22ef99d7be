// Exit codes of both programs: rsync's, where they fit. They also travel in the protocol's error
// message (proto/PROTOCOL.md, "Errors").
#pragma once

#include "common/result.hpp"

#include <cstdint>

namespace sluice {

enum class ExitCode : std::uint8_t {
    done = 0,
    usage = 1,
    protocol_version = 2,
    refused = 5,
    network = 10,
    file_io = 11,
    protocol = 12,
    interrupted = 20,
    some_files = 23,
    source_changed = 24,
    timed_out = 30,
};

[[nodiscard]] ExitCode exit_code(ErrorKind kind) noexcept;
// The reverse, for codes from the wire; unknown ones count as ErrorKind::protocol.
[[nodiscard]] ErrorKind error_kind(std::uint16_t code) noexcept;

} // namespace sluice
