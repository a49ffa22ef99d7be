// A data connection that has joined its session: from Session::add_connection() on, and until
// Session::connection_ended(), which comes before its socket is closed.
#pragma once

#include "common/channel.hpp"
#include "common/data_keys.hpp"
#include "receiver/session.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

namespace sluice {

struct JoinedConnection {
    // `number`: as the sender calls it. `code`: of the session for it (Session::frame_code), which
    // has checked the Join. Nothing: the session takes none, and the channel is closed.
    [[nodiscard]] static std::optional<JoinedConnection> join(std::shared_ptr<Session> session,
                                                              Channel channel, std::uint32_t number,
                                                              proto::FrameCode code) {
        if (session->add_connection(number, channel.fd())) {
            return JoinedConnection(std::move(session), std::move(channel), number,
                                    std::move(code));
        }
        return std::nullopt;
    }
    JoinedConnection(JoinedConnection&&) = default;
    JoinedConnection& operator=(JoinedConnection&&) = delete;
    ~JoinedConnection() { leave(); }

    // The session is told that it has ended. Once is enough.
    void leave() {
        if (session && !std::exchange(left, true)) {
            session->connection_ended(number);
        }
    }

    std::shared_ptr<Session> session; // null only if moved from
    Channel channel;
    std::uint32_t number;
    proto::FrameCode code;
    bool left = false;

private:
    JoinedConnection(std::shared_ptr<Session> its_session, Channel its_channel,
                     std::uint32_t its_number, proto::FrameCode its_code)
        : session(std::move(its_session)), channel(std::move(its_channel)), number(its_number),
          code(std::move(its_code)) {}
};

} // namespace sluice
