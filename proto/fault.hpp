// What can be wrong with bytes from a peer. Pure data; safe from any thread.
#pragma once

#include <cstdint>
#include <string_view>

namespace sluice::proto {

enum class Fault : std::uint8_t {
    none,
    bad_magic,           // the preamble does not begin with "sluice"
    unsupported_version, // the preamble names a version that this side does not speak
    bad_role,            // the preamble names neither a control nor a data connection
    reserved_not_zero,   // a field kept for later versions is set
    unknown_frame,       // no such frame type
    misplaced_frame,     // a known frame type that is not allowed here or now
    frame_too_long,      // a body longer than the limit of its type
    corrupted,           // a frame that does not match its digest: damaged on its way
    message_truncated,   // a body that ends inside a field
    trailing_bytes,      // a body that goes on after its last field
    bad_value,           // an enumeration or a flag outside its range
    limit_exceeded,      // a count, size or text above its named limit
    path_empty,
    path_absolute,
    path_too_long,
    path_component_empty, // "a//b" or a trailing slash
    path_component_dot,   // "." or ".."
    path_component_too_long,
    path_has_nul,
    path_reserved,   // begins with the name of the receiver's own work area
    unknown_session, // a data connection whose token names no session
};

// A short phrase for people, such as "path component is '.' or '..'".
[[nodiscard]] std::string_view describe(Fault fault) noexcept;

} // namespace sluice::proto
