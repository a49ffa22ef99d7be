// A connected TCP socket, in clear or with TLS on it: the one place that reads and writes control
// bytes. Belongs to one thread at a time.
//
// recv() and send() are those of a non-blocking socket (recv(2), send(2)), errors in errno
// included. File content may bypass a Channel, where sends_files() or receives_files() says so:
// sendfile(2) and splice(2) on fd().
#pragma once

#include "common/unique_fd.hpp"

#include <cstddef>
#include <memory>
#include <span>
#include <sys/types.h>

namespace sluice {

class TlsConnection; // common/tls.hpp

class Channel {
public:
    Channel() noexcept;
    // In clear.
    explicit Channel(UniqueFd socket) noexcept;
    // Protected; the handshake is done.
    Channel(UniqueFd socket, std::unique_ptr<TlsConnection> tls) noexcept;
    ~Channel();
    Channel(Channel&&) noexcept;
    Channel& operator=(Channel&&) noexcept;

    [[nodiscard]] int fd() const noexcept { return socket_.get(); }
    explicit operator bool() const noexcept { return static_cast<bool>(socket_); }
    // From here on what passes is protected; the handshake on fd() is done.
    void protect(std::unique_ptr<TlsConnection> tls) noexcept;
    // Null where it is in clear.
    [[nodiscard]] TlsConnection* tls() noexcept { return tls_.get(); }

    // EPROTO where what came is not what the peer has sent.
    [[nodiscard]] ssize_t recv(std::span<std::byte> space) noexcept;
    // With `more`, the kernel may wait for what follows (MSG_MORE). Bytes that were refused
    // (EAGAIN) must be offered again, the same and at least as many.
    [[nodiscard]] ssize_t send(std::span<const std::byte> bytes, bool more = false) noexcept;
    // recv() has something although the socket may not be readable.
    [[nodiscard]] bool holds_bytes() const noexcept;

    // Keeps what it holds in as little memory as that takes: before it is left alone for a while.
    void shrink() noexcept;

    // Whether sendfile(2) to fd() sends what the peer expects: in clear, or with kernel TLS.
    [[nodiscard]] bool sends_files() const noexcept;
    // Whether splice(2) from fd() gets what the peer has sent.
    [[nodiscard]] bool receives_files() const noexcept;

private:
    UniqueFd socket_;
    std::unique_ptr<TlsConnection> tls_;
};

} // namespace sluice
