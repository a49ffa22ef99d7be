#include "sender/key_setup.hpp"

#include "common/key_file.hpp"
#include "common/log.hpp"
#include "common/net.hpp"
#include "common/text.hpp"

#include <fmt/format.h>
#include <utility>

namespace sluice {

Status set_up_key(SenderCommand& command) {
    SenderOptions& options = command.options;
    if (command.security == Security::none) {
        return ok();
    }
    std::shared_ptr<const AccessKey> key;
    const KeyFileChoice choice = choose_key_file(command.key_file);
    if (!choice.path.empty()) {
        Result<std::shared_ptr<const AccessKey>> read = read_sender_key(choice.path);
        if (!read) {
            return std::move(read).error();
        }
        key = std::move(*read);
        log_verbose(fmt::format("key {} from {} ({})", fingerprint(key->identity),
                                shown_path(choice.path), choice.why));
    }
    const Result<Security> level = choose_security(command.security, key != nullptr);
    if (!level) {
        return level.error();
    }
    if (*level != Security::none) {
        Result<std::unique_ptr<TlsContext>> tls = TlsContext::for_sender(std::move(key));
        if (!tls) {
            return std::move(tls).error();
        }
        options.tls = std::move(*tls);
    }
    options.security = *level;
    return ok();
}

Status check_peer(const SenderOptions& options, int socket) {
    if (options.tls || options.insecure || peer_is_loopback(socket)) {
        return ok();
    }
    return Error{ErrorKind::usage,
                 fmt::format("refusing to send to {} in clear: anyone on the way could read and "
                             "change it; pass --key-file FILE, or --insecure if the network is "
                             "trusted",
                             peer_address(socket)),
                 0};
}

} // namespace sluice
