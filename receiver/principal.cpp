#include "receiver/principal.hpp"

namespace sluice {

SharedKey key_of(Channel& channel) {
    return channel.tls() == nullptr ? nullptr : channel.tls()->key();
}

bool is_same(const SharedKey& one, const SharedKey& other) noexcept {
    return one && other ? one->identity == other->identity : !one && !other;
}

bool belongs_to(Channel& channel, const SharedKey& owner) {
    return is_same(key_of(channel), owner);
}

} // namespace sluice
