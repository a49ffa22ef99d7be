// For tests: keys, contexts, and two ends of a TLS connection over loopback.
#pragma once

#include "common/channel.hpp"
#include "common/tls.hpp"
#include "tests/support/tcp_pair.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <memory>
#include <utility>
#include <vector>

namespace sluice::test {

inline SharedKey make_key(unsigned char seed) {
    auto key = std::make_shared<AccessKey>();
    std::ranges::fill(key->secret.bytes(), std::byte{seed});
    key->name = "key " + std::to_string(seed);
    key->identity = key_identity(key->secret);
    return key;
}

inline std::shared_ptr<TlsContext> sender_context(SharedKey key) {
    auto made = TlsContext::for_sender(std::move(key));
    REQUIRE(made);
    return std::move(*made);
}

inline std::shared_ptr<TlsContext> receiver_context(std::vector<SharedKey> keys) {
    auto made = TlsContext::for_receiver([keys = std::move(keys)](const KeyIdentity& identity) {
        const auto found = std::ranges::find_if(
            keys, [&](const SharedKey& key) { return key->identity == identity; });
        return found == keys.end() ? nullptr : *found;
    });
    REQUIRE(made);
    return std::move(*made);
}

// Both ends of a connection, in one thread.
struct TlsPair {
    TlsPair(TlsContext& client, TlsContext& server) {
        auto begun = client.begin(sockets.sender.get());
        REQUIRE(begun);
        sender = std::move(*begun);
        begun = server.begin(sockets.receiver.get());
        REQUIRE(begun);
        receiver = std::move(*begun);
    }

    // Until both are done or failed.
    void shake_hands() {
        using Progress = TlsConnection::Progress;
        const auto over = [](Progress progress) {
            return progress == Progress::done || progress == Progress::failed;
        };
        Progress left = sender->handshake();
        Progress right = Progress::wants_to_read;
        while (!over(left) || !over(right)) {
            if (!over(right)) {
                REQUIRE((left == Progress::failed || wait_for(sockets.receiver.get(), POLLIN)));
                right = receiver->handshake();
            }
            if (!over(left)) {
                REQUIRE(wait_for(sockets.sender.get(), POLLIN));
                left = sender->handshake();
            }
        }
        sender_done = left == Progress::done;
        receiver_done = right == Progress::done;
    }

    // The ends as channels, which own the sockets.
    std::pair<Channel, Channel> channels() {
        return {Channel(std::move(sockets.sender), std::move(sender)),
                Channel(std::move(sockets.receiver), std::move(receiver))};
    }

    TcpPair sockets;
    std::unique_ptr<TlsConnection> sender;
    std::unique_ptr<TlsConnection> receiver;
    bool sender_done = false;
    bool receiver_done = false;
};

} // namespace sluice::test
