#include "receiver/lobby.hpp"

#include "common/net.hpp"

#include <cerrno>
#include <fmt/format.h>
#include <sys/socket.h>
#include <utility>

namespace sluice {

namespace {

// Guests that have memory for a long first frame (an Open with many names), or for TLS, which takes
// 48 KiB (measured with OpenSSL 3.0 and half a ClientHello): 32 MiB in all.
constexpr std::size_t kMaxLargeGuests = 512;
static_assert(kMaxLargeGuests * proto::kMaxOpenBytes <= std::size_t{32} << 20);
// Connections that are being told why they may not stay: the oldest has had most time to listen.
constexpr std::size_t kMaxFarewells = 256;

ErrorKind kind_of(proto::Fault fault) {
    switch (fault) {
    case proto::Fault::unsupported_version: return ErrorKind::protocol_version;
    case proto::Fault::corrupted: return ErrorKind::network;
    default: return ErrorKind::protocol;
    }
}

Error not_authorised() {
    return {ErrorKind::refused, "not authorised: a key is needed here (--key-file)"};
}

} // namespace

// A guest is undecided until its first byte has come; a TLS handshake comes before its greeting,
// which is a preamble and a frame.
class Lobby::Guest {
public:
    Guest(Lobby& lobby, GuestList::Id number, Channel accepted)
        : id(number), channel(std::move(accepted)), reader_(proto::Role::control, true),
          poll_(std::make_unique<Poll>(lobby.loop_, channel.fd(),
                                       [this, &lobby](Readiness) { read(lobby); })),
          timer_(lobby.loop_, [this, &lobby] {
              lobby.refuse(*this, {ErrorKind::timed_out, "no request came before the deadline "
                                                         "(--handshake-timeout)"});
          }) {
        reader_.leave_joins_unchecked();
        poll_->wait_for({true, false});
        timer_.start(lobby.deadline_);
    }

    // Before the descriptor changes hands.
    void unwatch() {
        poll_.reset();
        timer_.stop();
    }
    // Not in the middle of a TLS handshake.
    [[nodiscard]] bool understands_frames() const noexcept { return state_ != State::shaking; }

    const GuestList::Id id;
    Channel channel;

private:
    enum class State : unsigned char { undecided, shaking, greeting };

    void read(Lobby& lobby) {
        if ((state_ == State::undecided && !decide(lobby)) ||
            (state_ == State::shaking && !shake(lobby))) {
            return;
        }
        greet(lobby);
    }

    // Next state: shaking or greeting, by the first byte, which stays where it is. False: there is
    // none yet, or the guest has left.
    [[nodiscard]] bool decide(Lobby& lobby) {
        std::byte first{};
        count_system_call();
        const ssize_t got = ::recv(channel.fd(), &first, 1, MSG_PEEK);
        if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
            return false;
        }
        if (got <= 0) {
            lobby.leave(id);
            return false;
        }
        if (first != kTlsFirstByte) {
            state_ = State::greeting;
            return true;
        }
        if (!lobby.policy_.tls) {
            lobby.dismiss(*this, "TLS, and there are no keys here (--key-file)",
                          proto::Bytes(kTlsRefusal.begin(), kTlsRefusal.end()));
            return false;
        }
        lobby.grow(id);
        Result<std::unique_ptr<TlsConnection>> begun = lobby.policy_.tls->begin(channel.fd());
        if (!begun) {
            lobby.send_away(id, begun.error().message);
            return false;
        }
        tls_ = std::move(*begun);
        state_ = State::shaking;
        return true;
    }

    // Next state: greeting. False: not done yet, or the guest has left.
    [[nodiscard]] bool shake(Lobby& lobby) {
        switch (tls_->handshake()) {
        case TlsConnection::Progress::wants_to_read: poll_->wait_for({true, false}); return false;
        case TlsConnection::Progress::wants_to_write: poll_->wait_for({false, true}); return false;
        case TlsConnection::Progress::failed:
            lobby.dismiss(*this, tls_->failure().message, {}); // OpenSSL has told the peer
            return false;
        case TlsConnection::Progress::done: break;
        }
        poll_->wait_for({true, false});
        channel.protect(std::move(tls_));
        lobby.recognise(id);
        state_ = State::greeting;
        return true;
    }

    // Data may be in clear where what the control connection says about it is protected.
    [[nodiscard]] bool may_be_clear(Security least) noexcept {
        return channel.tls() != nullptr || least == Security::none ||
               (least == Security::signed_data && reader_.role() == proto::Role::data);
    }

