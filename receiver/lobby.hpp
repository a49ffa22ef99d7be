// Where connections wait that have not yet said who they are. They have one deadline from accept to
// their first complete frame, and until then they can do nothing but fill a few kilobytes.
//
// Lives on the thread of its loop.
#pragma once

#include "common/loop.hpp"
#include "common/unique_fd.hpp"
#include "proto/frame_reader.hpp"
#include "receiver/farewell.hpp"

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <unordered_map>

namespace sluice {

class Lobby {
public:
    // Given the first frame of a connection, takes the socket over. An Error is told to the peer
    // before the connection closes.
    using Admit = std::function<Status(UniqueFd& socket, proto::Role role, proto::FrameType type,
                                       proto::ByteView body)>;

    Lobby(Loop& loop, std::chrono::milliseconds deadline, Admit admit);
    ~Lobby();
    Lobby(const Lobby&) = delete;
    Lobby& operator=(const Lobby&) = delete;

    // A connection too many is closed at once.
    void enter(UniqueFd socket);
    // Closes everything that waits.
    void clear();

private:
    class Guest;
    void leave(Guest* guest);
    void refuse(Guest* guest, const Error& error);

    Loop& loop_;
    const std::chrono::milliseconds deadline_;
    const Admit admit_;
    std::unordered_map<Guest*, std::unique_ptr<Guest>> guests_;
    std::unordered_map<Farewell*, std::unique_ptr<Farewell>> farewells_;
};

} // namespace sluice
