// The door of a receiver: accepts connections, has them wait in the lobby until they have said what
// they want, and lets them begin a session or join one, as far as the limits allow.
//
// Lives on the thread of its loop.
#pragma once

#include "common/channel.hpp"
#include "common/loop.hpp"
#include "receiver/gate.hpp"
#include "receiver/lobby.hpp"
#include "receiver/refusal_log.hpp"
#include "receiver/session_table.hpp"

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

namespace sluice {

struct AdmissionLimits {
    std::size_t max_sessions = 256;
    std::size_t max_sessions_per_network = 1024;
    LobbyLimits lobby;
};

class Admission {
public:
    struct Callbacks {
        // Begins a session. It comes into the table before the next request is looked at.
        std::function<void(PendingSession request)> begin;
        // Gives a data connection to its session. `code`: as Session::frame_code().
        std::function<void(const std::shared_ptr<Session>& session, Channel channel,
                           const proto::Join& join, proto::FrameCode code)>
            join;
        std::function<void(const Refusals& refusals)> refused;
    };

    // `listener`, `sessions` and `gate` are borrowed and outlive this.
    Admission(Loop& loop, int listener, SessionTable& sessions, const AdmissionLimits& limits,
              ConnectionPolicy policy, const Gate& gate, Callbacks callbacks);
    ~Admission();
    Admission(const Admission&) = delete;
    Admission& operator=(const Admission&) = delete;

private:
    void accept_all();
    Status admit(Channel& channel, const proto::FrameReader& first_frame);
    Status admit_control(Channel& channel, proto::ByteView body);
    Status admit_data(Channel& channel, const proto::FrameReader& first_frame);
    // Fails where there is no room for another session.
    [[nodiscard]] Status find_room(const std::string& network, const SharedKey& key) const;

    const int listener_;
    SessionTable& sessions_;
    const AdmissionLimits limits_;
    const Gate& gate_;
    const Callbacks callbacks_;
    RefusalLog refusals_;
    Timer pause_;
    Lobby lobby_;
    Poll poll_;
};

} // namespace sluice
