// Who waits at the door of a receiver, and who has to leave when there is no room for one more.
//
// To turn newcomers away would let anybody who opens enough connections and says nothing keep all
// others out. So somebody leaves who waits already: one of the network that has most of them there,
// so that a network harms itself first, and of these one drawn from the older half. The younger
// half is safe, so whoever comes and says at once what it wants gets in however many wait; and
// whoever takes a moment longer still has a chance where newcomers come faster than that (to send
// away the oldest leaves none then; to draw from all of them endangers everybody at any rate). A
// guest who has been recognised makes no room for strangers; but such guests have half of the room
// at most, and make room for each other beyond that, so that no holder of a key has all of it.
//
// Pure bookkeeping. Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

namespace sluice {

class GuestList {
public:
    using Id = std::uint64_t; // in the order of arrival
    struct Limits {
        std::size_t guests = 0;      // at a time; at least 1
        std::size_t per_network = 0; // of these; at least 1
        std::size_t large = 0;       // guests that take much memory; at least 1
    };
    // Draws a number below `bound`, which is not 0.
    using Draw = std::function<std::size_t(std::size_t bound)>;

    GuestList(const Limits& limits, Draw draw) : limits_(limits), draw_(std::move(draw)) {}

    // One more comes. Nothing: it has to stay outside, for those of its network, or all guests, are
    // such as need not leave. `leaves`, if anybody, has to.
    struct Entered {
        Id id = 0;
        std::optional<Id> leaves = std::nullopt;
    };
    [[nodiscard]] std::optional<Entered> enter(const std::string& network);
    // The guest takes much memory from now on, and who is returned has to leave for that.
    [[nodiscard]] std::optional<Id> grow(Id id);
    // It is no stranger any more. Of such guests there may be half as many as there may be guests:
    // where there are more, the oldest of them is returned and has to leave.
    [[nodiscard]] std::optional<Id> recognise(Id id);
    void leave(Id id);
    // Who has to leave where there is no room of another kind (descriptors). Nothing: no stranger
    // is there.
    [[nodiscard]] std::optional<Id> one_stranger() const;

    [[nodiscard]] std::size_t size() const noexcept { return guests_.size(); }

private:
    struct Guest {
        std::string network;
        bool recognised = false;
        bool large = false;
    };
    struct Network {
        std::size_t guests = 0;
        std::vector<Id> strangers; // the oldest first
    };

    [[nodiscard]] std::optional<Id> choose(const std::vector<Id>& candidates) const;

    const Limits limits_;
    const Draw draw_;
    Id last_id_ = 0;
    std::unordered_map<Id, Guest> guests_;
    std::unordered_map<std::string, Network> networks_; // none without guests
    std::vector<Id> large_;                             // in the order in which they grew
    std::vector<Id> recognised_;                        // in the order in which they were
};

} // namespace sluice
