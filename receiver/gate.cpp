#include "receiver/gate.hpp"

#include "receiver/principal.hpp"

#include <fmt/format.h>
#include <optional>

namespace sluice {

Result<SharedKey> Gate::admit(Channel& control, bool asks_for_signed) const {
    const SharedKey brought = key_of(control);
    const std::optional<Security> offered = offered_security(brought != nullptr, asks_for_signed);
    if (!offered) {
        return Error{ErrorKind::refused, "not authorised: signed data needs a key", 0};
    }
    if (*offered < least_) {
        return Error{ErrorKind::refused,
                     brought == nullptr
                         ? "not authorised: a key is needed here (--key-file)"
                         : fmt::format("not authorised: this receiver wants --security {}",
                                       security_name(least_)),
                     0};
    }
    if (!brought || !keys_) {
        return brought;
    }
    SharedKey present = keys_->find(brought->identity);
    return present ? Result<SharedKey>(std::move(present)) : Result<SharedKey>(revocation());
}

bool Gate::is_revoked(const SharedKey& key) const {
    return key && keys_ && !keys_->find(key->identity);
}

Error Gate::revocation() {
    return {ErrorKind::refused, "the key was revoked", 0};
}

} // namespace sluice
