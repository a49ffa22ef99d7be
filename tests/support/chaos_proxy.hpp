// A TCP proxy on loopback that damages what it forwards, at exact places: what a bad network does,
// or a machine in the middle.
//
// A thread of its own does the work. The plan is asked on that thread, once for each connection in
// the order of their arrival. Everything else may be called from any thread. The destructor closes
// whatever is open, with resets.
#pragma once

#include "common/unique_fd.hpp"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <list>
#include <string>
#include <thread>
#include <vector>

namespace sluice::test {

enum class FaultKind : unsigned char {
    delay,     // holds everything of this direction back for `delay`
    flip,      // inverts bit `bit` of the byte at the offset
    truncate,  // ends both directions in an orderly way
    reset,     // ends the connection with RST to both sides
    stall,     // forwards nothing more in either direction and keeps both sides open
    half_open, // closes the side of the client and keeps that of the server open
};
enum class Way : unsigned char { to_server, to_client };

// Happens once `offset` bytes of that direction have been forwarded.
struct ProxyFault {
    FaultKind kind;
    Way way = Way::to_server;
    std::uint64_t offset = 0;
    std::chrono::milliseconds delay{};
    unsigned bit = 0;
};

struct ConnectionPlan {
    std::vector<ProxyFault> faults;
    // Bytes to forward at a time, each a segment of its own; 0: as many as come.
    std::size_t piece = 0;
};
// "reset to server at 1234, pieces of 100", for messages.
[[nodiscard]] std::string describe(const ConnectionPlan& plan);
// The plan for the n-th connection, counted from 0.
using ChaosPlan = std::function<ConnectionPlan(unsigned index)>;

// How likely each fault is for a connection, from 0 to 1.
struct Probabilities {
    double delay = 0;
    double flip = 0;
    double truncate = 0;
    double reset = 0;
    double stall = 0;
    double half_open = 0;
    double split = 0;
    // Offsets are spread evenly over the orders of magnitude up to this.
    std::uint64_t span = std::uint64_t{1} << 20;
    std::chrono::milliseconds longest_delay{20};
    unsigned clean_after = ~0U; // connections; the ones that follow are left alone
};
// The same for the same seed, whatever the timing.
[[nodiscard]] ChaosPlan random_plan(std::uint64_t seed, Probabilities probabilities);

// What has been done so far.
struct ChaosCounts {
    std::atomic<unsigned> connections{0};
    std::atomic<unsigned> refused{0}; // by the server, passed on as a reset
    std::atomic<unsigned> delays{0};
    std::atomic<unsigned> flips{0};
    std::atomic<unsigned> truncations{0};
    std::atomic<unsigned> resets{0};
    std::atomic<unsigned> stalls{0};
    std::atomic<unsigned> half_opens{0};
    std::atomic<unsigned> splits{0};         // connections
    std::atomic<std::uint64_t> to_server{0}; // bytes
    std::atomic<std::uint64_t> to_client{0};

    // Those that end a connection or change what arrives.
    [[nodiscard]] unsigned harm() const {
        return flips + truncations + resets + stalls + half_opens;
    }
};

class ChaosProxy {
public:
    // Forwards to `target_port` on loopback.
    ChaosProxy(std::uint16_t target_port, ChaosPlan plan);
    ~ChaosProxy();
    ChaosProxy(const ChaosProxy&) = delete;
    ChaosProxy& operator=(const ChaosProxy&) = delete;

    [[nodiscard]] std::string port() const { return std::to_string(port_); }
    [[nodiscard]] const ChaosCounts& counts() const noexcept { return counts_; }

    // For connections that come from now on.
    void set_target(std::uint16_t port) noexcept { target_ = port; }
    // Forwards nothing and accepts nothing until it is called with false: the cable is out. Returns
    // once that is so.
    void freeze(bool frozen);
    // Resets every connection that there is now, and returns once that is done.
    void reset_all();

private:
    class Connection;

    void work();
    void accept_one();
    // One poll, and whatever it brought. False: the end.
    bool turn();
    void wake() const;

    const ChaosPlan plan_;
    UniqueFd listener_;
    UniqueFd wake_;
    std::uint16_t port_ = 0;
    std::atomic<std::uint16_t> target_;
    std::atomic<bool> frozen_{false};
    std::atomic<bool> seen_frozen_{false}; // what the thread goes by
    std::atomic<bool> ending_{false};
    std::atomic<bool> reset_all_{false};
    ChaosCounts counts_;
    std::list<Connection> connections_; // of the thread
    std::thread thread_;
};

} // namespace sluice::test
