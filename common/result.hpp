// Errors as values. A Result<T> holds a T or an Error; the member names are those of std::expected
// (C++23), so that it can be replaced by it one day. Asking for the one that is not there ends the
// process: the accessors are noexcept and std::get throws.
#pragma once

#include <string>
#include <utility>
#include <variant>

namespace sluice {

// What kind of trouble it is; common/exit_code.hpp maps it to the exit code of the programs.
enum class ErrorKind : unsigned char {
    usage,            // bad options or arguments
    protocol_version, // the peer speaks another version
    refused,          // not allowed: by the peer, by a limit, by confinement
    network,          // the connection failed
    file_io,          // a file could not be read or written, no space
    protocol,         // the peer broke the protocol
    interrupted,      // by a signal
    some_files,       // some files were not sent
    source_changed,   // a source vanished or changed while it was being sent
    timed_out,        // the peer was silent for too long
};

// One line for people: what failed, on which path or peer, why.
struct Error {
    ErrorKind kind = ErrorKind::file_io;
    std::string message;
    int error_number = 0; // errno, where there was one
};

// An Error for a failed system call: "WHAT: strerror(number)".
[[nodiscard]] Error system_error(ErrorKind kind, std::string what, int number);

template <typename T>
class [[nodiscard]] Result {
public:
    Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
    Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

    [[nodiscard]] bool has_value() const noexcept { return state_.index() == 0; }
    explicit operator bool() const noexcept { return has_value(); }

    [[nodiscard]] T& value() & noexcept { return std::get<0>(state_); }
    [[nodiscard]] const T& value() const& noexcept { return std::get<0>(state_); }
    [[nodiscard]] T&& value() && noexcept { return std::move(std::get<0>(state_)); }
    [[nodiscard]] T& operator*() & noexcept { return value(); }
    [[nodiscard]] const T& operator*() const& noexcept { return value(); }
    [[nodiscard]] T&& operator*() && noexcept { return std::move(*this).value(); }
    [[nodiscard]] T* operator->() noexcept { return &value(); }
    [[nodiscard]] const T* operator->() const noexcept { return &value(); }

    [[nodiscard]] Error& error() & noexcept { return std::get<1>(state_); }
    [[nodiscard]] const Error& error() const& noexcept { return std::get<1>(state_); }
    [[nodiscard]] Error&& error() && noexcept { return std::move(std::get<1>(state_)); }

private:
    std::variant<T, Error> state_;
};

// Success without a value, or an Error.
using Status = Result<std::monostate>;
[[nodiscard]] inline Status ok() {
    return Status{std::monostate{}};
}

} // namespace sluice
