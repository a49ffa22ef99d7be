// A source that travels as extents: the open file, and how much of it has arrived.
//
// Shared by whoever still has something to do with it (the stream that sends it, extents that are
// not acknowledged, digests being computed) and closed when the last of them lets go. Immutable
// and thread-safe, but for acknowledged(), which belongs to the thread that handles answers.
#pragma once

#include "proto/messages.hpp"
#include "sender/source_file.hpp"
#include "sender/walk.hpp"

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

namespace sluice {

class LargeSource {
public:
    // `file` is what was opened for `entry`; not empty. What the receiver has already (see
    // SourceEntry::present) need not be sent if it is still the file that was offered. A last
    // piece is sent in any case: without an extent the receiver would not know the file's id.
    LargeSource(SourceEntry entry, SourceFile file, std::uint64_t id);

    [[nodiscard]] const SourceEntry& entry() const noexcept { return entry_; }
    [[nodiscard]] const SourceFile& file() const noexcept { return file_; }
    [[nodiscard]] std::uint64_t id() const noexcept { return id_; }

    // The first run of bytes in [offset, end) that has to be sent; of length 0 where there is none.
    [[nodiscard]] proto::Range missing(std::uint64_t offset, std::uint64_t end) const;

    // What the receiver has already and is not sent. Before the first acknowledged().
    [[nodiscard]] std::uint64_t present_bytes() const noexcept {
        return file_.size() - outstanding_;
    }

    // Another `bytes` are stored and verified. True: that was all.
    [[nodiscard]] bool acknowledged(std::uint64_t bytes) noexcept;

    // It has either been completed or withdrawn in the end. True for the one who decides that, and
    // who tells everybody.
    [[nodiscard]] bool complete() noexcept { return decide(State::completed); }
    [[nodiscard]] bool withdraw() noexcept { return decide(State::withdrawn); }
    [[nodiscard]] bool withdrawn() const noexcept { return state_ == State::withdrawn; }

private:
    enum class State : unsigned char { under_way, completed, withdrawn };

    [[nodiscard]] bool decide(State state) noexcept {
        State expected = State::under_way;
        return state_.compare_exchange_strong(expected, state);
    }
    void take_over(std::vector<proto::Range> present);

    SourceEntry entry_;
    const SourceFile file_;
    const std::uint64_t id_;
    std::vector<proto::Range> present_; // sorted, without overlaps, not all of the file
    std::uint64_t outstanding_;         // bytes to be sent that are not acknowledged
    std::atomic<State> state_{State::under_way};
};

// A range of a large source that has to be sent.
struct Piece {
    std::shared_ptr<LargeSource> source;
    std::uint64_t offset = 0;
    std::uint64_t length = 0;
    // How often it arrived damaged. From then on it is sent from a buffer, as one extent.
    unsigned wrong_tries = 0;
    // How often the connection was lost that carried it. It is sent in smaller extents then.
    unsigned times_lost = 0;
};

} // namespace sluice
