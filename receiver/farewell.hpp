// Says a last word on a connection and makes sure that it can be heard.
//
// Closing a socket with unread input resets the connection, and a reset destroys what the peer has
// not read yet (RFC 1122, 4.2.2.13). So after the error message the sending side is shut down, and
// what still comes is dropped for a moment until the peer closes.
#pragma once

#include "common/channel.hpp"
#include "common/loop.hpp"
#include "common/result.hpp"
#include "receiver/worker.hpp"

#include <functional>
#include <string>

namespace sluice {

class Farewell final : public Connection {
public:
    // Sends `last_bytes` (cut off where the socket takes no more), then drops input until the peer
    // closes or two seconds have passed; then calls `done` once. The loop's thread only.
    Farewell(Loop& loop, Channel channel, const proto::Bytes& last_bytes,
             std::function<void(Farewell*)> done);
    ~Farewell() override;

private:
    void drain();
    void finish();

    Channel channel_;
    std::function<void(Farewell*)> done_;
    Poll poll_;
    Timer timer_;
};

// The frame that tells a peer why its connection ends.
[[nodiscard]] proto::Bytes error_frame(const Error& error);

} // namespace sluice
