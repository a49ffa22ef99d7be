#include "receiver/admission.hpp"

#include "common/net.hpp"
#include "receiver/principal.hpp"

#include <cerrno>
#include <fmt/format.h>
#include <utility>

namespace sluice {

namespace {

// Connections accepted in one turn.
constexpr int kAcceptsPerTurn = 64;
// After running out of descriptors: the listener would be readable all the time.
constexpr std::chrono::milliseconds kAcceptPause{100};
// What is refused is told of at most so often.
constexpr std::chrono::milliseconds kRefusalInterval{10'000};

} // namespace

Admission::Admission(Loop& loop, int listener, SessionTable& sessions,
                     const AdmissionLimits& limits, ConnectionPolicy policy, const Gate& gate,
                     Callbacks callbacks)
    : listener_(listener), sessions_(sessions), limits_(limits), gate_(gate),
      callbacks_(std::move(callbacks)), refusals_(loop, kRefusalInterval, callbacks_.refused),
      pause_(loop,
             [this] {
                 poll_.wait_for({true, false});
             }),
      lobby_(loop, limits.lobby, std::move(policy),
             {[this](Channel& channel, const proto::FrameReader& first_frame) {
                  return admit(channel, first_frame);
              },
              [this](const std::string& address, std::string_view reason) {
                  refusals_.note(address, reason);
              }}),
      poll_(loop, listener_, [this](Readiness) { accept_all(); }) {
    poll_.wait_for({true, false});
}

Admission::~Admission() = default;

void Admission::accept_all() {
    for (int count = 0; count < kAcceptsPerTurn; ++count) {
        Result<UniqueFd> socket = accept_tcp(listener_);
        if (socket) {
            lobby_.enter(Channel(std::move(*socket)));
            continue;
        }
        const int error = socket.error().error_number;
        if (error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM) {
            if (lobby_.make_room()) {
                continue;
            }
            refusals_.note("?", socket.error().message);
            poll_.wait_for({});
            pause_.start(kAcceptPause);
        }
        if (error != ECONNABORTED && error != EINTR) {
            return;
        }
    }
}

Status Admission::admit(Channel& channel, const proto::FrameReader& first_frame) {
    const proto::Role role = first_frame.role();
    const proto::FrameType type = first_frame.type();
    if (role == proto::Role::control && type == proto::FrameType::open) {
        return admit_control(channel, first_frame.body());
    }
    if (role == proto::Role::data && type == proto::FrameType::join) {
        return admit_data(channel, first_frame);
    }
    return Error{ErrorKind::protocol, std::string(proto::describe(proto::Fault::misplaced_frame))};
}

Status Admission::admit_control(Channel& channel, proto::ByteView body) {
    proto::Open request; // what is wrong with it, the session will say
    const bool named = proto::decode(body, request) == proto::Fault::none;
    const bool asks_for_signed = named && (request.flags & proto::kOpenSigned) != 0;
    Result<SharedKey> key = gate_.admit(channel, asks_for_signed);
    if (!key) {
        return std::move(key).error();
    }
    const proto::Token run = named ? request.run : proto::Token{};
    PendingSession begun{run, peer_network(channel.fd()), {}, {body.begin(), body.end()}, *key};
    const std::shared_ptr<Session> before = sessions_.of_run(run, *key);
    const bool takes_its_place =
        before && (!before->has_last_word() || sessions_.has_successor(before->serial()));
    // Only now: at the door a connection that goes on with a session looks like any other.
    if (!takes_its_place) {
        if (Status room = find_room(begun.network, *key); !room) {
            return room;
        }
    }
    begun.channel = std::move(channel);
    if (before) {
        // Its sender has noticed before we did that the connection was lost.
        before->fail({ErrorKind::network, "the sender has come back on another connection"});
        sessions_.wait_for(before->serial(), std::move(begun));
    } else {
        callbacks_.begin(std::move(begun));
    }
    return ok();
}

Status Admission::find_room(const std::string& network, const SharedKey& key) const {
    if (sessions_.load().reaches(limits_.max_sessions)) {
        return Error{ErrorKind::refused,
                     fmt::format("the receiver is busy: {} sessions, its limit (--max-sessions)",
                                 limits_.max_sessions)};
    }
    if (sessions_.load_of(network).reaches(limits_.max_sessions_per_network)) {
        return Error{ErrorKind::refused,
                     fmt::format("{} may have {} session(s) here at a time (--max-per-address)",
                                 network, limits_.max_sessions_per_network)};
    }
    if (key && key->rights.max_sessions != 0 &&
        sessions_.load_of(key->identity).reaches(key->rights.max_sessions)) {
        return Error{ErrorKind::refused,
                     fmt::format("key '{}' may have {} session(s) at a time (max-sessions)",
                                 key->name, key->rights.max_sessions)};
    }
    return ok();
}

Status Admission::admit_data(Channel& channel, const proto::FrameReader& first_frame) {
    proto::Join join;
    const auto decoded = proto::decode(first_frame.body(), join);
    const std::shared_ptr<Session> session =
        decoded == proto::Fault::none ? sessions_.with_token(join.token) : nullptr;
    proto::FrameCode code = session ? session->frame_code(join.connection) : proto::FrameCode{};
    if (!code || channel.tls() != nullptr || !first_frame.frame_is_signed(code)) {
        // The token of a signed session is there for all to see on the way: only the code tells
        // whose Join it is. Whoever made another hears the same as with a token that does not
        // exist, and changes nothing.
        if (!first_frame.frame_is_intact()) {
            return Error{ErrorKind::network, std::string(proto::describe(proto::Fault::corrupted))};
        }
        if (decoded != proto::Fault::none) {
            return Error{ErrorKind::protocol, std::string(proto::describe(decoded))};
        }
        if (!session || code || !belongs_to(channel, session->key())) {
            return Error{ErrorKind::refused,
                         std::string(proto::describe(proto::Fault::unknown_session))};
        }
    }
    callbacks_.join(session, std::move(channel), join, std::move(code));
    return ok();
}

} // namespace sluice
