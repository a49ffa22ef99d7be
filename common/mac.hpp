// Message authentication codes: ChaCha20-Poly1305 (RFC 8439, section 2.8) without plaintext, the
// message being the associated data. Only who has the key can make the code of a message or change
// a message unnoticed.
//
// A nonce must never be used for two different messages under one key where both codes can be seen:
// they would give the authentication key away. An object belongs to one thread at a time.
#pragma once

#include "common/byte_sink.hpp"
#include "common/digest.hpp"
#include "common/secret.hpp"

#include <array>
#include <cstddef>
#include <memory>
#include <span>

struct evp_cipher_ctx_st;

namespace sluice {

// Of the size of a digest, whose place it takes.
using MacTag = Digest;
using MacNonce = std::array<std::byte, 12>;

// Whether they are equal; takes as long wherever they differ.
[[nodiscard]] bool equal_tags(const MacTag& left, const MacTag& right) noexcept;

class Mac final : public ByteSink {
public:
    // The key is wiped with the object. Ends the process where OpenSSL has no ChaCha20-Poly1305.
    explicit Mac(const Secret& key);
    ~Mac() override;

    // A new message, whatever came before.
    void begin(const MacNonce& nonce) noexcept;
    void add(std::span<const std::byte> bytes) noexcept override;
    // Ends the message: begin() comes next.
    [[nodiscard]] MacTag finish() noexcept;

private:
    struct Deleter {
        void operator()(evp_cipher_ctx_st* context) const noexcept;
    };
    std::unique_ptr<evp_cipher_ctx_st, Deleter> context_;
};

} // namespace sluice
