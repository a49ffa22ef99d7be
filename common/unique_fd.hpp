// An owning file descriptor. Functions that only use a descriptor take a plain int.
#pragma once

#include "common/usage.hpp"

#include <unistd.h>
#include <utility>

namespace sluice {

class UniqueFd {
public:
    UniqueFd() noexcept = default;
    ~UniqueFd() { reset(); }
    UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    UniqueFd& operator=(UniqueFd&& other) noexcept {
        if (this != &other) {
            reset();
            fd_ = std::exchange(other.fd_, -1);
        }
        return *this;
    }
    UniqueFd(const UniqueFd&) = delete;
    UniqueFd& operator=(const UniqueFd&) = delete;

    // Takes ownership; a negative value makes an empty one.
    [[nodiscard]] static UniqueFd adopt(int fd) noexcept {
        UniqueFd owner;
        owner.fd_ = fd;
        return owner;
    }

    [[nodiscard]] int get() const noexcept { return fd_; }
    explicit operator bool() const noexcept { return fd_ >= 0; }
    [[nodiscard]] int release() noexcept { return std::exchange(fd_, -1); }

    // Closes and forgets the error. For a file that was written call close() instead.
    void reset() noexcept {
        if (fd_ >= 0) {
            count_system_call();
            ::close(std::exchange(fd_, -1));
        }
    }
    // Closes; 0 or errno. The descriptor is gone in either case (close(2), "Dealing with errors").
    [[nodiscard]] int close() noexcept;

private:
    int fd_ = -1;
};

// Lifts the soft limit on open descriptors to the hard one. The soft limit is low for the sake of
// select(2), which is not used here; connections, open files and the levels of a tree all
// take descriptors. Call it before threads are started.
void raise_descriptor_limit() noexcept;

} // namespace sluice
