// Where connections wait that have not yet said who they are and what they want. They have one
// deadline from accept to their first complete frame, however slowly it comes, a TLS handshake
// before it included; until then they can do nothing but fill a few hundred bytes, or, a limited
// number of them, the 64 KiB of a long Open. Who has to make room for newcomers: see GuestList.
//
//     Undecided --0x16--> Shaking --handshake done--> Greeting --first frame--> admitted
//     Undecided --any other byte--> Greeting
//     any state --end, deadline, fault--> gone; with a last word where it would be understood
//
// Lives on the thread of its loop.
#pragma once

#include "common/loop.hpp"
#include "common/security.hpp"
#include "common/tls.hpp"
#include "proto/frame_reader.hpp"
#include "receiver/farewell.hpp"
#include "receiver/guest_list.hpp"

#include <chrono>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <unordered_map>

namespace sluice {

struct LobbyLimits {
    std::chrono::milliseconds deadline{10'000};
    std::size_t guests = 1024;
    std::size_t per_network = 1024;
};

// How connections have to be protected.
struct ConnectionPolicy {
    std::shared_ptr<TlsContext> tls; // null: there are no keys, and no TLS
    Security least = Security::none; // of whole sessions
};

class Lobby {
public:
    struct Callbacks {
        // Given the first frame of a connection, takes the channel over, or leaves it to be closed
        // without a word. An Error is told to the peer before the connection closes. A Join is yet
        // to be checked (FrameReader::leave_joins_unchecked).
        std::function<Status(Channel& channel, const proto::FrameReader& first_frame)> admit;
        // One that had to go, and why.
        std::function<void(const std::string& address, std::string_view reason)> refused;
    };

    Lobby(Loop& loop, const LobbyLimits& limits, ConnectionPolicy policy, Callbacks callbacks);
    ~Lobby();
    Lobby(const Lobby&) = delete;
    Lobby& operator=(const Lobby&) = delete;

    void enter(Channel channel);
    // Somebody leaves, because descriptors are needed. False: there is nobody who has to.
    [[nodiscard]] bool make_room();

private:
    class Guest;
    void leave(GuestList::Id id);
    // It takes much memory from now on, for which somebody else may have to leave.
    void grow(GuestList::Id id);
    // It has shown a key, and another who has may have to leave for that.
    void recognise(GuestList::Id id);
    void send_away(GuestList::Id id, std::string_view reason);
    void refuse(Guest& guest, const Error& error);
    // Says `last_bytes` and keeps the connection open until they can have been heard.
    void dismiss(Guest& guest, std::string_view reason, const proto::Bytes& last_bytes);

    Loop& loop_;
    const std::chrono::milliseconds deadline_;
    const ConnectionPolicy policy_;
    const Callbacks callbacks_;
    std::minstd_rand random_{std::random_device{}()};
    GuestList list_;
    std::unordered_map<GuestList::Id, std::unique_ptr<Guest>> guests_;
    // Those who are being told why they may not stay, the oldest first.
    std::map<std::uint64_t, std::unique_ptr<Farewell>> farewells_;
    std::uint64_t last_farewell_ = 0;
};

} // namespace sluice
