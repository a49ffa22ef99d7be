// The one TlsConnection there is: OpenSSL's. For tls_context.cpp, which makes them.
#pragma once

#include "common/tls.hpp"
#include "common/tls_transport.hpp"

#include <memory>
#include <openssl/types.h>

namespace sluice {

struct SslDeleter {
    void operator()(SSL* ssl) const noexcept;
};
using UniqueSsl = std::unique_ptr<SSL, SslDeleter>;

class OpensslConnection final : public TlsConnection {
public:
    OpensslConnection(int socket, bool sender) noexcept
        : socket_(socket), sender_(sender), transport_(socket) {}

    // `ssl` is new. False: no memory.
    [[nodiscard]] bool attach(UniqueSsl ssl);
    // The key by which the other side is to be recognised; from the callbacks for it.
    void set_key(SharedKey key) noexcept { key_ = std::move(key); }
    // Of an SSL that attach() got.
    [[nodiscard]] static OpensslConnection& of(SSL* ssl) noexcept;

    [[nodiscard]] Progress handshake() noexcept override;
    [[nodiscard]] Error failure() const override;
    [[nodiscard]] const SharedKey& key() const noexcept override { return key_; }
    [[nodiscard]] std::string_view cipher() const noexcept override;
    [[nodiscard]] Status export_secret(std::string_view label, Secret& out) const override;
    [[nodiscard]] ssize_t recv(std::span<std::byte> space) noexcept override;
    [[nodiscard]] ssize_t send(std::span<const std::byte> bytes, bool more) noexcept override;
    [[nodiscard]] bool holds_bytes() const noexcept override;
    void shrink() noexcept override { transport_.shrink(); }
    [[nodiscard]] bool kernel_sends() const noexcept override { return kernel_sends_; }
    [[nodiscard]] bool kernel_receives() const noexcept override { return kernel_receives_; }

private:
    // Why a handshake failed, as far as it matters.
    enum class Failure : unsigned char {
        none,
        broken,     // the connection ended; error_number_
        damaged,    // what came makes no sense
        not_tls,    // the other side speaks something else
        no_keys,    // the receiver has none
        wrong_key,  // the receiver does not accept it, or does not have it
        wrong_peer, // of a receiver: whoever came does not have a key
    };

    [[nodiscard]] Progress finish_handshake() noexcept;
    void note_failure(int ssl_error) noexcept;
    [[nodiscard]] Failure failure_of_reason(int reason) const noexcept;
    // What a call of SSL_read or SSL_write that failed means: 0 for the end of the stream, or
    // errno.
    [[nodiscard]] int error_of(int result) noexcept;

    const int socket_;
    const bool sender_;
    TlsTransport transport_;
    UniqueSsl ssl_; // refers to transport_
    SharedKey key_;
    Failure failure_ = Failure::none;
    int error_number_ = 0; // of a handshake that failed, or of what came after it; final
    bool kernel_sends_ = false;
    bool kernel_receives_ = false;
    // Bytes that have been encrypted, but not reported as sent: the socket has not taken them all.
    std::size_t accepted_ = 0;
};

} // namespace sluice
