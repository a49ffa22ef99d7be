// TLS 1.3 (RFC 8446) on a connected socket, with a shared secret in place of certificates: an
// external pre-shared key with ECDHE (psk_dhe_ke), so that what was recorded stays secret even if
// the key is lost later. No tickets and no early data: nothing that was recorded can be replayed.
//
// A TlsContext may be used by any thread; a TlsConnection belongs to one at a time.
#pragma once

#include "common/access_key.hpp"
#include "common/result.hpp"
#include "common/secret.hpp"

#include <array>
#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <sys/types.h>

namespace sluice {

using SharedKey = std::shared_ptr<const AccessKey>;

// The first byte of whoever speaks TLS: the content type of a handshake record (RFC 8446, 5.1).
inline constexpr std::byte kTlsFirstByte{0x16};
// A fatal alert, handshake_failure, as a record: what somebody who has no keys answers to a TLS
// handshake (RFC 8446, sections 5.1 and 6).
inline constexpr std::array<std::byte, 7> kTlsRefusal{std::byte{21}, std::byte{3}, std::byte{3},
                                                      std::byte{0},  std::byte{2}, std::byte{2},
                                                      std::byte{40}};

// What a record is at most: its header and 2^14 + 256 bytes (RFC 8446, 5.2).
inline constexpr std::size_t kTlsMaxRecordBytes = 5 + (std::size_t{1} << 14) + 256;

class TlsConnection {
public:
    enum class Progress : unsigned char { done, wants_to_read, wants_to_write, failed };

    virtual ~TlsConnection() = default;

    // Goes on with the handshake as far as the non-blocking socket lets it.
    [[nodiscard]] virtual Progress handshake() noexcept = 0;
    // Why it failed, in words that follow the name of the other side and a colon. Of kind refused
    // where that does not have the key, or speaks no TLS; of kind network where the connection
    // broke or delivered what was damaged.
    [[nodiscard]] virtual Error failure() const = 0;
    // Once the handshake is done: the key that both sides have.
    [[nodiscard]] virtual const SharedKey& key() const noexcept = 0;
    // The same: the cipher, as RFC 8446 calls it (appendix B.4).
    [[nodiscard]] virtual std::string_view cipher() const noexcept = 0;
    // A secret of this connection that both sides know, and nobody else (RFC 8446, section 7.5).
    [[nodiscard]] virtual Status export_secret(std::string_view label, Secret& out) const = 0;

    // See Channel.
    [[nodiscard]] virtual ssize_t recv(std::span<std::byte> space) noexcept = 0;
    [[nodiscard]] virtual ssize_t send(std::span<const std::byte> bytes, bool more) noexcept = 0;
    [[nodiscard]] virtual bool holds_bytes() const noexcept = 0;
    virtual void shrink() noexcept = 0;
    // Whether the kernel encrypts, or decrypts, what passes the socket (kTLS).
    [[nodiscard]] virtual bool kernel_sends() const noexcept = 0;
    [[nodiscard]] virtual bool kernel_receives() const noexcept = 0;
};

class TlsContext {
public:
    // Finds the key of that identity; null where there is none (any more).
    using FindKey = std::function<SharedKey(const KeyIdentity&)>;

    [[nodiscard]] static Result<std::unique_ptr<TlsContext>> for_sender(SharedKey key);
    // `find` is called on the thread of the handshake. Whoever comes with an unknown identity gets
    // the same answer as somebody with a wrong key.
    [[nodiscard]] static Result<std::unique_ptr<TlsContext>> for_receiver(FindKey find);

    virtual ~TlsContext() = default;
    // The socket is borrowed and must outlive the connection.
    [[nodiscard]] virtual Result<std::unique_ptr<TlsConnection>> begin(int socket) = 0;
};

} // namespace sluice
