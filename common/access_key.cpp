#include "common/access_key.hpp"

#include <algorithm>
#include <cstdlib>
#include <openssl/evp.h>
#include <string_view>
#include <vector>

namespace sluice {

namespace {

constexpr std::string_view kIdentityLabel = "sluice key identity";

} // namespace

KeyIdentity key_identity(const Secret& secret) {
    std::array<std::byte, EVP_MAX_MD_SIZE> hash{};
    EVP_MD_CTX* const context = EVP_MD_CTX_new();
    const bool hashed =
        context != nullptr && EVP_DigestInit_ex(context, EVP_sha256(), nullptr) == 1 &&
        EVP_DigestUpdate(context, kIdentityLabel.data(), kIdentityLabel.size()) == 1 &&
        EVP_DigestUpdate(context, secret.bytes().data(), Secret::kBytes) == 1 &&
        EVP_DigestFinal_ex(context, reinterpret_cast<unsigned char*>(hash.data()), nullptr) == 1;
    EVP_MD_CTX_free(context);
    if (!hashed) {
        std::abort(); // no memory, or an OpenSSL without SHA-256
    }
    KeyIdentity identity;
    std::copy_n(hash.begin(), identity.size(), identity.begin());
    return identity;
}

std::string fingerprint(const KeyIdentity& identity) {
    std::array<unsigned char, 4 * ((sizeof(KeyIdentity) + 2) / 3) + 1> text{};
    const int length =
        EVP_EncodeBlock(text.data(), reinterpret_cast<const unsigned char*>(identity.data()),
                        static_cast<int>(identity.size()));
    std::string encoded(text.begin(), text.begin() + length);
    encoded.erase(std::ranges::find(encoded, '='), encoded.end());
    return "SHA256:" + encoded;
}

} // namespace sluice
