#include "common/exit_code.hpp"

namespace sluice {

ExitCode exit_code(ErrorKind kind) noexcept {
    switch (kind) {
    case ErrorKind::usage: return ExitCode::usage;
    case ErrorKind::protocol_version: return ExitCode::protocol_version;
    case ErrorKind::refused: return ExitCode::refused;
    case ErrorKind::network: return ExitCode::network;
    case ErrorKind::file_io: return ExitCode::file_io;
    case ErrorKind::protocol: return ExitCode::protocol;
    case ErrorKind::interrupted: return ExitCode::interrupted;
    case ErrorKind::some_files: return ExitCode::some_files;
    case ErrorKind::source_changed: return ExitCode::source_changed;
    case ErrorKind::timed_out: return ExitCode::timed_out;
    }
    return ExitCode::protocol; // unreachable unless someone made up a kind
}

ErrorKind error_kind(std::uint16_t code) noexcept {
    if (code > UINT8_MAX) {
        return ErrorKind::protocol; // before the cast below could make a known code of it
    }
    switch (static_cast<ExitCode>(code)) {
    case ExitCode::usage: return ErrorKind::usage;
    case ExitCode::protocol_version: return ErrorKind::protocol_version;
    case ExitCode::refused: return ErrorKind::refused;
    case ExitCode::network: return ErrorKind::network;
    case ExitCode::file_io: return ErrorKind::file_io;
    case ExitCode::interrupted: return ErrorKind::interrupted;
    case ExitCode::some_files: return ErrorKind::some_files;
    case ExitCode::source_changed: return ErrorKind::source_changed;
    case ExitCode::timed_out: return ErrorKind::timed_out;
    case ExitCode::done: // success is no error: a peer that reports it as one is confused
    case ExitCode::protocol: break;
    }
    return ErrorKind::protocol;
}

} // namespace sluice
