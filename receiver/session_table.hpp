// The sessions of a receiver by what connections know of them, and who waits to take the place of
// one. Lives on the thread of the receiver's loop.
#pragma once

#include "common/channel.hpp"
#include "proto/messages.hpp"
#include "receiver/session.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

namespace sluice {

// A control connection that has said what it wants.
struct PendingSession {
    proto::Token run{};  // zero: it names none
    std::string network; // whom it counts as (peer_network())
    Channel channel;
    proto::Bytes body; // of its Open
    SharedKey key{};   // who it is; null: nobody had to say
};

// How many sessions there are, for limits.
struct SessionLoad {
    // Without those whose last word is said, with those that wait to take the place of such a one
    // or of one that is gone.
    std::size_t counted = 0;
    std::size_t held = 0; // all that take resources
    // Those that only have to be said good-bye to may be as many again.
    [[nodiscard]] bool reaches(std::size_t limit) const noexcept {
        return counted >= limit || held >= 2 * limit;
    }
};

class SessionTable {
public:
    void add(std::shared_ptr<Session> session, const std::string& network);
    void remove(std::uint64_t serial);

    [[nodiscard]] bool empty() const noexcept { return sessions_.empty(); }
    // Of all, of a network, and of a key.
    [[nodiscard]] SessionLoad load() const;
    [[nodiscard]] SessionLoad load_of(const std::string& network) const;
    [[nodiscard]] SessionLoad load_of(const KeyIdentity& key) const;

    // Null where there is none. Looks at every byte of every token, so that the time it takes tells
    // nothing about them.
    [[nodiscard]] std::shared_ptr<Session> with_token(const proto::Token& token) const;
    // That this key has opened, or, where it is null, none. No session is of the run zero.
    [[nodiscard]] std::shared_ptr<Session> of_run(const proto::Token& run,
                                                  const SharedKey& key = nullptr) const;

    // `next` waits until the session has let go of its files. It takes the place of one that waits
    // already, whose connection is closed with it.
    void wait_for(std::uint64_t serial, PendingSession next);
    [[nodiscard]] bool has_successor(std::uint64_t serial) const;
    [[nodiscard]] std::optional<PendingSession> take_successor(std::uint64_t serial);

    void fail_all(const Error& error) const;
    // Those of a key for which `lost` holds. Whoever waits to take their place is not let in.
    void fail_keys(const std::function<bool(const SharedKey&)>& lost, const Error& error);
    // Forgets all of them.
    void clear();

private:
    struct Entry {
        std::shared_ptr<Session> session;
        std::string network;
    };

    [[nodiscard]] SessionLoad
    count(const std::function<bool(const Entry&)>& begun,
          const std::function<bool(const PendingSession&)>& waiting) const;

    std::map<std::uint64_t, Entry> sessions_;         // by serial number
    std::map<std::uint64_t, PendingSession> waiting_; // by that of the one that ends
};

} // namespace sluice
