#include "proto/fault.hpp"

namespace sluice::proto {

// No default label: the compiler points at a fault that was added without a phrase.
std::string_view describe(Fault fault) noexcept {
    switch (fault) {
    case Fault::none: return "no fault";
    case Fault::bad_magic: return "peer does not speak the sluice protocol";
    case Fault::unsupported_version: return "protocol version is not supported";
    case Fault::bad_role: return "connection is neither a control nor a data connection";
    case Fault::reserved_not_zero: return "reserved field is not zero";
    case Fault::unknown_frame: return "frame type is unknown";
    case Fault::misplaced_frame: return "frame is not allowed here";
    case Fault::frame_too_long: return "frame is longer than its type allows";
    case Fault::corrupted: return "frame was damaged on its way";
    case Fault::message_truncated: return "message ends inside a field";
    case Fault::trailing_bytes: return "message goes on after its last field";
    case Fault::bad_value: return "field is outside its range";
    case Fault::limit_exceeded: return "count or size is above its limit";
    case Fault::path_empty: return "path is empty";
    case Fault::path_absolute: return "path is absolute";
    case Fault::path_too_long: return "path is too long";
    case Fault::path_component_empty: return "path has an empty component";
    case Fault::path_component_dot: return "path component is '.' or '..'";
    case Fault::path_component_too_long: return "path component is too long";
    case Fault::path_has_nul: return "path contains a NUL byte";
    case Fault::path_reserved: return "path begins with the receiver's reserved name";
    case Fault::unknown_session: return "session token is unknown";
    }
    return "unknown fault"; // only a value that was never one of the enumerators
}

} // namespace sluice::proto
