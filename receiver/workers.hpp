// The workers of a receiver: on which of them a connection lives.
//
// Which data connections will have much to carry is not known when they join: a sender of one large
// file uses one of two. So those that carry something are spread, from their first bytes on: with
// four senders, three of the four that were busy used to meet on one of two workers now and then,
// and the fourth sender was two and a half times as fast as they.
#pragma once

#include "common/result.hpp"
#include "receiver/joined_connection.hpp"
#include "receiver/worker.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

namespace sluice {

class Workers {
public:
    Workers() = default;
    ~Workers();
    Workers(const Workers&) = delete;
    Workers& operator=(const Workers&) = delete;

    // `pace` is borrowed. An Error: so many threads cannot be started.
    [[nodiscard]] Status start(unsigned count, CopyPath receive_path, UnpackPace& pace);
    // Drops all connections, and joins the threads.
    void stop();

    // For the control connection of the session of that number.
    [[nodiscard]] Worker& for_session(std::uint64_t serial) noexcept;
    // Takes data connection `stream` (from 0) of the sender; thread-safe, as is the rest.
    void take(JoinedConnection joined, unsigned stream);
    // The worker that has the fewest data connections with something to carry; one more is counted
    // there. Of several, the streams of a session get different ones, and the first not that of
    // the control connection, which has little to do, but without delay.
    [[nodiscard]] Worker& for_stream(std::uint64_t serial, unsigned stream);
    void post_to_all(const std::function<void(Worker&)>& task);

private:
    [[nodiscard]] Worker& at(std::uint64_t number) noexcept;

    std::vector<std::unique_ptr<Worker>> workers_;
    std::mutex choosing_; // two at a time would see the same counts
};

} // namespace sluice
