#include "receiver/waiting_connection.hpp"

#include "common/log.hpp"
#include "receiver/data_connection.hpp"
#include "receiver/workers.hpp"

#include <cstddef>
#include <fmt/format.h>
#include <memory>
#include <sys/socket.h>
#include <utility>

namespace sluice {

WaitingConnection::WaitingConnection(Workers& workers, Worker& worker, JoinedConnection joined,
                                     unsigned stream)
    : workers_(workers), worker_(worker), joined_(std::move(joined)), stream_(stream),
      poll_(worker.loop(), joined_.channel.fd(), [this](Readiness) { go_on(); }) {
    if (joined_.channel.holds_bytes()) {
        go_on(); // the socket may hold nothing at all
    } else {
        poll_.wait_for({true, false});
    }
}

// Most do, for there is one that carries everything.
bool WaitingConnection::has_ended() const {
    std::byte first{};
    return !joined_.channel.holds_bytes() &&
           ::recv(joined_.channel.fd(), &first, sizeof first, MSG_PEEK | MSG_DONTWAIT) == 0;
}

// Not within the watcher's own call: it has to be gone before another worker watches the socket.
void WaitingConnection::go_on() {
    poll_.wait_for({});
    worker_.post([&workers = workers_, &worker = worker_, key = this] {
        std::unique_ptr<Connection> self = worker.release(key);
        if (!self) {
            return; // the worker stops
        }
        if (key->has_ended()) {
            log_verbose(fmt::format("session {}: data connection {} has ended",
                                    key->joined_.session->serial(), key->joined_.number));
            return;
        }
        const unsigned stream = key->stream_;
        // std::function wants to copy what it holds.
        auto joined = std::make_shared<JoinedConnection>(std::move(key->joined_));
        self.reset();
        Worker& target = workers.for_stream(joined->session->serial(), stream);
        const auto start = [&target, joined] {
            target.add(std::make_unique<DataConnection>(target, std::move(*joined)));
        };
        if (&target == &worker) {
            start();
        } else {
            target.post(start);
        }
    });
}

} // namespace sluice
