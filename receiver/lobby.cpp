#include "receiver/lobby.hpp"

#include "common/usage.hpp"

#include <cerrno>
#include <fmt/format.h>
#include <sys/socket.h>
#include <utility>

namespace sluice {

namespace {

// Connections that wait in the lobby or are being told why they may not stay.
constexpr std::size_t kMaxGuests = 1024;

} // namespace

class Lobby::Guest {
public:
    Guest(Lobby& lobby, UniqueFd fd)
        : socket(std::move(fd)), reader(proto::Role::control, true),
          poll(std::make_unique<Poll>(lobby.loop_, socket.get(),
                                      [this, &lobby](Readiness) { read(lobby); })),
          timer(lobby.loop_, [this, &lobby] {
              lobby.refuse(this, {ErrorKind::timed_out, "no request came within the deadline"});
          }) {
        poll->wait_for({true, false});
        timer.start(lobby.deadline_);
    }

    void unwatch() { poll.reset(); }

    UniqueFd socket;

private:
    void read(Lobby& lobby) {
        while (!reader.frame_ready()) {
            const auto space = reader.space();
            count_system_call();
            const ssize_t got = ::recv(socket.get(), space.data(), space.size(), 0);
            if (got < 0 && errno == EINTR) {
                continue;
            }
            if (got < 0 && errno == EAGAIN) {
                return;
            }
            if (got <= 0) {
                lobby.leave(this);
                return;
            }
            const auto fault = reader.commit(static_cast<std::size_t>(got));
            if (fault == proto::Fault::bad_magic) {
                lobby.leave(this); // whoever that is would not understand an answer
                return;
            }
            if (fault != proto::Fault::none) {
                const ErrorKind kind = fault == proto::Fault::unsupported_version
                                           ? ErrorKind::protocol_version
                                       : fault == proto::Fault::corrupted ? ErrorKind::network
                                                                          : ErrorKind::protocol;
                lobby.refuse(this, {kind, fmt::format("this is sluice protocol version {}: {}",
                                                      proto::kVersion, proto::describe(fault))});
                return;
            }
        }
        admit(lobby);
    }

    void admit(Lobby& lobby) {
        // The next owner may close the socket on its own thread at any time from now on.
        poll.reset();
        timer.stop();
        const Status admitted = lobby.admit_(socket, reader.role(), reader.type(), reader.body());
        if (admitted) {
            lobby.leave(this);
        } else {
            lobby.refuse(this, admitted.error());
        }
    }

    proto::FrameReader reader;
    std::unique_ptr<Poll> poll;
    Timer timer;
};

Lobby::Lobby(Loop& loop, std::chrono::milliseconds deadline, Admit admit)
    : loop_(loop), deadline_(deadline), admit_(std::move(admit)) {}

Lobby::~Lobby() = default;

void Lobby::enter(UniqueFd socket) {
    if (guests_.size() + farewells_.size() < kMaxGuests) {
        auto guest = std::make_unique<Guest>(*this, std::move(socket));
        Guest* const key = guest.get();
        guests_.emplace(key, std::move(guest));
    }
}

void Lobby::clear() {
    guests_.clear();
    farewells_.clear();
}

// Destroys the guest, from whose own callback this is called: its members are not touched after.
void Lobby::leave(Guest* guest) {
    guests_.erase(guest);
}

void Lobby::refuse(Guest* guest, const Error& error) {
    guest->unwatch(); // before the descriptor changes hands
    UniqueFd socket = std::move(guest->socket);
    leave(guest);
    auto farewell = std::make_unique<Farewell>(loop_, std::move(socket), error_frame(error),
                                               [this](Farewell* done) { farewells_.erase(done); });
    Farewell* const key = farewell.get();
    farewells_.emplace(key, std::move(farewell));
}

} // namespace sluice
