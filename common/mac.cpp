#include "common/mac.hpp"

#include <cstdlib>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <string>

namespace sluice {

namespace {

// Without it there is no AES-GCM either, and so no TLS.
void require(bool done) noexcept {
    if (!done) {
        std::abort(); // no memory, or an OpenSSL without GMAC
    }
}

// Looking it up takes longer than a short message.
EVP_MAC* gmac() noexcept {
    static EVP_MAC* const algorithm = EVP_MAC_fetch(nullptr, OSSL_MAC_NAME_GMAC, nullptr);
    return algorithm;
}

} // namespace

bool equal_tags(const MacTag& left, const MacTag& right) noexcept {
    return CRYPTO_memcmp(left.data(), right.data(), left.size()) == 0;
}

void Mac::Deleter::operator()(EVP_MAC_CTX* context) const noexcept {
    EVP_MAC_CTX_free(context);
}

Mac::Mac(const Secret& key) : context_(EVP_MAC_CTX_new(gmac())) {
    std::string cipher = "AES-256-GCM"; // OSSL_PARAM wants it writable
    const std::array<OSSL_PARAM, 2> parameters{
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_CIPHER, cipher.data(), 0),
        OSSL_PARAM_construct_end()};
    require(context_ &&
            EVP_MAC_init(context_.get(), reinterpret_cast<const unsigned char*>(key.bytes().data()),
                         Secret::kBytes, parameters.data()) == 1);
}

Mac::~Mac() = default;

void Mac::begin(const MacNonce& nonce) noexcept {
    MacNonce copy = nonce; // as above
    const std::array<OSSL_PARAM, 2> parameters{
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_IV, copy.data(), copy.size()),
        OSSL_PARAM_construct_end()};
    // Without a key: the one it has, and what has been computed from it, stays.
    require(EVP_MAC_init(context_.get(), nullptr, 0, parameters.data()) == 1);
}

void Mac::add(std::span<const std::byte> bytes) noexcept {
    require(bytes.empty() ||
            EVP_MAC_update(context_.get(), reinterpret_cast<const unsigned char*>(bytes.data()),
                           bytes.size()) == 1);
}

MacTag Mac::finish() noexcept {
    MacTag tag{};
    std::size_t length = 0;
    require(EVP_MAC_final(context_.get(), reinterpret_cast<unsigned char*>(tag.data()), &length,
                          tag.size()) == 1 &&
            length == tag.size());
    return tag;
}

} // namespace sluice
