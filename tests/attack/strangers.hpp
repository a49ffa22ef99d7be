// Connections that take room and say nothing, or say what they have to say one byte at a time. One
// poll(2) for all of them. Not thread-safe.
#pragma once

#include "common/unique_fd.hpp"
#include "proto/messages.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <poll.h>
#include <vector>

namespace sluice::attack {

class Strangers {
public:
    struct Plan {
        std::uint16_t port = 0; // on 127.0.0.1
        std::size_t idle = 0;
        std::size_t tricklers = 0;
        bool come_back = false; // whoever is sent away connects anew
    };
    struct Counts {
        std::uint64_t idle_opened = 0;
        std::uint64_t idle_gone = 0; // closed by the receiver
        std::uint64_t tricklers_opened = 0;
        std::uint64_t tricklers_gone = 0;
        std::uint64_t trickled_bytes = 0;
        std::uint64_t refused = 0; // could not connect
    };

    explicit Strangers(const Plan& plan);

    // For about so long: opens what is not open, sees who is gone, lets each trickler say one byte.
    void step(std::chrono::milliseconds time);
    // Whether all have been opened at least once.
    [[nodiscard]] bool complete() const noexcept { return next_ == strangers_.size(); }
    // Whether none is connected now.
    [[nodiscard]] bool all_gone() const noexcept {
        return counts_.idle_gone == counts_.idle_opened &&
               counts_.tricklers_gone == counts_.tricklers_opened;
    }
    [[nodiscard]] const Counts& counts() const noexcept { return counts_; }

private:
    struct Stranger {
        UniqueFd socket;
        bool trickles = false;
        std::size_t said = 0;
    };

    void open_some();
    void trickle();
    void look(Stranger& stranger, short events);
    [[nodiscard]] bool connect(Stranger& stranger);

    const Plan plan_;
    proto::Bytes greeting_; // that a trickler never comes to the end of
    std::vector<Stranger> strangers_;
    std::vector<pollfd> polled_;
    std::size_t next_ = 0; // to be opened for the first time
    Counts counts_;
};

} // namespace sluice::attack
