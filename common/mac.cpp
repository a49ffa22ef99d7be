#include "common/mac.hpp"

#include <algorithm>
#include <cstdlib>
#include <openssl/crypto.h>
#include <openssl/evp.h>

namespace sluice {

namespace {

// OpenSSL counts in int.
constexpr std::size_t kMaxPiece = std::size_t{1} << 30;

void require(bool done) noexcept {
    if (!done) {
        std::abort(); // no memory, or an OpenSSL without ChaCha20-Poly1305
    }
}

const unsigned char* as_chars(const std::byte* bytes) noexcept {
    return reinterpret_cast<const unsigned char*>(bytes);
}

} // namespace

bool equal_tags(const MacTag& left, const MacTag& right) noexcept {
    return CRYPTO_memcmp(left.data(), right.data(), left.size()) == 0;
}

void Mac::Deleter::operator()(EVP_CIPHER_CTX* context) const noexcept {
    EVP_CIPHER_CTX_free(context);
}

Mac::Mac(const Secret& key) : context_(EVP_CIPHER_CTX_new()) {
    require(context_ && EVP_EncryptInit_ex(context_.get(), EVP_chacha20_poly1305(), nullptr,
                                           as_chars(key.bytes().data()), nullptr) == 1);
}

Mac::~Mac() = default;

void Mac::begin(const MacNonce& nonce) noexcept {
    // Without cipher and key: those that it has stay.
    require(EVP_EncryptInit_ex(context_.get(), nullptr, nullptr, nullptr, as_chars(nonce.data())) ==
            1);
}

void Mac::add(std::span<const std::byte> bytes) noexcept {
    while (!bytes.empty()) {
        const auto piece = bytes.first(std::min(bytes.size(), kMaxPiece));
        int length = 0;
        require(EVP_EncryptUpdate(context_.get(), nullptr, &length, as_chars(piece.data()),
                                  static_cast<int>(piece.size())) == 1);
        bytes = bytes.subspan(piece.size());
    }
}

MacTag Mac::finish() noexcept {
    MacTag tag{};
    int length = 0;
    require(EVP_EncryptFinal_ex(context_.get(), reinterpret_cast<unsigned char*>(tag.data()),
                                &length) == 1 &&
            EVP_CIPHER_CTX_ctrl(context_.get(), EVP_CTRL_AEAD_GET_TAG, static_cast<int>(tag.size()),
                                tag.data()) == 1);
    return tag;
}

} // namespace sluice
