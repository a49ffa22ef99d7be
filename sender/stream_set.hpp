// The data connections of a session: as many as were asked for, or as many as pay (-P auto).
// Belongs to the thread of its loop.
#pragma once

#include "common/loop.hpp"
#include "sender/data_stream.hpp"
#include "sender/scout.hpp"
#include "sender/stream_tuner.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

namespace sluice {

class StreamSet {
public:
    struct Shared { // by all streams; borrowed, and outlives them
        StreamHost& host;
        WorkQueue& queue;
        InFlight& in_flight;
        StreamTotals& totals;
        const FoundTotals& found; // what there is to send, as far as it is known
    };
    struct Callbacks {
        // What has been done since the beginning, in any unit: what the number is chosen by.
        std::function<std::uint64_t()> work_done;
        std::function<void(const std::string&)> detail; // for -v
    };

    // `streams`: how many; none: as many as pay on a path with that round trip.
    StreamSet(Loop& loop, StreamSettings settings, std::optional<std::uint16_t> streams,
              std::chrono::microseconds round_trip, Shared shared, Callbacks callbacks);
    ~StreamSet(); // as for DataStream, and those that wait for the token end

    // Some connect, before the receiver has answered. An Error: there is none, because no thread
    // could be started. Fewer than wanted are no error.
    [[nodiscard]] Status start();
    // They join the session and begin.
    void welcome(const proto::Token& token);
    // Everything has been sent: no more are added.
    void finish() noexcept { timer_.stop(); }
    [[nodiscard]] std::size_t size() const noexcept { return streams_.size(); }

private:
    [[nodiscard]] Status grow(unsigned wanted);
    void look();

    SessionToken token_;
    StreamSettings settings_;
    const bool fixed_; // not: as many as pay
    const std::chrono::microseconds round_trip_;
    const Shared shared_;
    const Callbacks callbacks_;
    StreamTuner tuner_;
    const unsigned first_; // how many there are at first
    Timer timer_;
    std::vector<std::unique_ptr<DataStream>> streams_; // last: their threads use all of the above
};

} // namespace sluice
