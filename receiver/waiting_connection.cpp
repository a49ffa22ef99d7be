#include "receiver/waiting_connection.hpp"

#include "receiver/data_connection.hpp"
#include "receiver/workers.hpp"

#include <memory>
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

// Not within the watcher's own call: it has to be gone before another worker watches the socket.
void WaitingConnection::go_on() {
    poll_.wait_for({});
    worker_.post([&workers = workers_, &worker = worker_, key = this] {
        std::unique_ptr<Connection> self = worker.release(key);
        if (!self) {
            return; // the worker stops
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
