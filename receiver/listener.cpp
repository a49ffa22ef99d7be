#include "receiver/listener.hpp"

#include "common/net.hpp"
#include "common/text.hpp"

#include <cerrno>
#include <fmt/format.h>
#include <string>
#include <utility>

namespace sluice {

Result<Listener> open_listener(const ReceiverOptions& options, UniqueFd inherited) {
    const std::string address = inherited ? local_host(inherited.get()) : options.listen_address;
    Result<bool> loopback = is_loopback(address);
    if (!loopback) {
        return std::move(loopback).error();
    }
    if (!*loopback && !options.insecure && options.least_security == Security::none) {
        return Error{ErrorKind::refused,
                     fmt::format("refusing to listen on {}: anyone who can reach it could {}; let "
                                 "in only who has a key (--key-file), or pass --insecure if the "
                                 "network is trusted",
                                 escape(address),
                                 options.discard ? std::string("send to it")
                                                 : "write into " + escape(options.directory))};
    }
    Result<UniqueFd> listener =
        inherited ? std::move(inherited) : listen_tcp(options.listen_address, options.port);
    if (!listener) {
        return std::move(listener).error();
    }
    std::string listened = local_address(listener->get()); // asked once: it can fail
    if (listened == "?") {
        // Nobody could find a port that the system chose.
        return system_error(ErrorKind::network, "cannot find out the address listened on", errno);
    }
    return Listener{std::move(*listener), std::move(listened)};
}

} // namespace sluice
