// Who may come in, by the key that a connection brings and by how it is protected. Thread-safe.
#pragma once

#include "common/channel.hpp"
#include "common/result.hpp"
#include "common/security.hpp"
#include "common/tls.hpp"
#include "receiver/key_ring.hpp"

#include <memory>

namespace sluice {

class Gate {
public:
    // `keys` may be null: then what the handshake has found is taken as it is. `least`: what a
    // session has to offer.
    Gate(std::shared_ptr<const KeyRing> keys, Security least)
        : keys_(std::move(keys)), least_(least) {}

    // For the control connection of a session. The key as it is now, with its present rights; null
    // where there is none and none is needed. An Error of kind refused. `asks_for_signed`: its data
    // connections shall come in clear, signed.
    [[nodiscard]] Result<SharedKey> admit(Channel& control, bool asks_for_signed) const;

    // Whether the key has been taken out of the ring.
    [[nodiscard]] bool is_revoked(const SharedKey& key) const;
    [[nodiscard]] static Error revocation();

private:
    const std::shared_ptr<const KeyRing> keys_;
    const Security least_;
};

} // namespace sluice
