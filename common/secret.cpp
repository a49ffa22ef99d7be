#include "common/secret.hpp"

#include <algorithm>
#include <openssl/crypto.h>

namespace sluice {

Secret::Secret(std::span<const std::byte, kBytes> bytes) noexcept {
    std::ranges::copy(bytes, bytes_.begin());
}

Secret::~Secret() {
    OPENSSL_cleanse(bytes_.data(), bytes_.size());
}

} // namespace sluice
