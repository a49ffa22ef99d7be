// A data connection that has carried nothing yet. With its first bytes it becomes a DataConnection,
// on the worker that has the least to do then (Workers::for_stream).
#pragma once

#include "common/loop.hpp"
#include "receiver/joined_connection.hpp"
#include "receiver/worker.hpp"

#include <cstdint>

namespace sluice {

class Workers;

class WaitingConnection final : public Connection {
public:
    // Lives on `worker`, one of `workers`, which outlive it.
    WaitingConnection(Workers& workers, Worker& worker, JoinedConnection joined, unsigned stream);

private:
    void go_on();
    // Without having carried anything.
    [[nodiscard]] bool has_ended() const;

    Workers& workers_;
    Worker& worker_;
    JoinedConnection joined_;
    const unsigned stream_;
    Poll poll_;
};

} // namespace sluice
