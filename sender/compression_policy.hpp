// Decides how file bytes travel for `-z auto`: as they are, or as zstd, and then at which level.
// Pure: no thread, no clock, no socket; measurements and the time come in. Belongs to one thread at
// a time.
//
// What is maximised is payload, the file bytes that get through per second:
//
//     raw      link                              link: bytes per second that the path takes
//     zstd     min(link * ratio, compressing)    compressing: file bytes per second of all threads
//
// link is what the peer's kernel acknowledged while the streams were waiting for their sockets.
// Where they were not, it is at least that. The ratio and the speed of a level are measured on the
// blocks that it made; of a level that has not been tried they follow from one that has, in the
// proportions of kRungs. Every 40th block is made at a level next to the current one, so that the
// neighbours are known before it is their turn. Among choices that are about equal the cheaper
// wins.
//
//     Raw --some level promises clearly more, by much or for long--> Trying
//     Trying --no more gets through than before--> Raw, and compression is thought of as so slow
//         (the receiver unpacks more slowly than this link brings, or reading is the bottleneck)
//     Trying --more gets through--> Zstd
//     Zstd --every now and then, seldom while the socket is the bottleneck--> Probing
//     Probing --raw brings at least as much--> Raw
//     Probing --raw brings less--> Zstd, and the next probe waits twice as long
//
// It begins with Raw: on a path that is faster than zstd nothing is ever compressed.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace sluice {

class CompressionPolicy {
public:
    using Clock = std::chrono::steady_clock;

    // `threads`: that compress at the same time.
    explicit CompressionPolicy(unsigned threads);

    // A block was compressed on one thread.
    struct Block {
        std::size_t raw_bytes = 0;
        std::size_t packed_bytes = 0; // raw_bytes where it does not get shorter
        Clock::duration time{0};
    };
    void block_made(int level, const Block& block);
    // The same block was compressed at another level, too, that is next to it.
    void pair_made(int level, const Block& block, int other_level, const Block& other);

    // What all streams together did within some time. Times of streams add up.
    struct Window {
        double wire_rate = 0;             // bytes per second that the peer's kernel has taken
        Clock::duration active{0};        // had something to send
        Clock::duration waited{0};        // of that: for the socket to take more
        Clock::duration starved{0};       // of that: for a block to be compressed
        Clock::duration round_trip{0};    // the shortest that was seen
        std::uint64_t payload = 0;        // file bytes that were handed to the sockets,
        std::uint64_t payload_packed = 0; // of these as zstd,
        std::uint64_t on_wire = 0;        // and what all of them were on the wire
    };
    // A window is over. May change every answer below.
    void window_over(const Window& window, Clock::time_point now);
    // How long the next one should be, at least.
    [[nodiscard]] Clock::duration window_length() const noexcept { return window_length_; }

    // The level, or none: as it is.
    [[nodiscard]] std::optional<int> level() const noexcept;
    // For the next block of what is compressed already, even if level() is none now.
    struct NextBlock {
        int level;
        std::optional<int> compare_with; // for pair_made()
    };
    [[nodiscard]] NextBlock next_block();
    // Raw is a probe only.
    [[nodiscard]] bool probing() const noexcept { return phase_ == Phase::probing; }
    // How long an extent may be so that the next decision is not far away, up to `longest`.
    [[nodiscard]] std::uint64_t extent_bytes(std::uint64_t longest);

    // Wire bytes per second; 0: not known.
    [[nodiscard]] double link() const noexcept { return link_; }

private:
    enum class Phase : unsigned char { raw, trying, zstd, probing };

    // A level, and what it makes of source code and documentation in blocks of 128 KiB (libzstd
    // 1.5.4, an idle core of a server of 2023). Where it begins; then it measures. Levels between
    // gain nothing over their neighbours, those above 15 less than a hundredth at a third of the
    // speed.
    struct Rung {
        int level;
        double speed; // bytes per second
        double ratio;
    };
    static constexpr std::array<Rung, 8> kRungs{{{-3, 680e6, 4.1},
                                                 {1, 580e6, 5.0},
                                                 {3, 520e6, 5.3},
                                                 {5, 240e6, 5.7},
                                                 {7, 140e6, 5.95},
                                                 {9, 100e6, 6.1},
                                                 {11, 32e6, 6.4},
                                                 {15, 13e6, 6.7}}};
    static constexpr std::size_t kFirstRung = 2; // level 3

    struct Expected {
        double cost = 0;  // seconds per byte on one thread
        double share = 0; // bytes on the wire per byte
    };

    [[nodiscard]] static std::optional<std::size_t> rung_of(int level);
    [[nodiscard]] Expected steps_between(std::size_t from, std::size_t to) const;
    void set_rung(std::size_t rung);
    [[nodiscard]] double predicted(std::size_t rung) const;
    [[nodiscard]] std::size_t best_rung() const;
    void raw_window(double rate, bool socket_full, Clock::time_point now);
    void end_probe(Clock::time_point now);
    void zstd_window(const Window& window, double rate, Clock::time_point now);
    [[nodiscard]] double probe_wait(bool socket_full) const;
    void climb();
    void enter(Phase phase);
    void back_to_raw(Clock::time_point now);

    const double threads_;
    double at_once_; // of these, as far as was seen: cores may be fewer, or have other work
    Phase phase_ = Phase::raw;
    std::size_t rung_ = kFirstRung;
    double cost_; // of the current level, as in Expected
    double share_;
    std::array<Expected, kRungs.size() - 1> steps_; // from each level to the next: factors
    std::uint64_t measured_blocks_ = 0;
    double link_ = 0;
    double raw_rate_ = 0;  // what raw brought when it was left
    double zstd_rate_ = 0; // payload that zstd brings now, or brought when it was left
    // Compression brings no more than this, whatever the model says: it was tried. 0: not known.
    double ceiling_ = 0;
    Clock::time_point ceiling_until_{};
    Clock::duration ceiling_kept_;
    Clock::time_point probed_at_{};
    std::optional<Clock::time_point> raw_since_; // or since the first window
    Clock::duration probe_interval_;
    bool socket_was_full_ = false; // lately, while it compressed
    unsigned windows_ = 0;         // since the phase began
    Clock::duration window_length_;
    std::uint64_t blocks_ = 0;
    unsigned first_extents_ = 0; // that were handed out before the link was known
};

} // namespace sluice
