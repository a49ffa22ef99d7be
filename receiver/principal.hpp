// Who somebody is: the key that came with a connection, or nobody in particular.
#pragma once

#include "common/channel.hpp"
#include "common/tls.hpp"

namespace sluice {

// Null: in clear.
[[nodiscard]] SharedKey key_of(Channel& channel);

// The same key, or none in both cases. By the identity: a key may have been read anew meanwhile.
[[nodiscard]] bool is_same(const SharedKey& one, const SharedKey& other) noexcept;

// What a key began, only the same key may go on with; and what was begun without any, nobody with
// one.
[[nodiscard]] bool belongs_to(Channel& channel, const SharedKey& owner);

} // namespace sluice
