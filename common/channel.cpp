#include "common/channel.hpp"

#include "common/tls.hpp"
#include "common/usage.hpp"

#include <sys/socket.h>
#include <utility>

namespace sluice {

Channel::Channel() noexcept = default;

Channel::Channel(UniqueFd socket) noexcept : socket_(std::move(socket)) {}

Channel::Channel(UniqueFd socket, std::unique_ptr<TlsConnection> tls) noexcept
    : socket_(std::move(socket)), tls_(std::move(tls)) {}

Channel::~Channel() = default;
Channel::Channel(Channel&&) noexcept = default;

Channel& Channel::operator=(Channel&& other) noexcept {
    tls_ = std::move(other.tls_); // it refers to the socket
    socket_ = std::move(other.socket_);
    return *this;
}

void Channel::protect(std::unique_ptr<TlsConnection> tls) noexcept {
    tls_ = std::move(tls);
}

ssize_t Channel::recv(std::span<std::byte> space) noexcept {
    if (tls_) {
        return tls_->recv(space);
    }
    count_system_call();
    return ::recv(socket_.get(), space.data(), space.size(), 0);
}

ssize_t Channel::send(std::span<const std::byte> bytes, bool more) noexcept {
    if (tls_) {
        return tls_->send(bytes, more);
    }
    count_system_call();
    return ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | (more ? MSG_MORE : 0));
}

bool Channel::holds_bytes() const noexcept {
    return tls_ && tls_->holds_bytes();
}

void Channel::shrink() noexcept {
    if (tls_) {
        tls_->shrink();
    }
}

bool Channel::sends_files() const noexcept {
    return !tls_ || tls_->kernel_sends();
}

bool Channel::receives_files() const noexcept {
    return !tls_ || tls_->kernel_receives();
}

} // namespace sluice