    void greet(Lobby& lobby) {
        while (!reader_.frame_ready()) {
            const auto space = reader_.space();
            const ssize_t got = channel.recv(space);
            if (got < 0 && errno == EINTR) {
                continue;
            }
            if (got < 0 && errno == EAGAIN) {
                return;
            }
            if (got <= 0) {
                lobby.leave(id);
                return;
            }
            const auto fault = reader_.commit(static_cast<std::size_t>(got));
            if (fault == proto::Fault::bad_magic) {
                // Whoever that is would not understand an answer.
                lobby.send_away(id, proto::describe(fault));
                return;
            }
            if (fault != proto::Fault::none) {
                lobby.refuse(
                    *this, {kind_of(fault), fmt::format("this is sluice protocol version "
                                                        "{}: {}",
                                                        proto::kVersion, proto::describe(fault))});
                return;
            }
            if (reader_.preamble_seen() && !may_be_clear(lobby.policy_.least)) {
                lobby.refuse(*this, not_authorised());
                return;
            }
            if (reader_.has_large_body()) {
                // Only an Open may be long, and nobody waits here for the rest of anything else.
                if (reader_.type() != proto::FrameType::open) {
                    lobby.refuse(*this,
                                 {ErrorKind::protocol,
                                  std::string(proto::describe(proto::Fault::misplaced_frame))});
                    return;
                }
                lobby.grow(id);
            }
        }
        admit(lobby);
    }

    void admit(Lobby& lobby) {
        // The next owner may close the socket on its own thread at any time from now on.
        unwatch();
        const Status admitted = lobby.callbacks_.admit(channel, reader_);
        if (admitted) {
            lobby.leave(id);
        } else {
            lobby.refuse(*this, admitted.error());
        }
    }

    State state_ = State::undecided;
    proto::FrameReader reader_;
    std::unique_ptr<TlsConnection> tls_; // while shaking
    std::unique_ptr<Poll> poll_;
    Timer timer_;
};

Lobby::Lobby(Loop& loop, const LobbyLimits& limits, ConnectionPolicy policy, Callbacks callbacks)
    : loop_(loop), deadline_(limits.deadline), policy_(std::move(policy)),
      callbacks_(std::move(callbacks)),
      list_({limits.guests, limits.per_network, kMaxLargeGuests}, [this](std::size_t bound) {
          return std::uniform_int_distribution<std::size_t>{0, bound - 1}(random_);
      }) {}

Lobby::~Lobby() = default;

void Lobby::enter(Channel channel) {
    const std::string network = peer_network(channel.fd());
    const auto entered = list_.enter(network);
    if (!entered) {
        callbacks_.refused(peer_address(channel.fd()),
                           "there are too many connections (--max-pending, --max-per-address)");
        return;
    }
    if (entered->leaves) {
        send_away(*entered->leaves, "newer connections needed its place "
                                    "(--max-pending, --max-per-address)");
    }
    guests_.emplace(entered->id, std::make_unique<Guest>(*this, entered->id, std::move(channel)));
}

bool Lobby::make_room() {
    if (!farewells_.empty()) {
        farewells_.erase(farewells_.begin());
        return true;
    }
    const auto stranger = list_.one_stranger();
    if (stranger) {
        send_away(*stranger, "descriptors have run out");
    }
    return stranger.has_value();
}

// Destroys the guest, perhaps in its own callback: its members are not touched after.
void Lobby::leave(GuestList::Id id) {
    list_.leave(id);
    guests_.erase(id);
}

void Lobby::grow(GuestList::Id id) {
    if (const auto other = list_.grow(id); other) {
        send_away(*other, "other connections needed its memory");
    }
}

void Lobby::recognise(GuestList::Id id) {
    if (const auto other = list_.recognise(id); other) {
        send_away(*other, "newer connections with a key needed its place (--max-pending)");
    }
}

// Without a word to it.
void Lobby::send_away(GuestList::Id id, std::string_view reason) {
    callbacks_.refused(peer_address(guests_.at(id)->channel.fd()), reason);
    leave(id);
}

// A stranger learns nothing but that it is one.
void Lobby::refuse(Guest& guest, const Error& error) {
    const bool stranger = policy_.least != Security::none && guest.channel.tls() == nullptr;
    dismiss(guest, error.message,
            guest.understands_frames() ? error_frame(stranger ? not_authorised() : error)
                                       : proto::Bytes{});
}

void Lobby::dismiss(Guest& guest, std::string_view reason, const proto::Bytes& last_bytes) {
    guest.unwatch();
    Channel channel = std::move(guest.channel);
    callbacks_.refused(peer_address(channel.fd()), reason);
    leave(guest.id);
    if (farewells_.size() >= kMaxFarewells) {
        farewells_.erase(farewells_.begin());
    }
    const std::uint64_t number = ++last_farewell_;
    farewells_.emplace(number, std::make_unique<Farewell>(
                                   loop_, std::move(channel), last_bytes,
                                   [this, number](Farewell*) { farewells_.erase(number); }));
}

} // namespace sluice
