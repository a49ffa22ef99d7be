// Cuts a byte stream into frames.
//
// The reader hands out the memory that the next bytes belong into and never asks for a byte beyond
// the current frame. So whoever owns the socket reads exactly what the reader wants, and a payload
// that follows a frame is still in the socket, untouched, for splice(2). One reader per connection;
// not thread-safe; no I/O of its own.
//
// Memory for a large body is taken only while such a frame is being read, and readers of one thread
// hand it on to each other: many connections at rest take none.
//
//     while (!reader.frame_ready()) {
//         auto space = reader.space();
//         ssize_t got = recv(fd, space.data(), space.size(), 0);
//         if (Fault fault = reader.commit(got); fault != Fault::none) ...
//     }
//     handle(reader.type(), reader.body());
//     reader.next();
#pragma once

#include "proto/messages.hpp"

#include <algorithm>
#include <array>
#include <memory>
#include <span>
#include <utility>

namespace sluice::proto {

class FrameReader {
public:
    // Reads the frames of a connection of this role. Where `expect_preamble`, the stream begins
    // with one, and `role` is replaced by what it says.
    FrameReader(Role role, bool expect_preamble);

    // From the next frame on they have codes in place of digests. What is wrong with a header is
    // Fault::corrupted then: anybody may have made it.
    void expect_codes(FrameCode code) noexcept { code_ = std::move(code); }
    // A Join says what it has to be checked with: it is handed out unchecked, and whoever gets it
    // asks frame_is_intact() or frame_is_signed(), once it is known which.
    void leave_joins_unchecked() noexcept { checks_joins_ = false; }
    [[nodiscard]] bool frame_is_intact() const noexcept;
    [[nodiscard]] bool frame_is_signed(const FrameCode& code) const;

    // Where the next bytes go; never empty unless frame_ready().
    [[nodiscard]] std::span<std::byte> space() noexcept;

    // `count` bytes (at most space().size()) were written to space(). A frame header is checked as
    // soon as it is complete: its check, type, role, length against the limit of the type; only
    // then is memory for the body taken. A complete frame must match its digest (Fault::corrupted).
    // After a fault the reader is of no further use.
    [[nodiscard]] Fault commit(std::size_t count);

    [[nodiscard]] bool preamble_seen() const noexcept { return state_ != State::preamble; }
    [[nodiscard]] Role role() const noexcept { return role_; }

    // True between the commit that completed a frame and next().
    [[nodiscard]] bool frame_ready() const noexcept { return state_ == State::ready; }
    [[nodiscard]] FrameType type() const noexcept { return type_; }
    [[nodiscard]] ByteView body() const noexcept;
    // Whether it holds memory for a body that is longer than most.
    [[nodiscard]] bool has_large_body() const noexcept { return large_body_ != nullptr; }
    // Forgets the current frame and waits for the next.
    void next() noexcept;

    // Whether the stream may end here: not inside a preamble or a frame.
    [[nodiscard]] bool at_boundary() const noexcept {
        return state_ == State::header && filled_ == 0;
    }

private:
    enum class State : std::uint8_t { preamble, header, body, ready };
    // Enough for whatever is not many things in one frame.
    static constexpr std::size_t kSmallBodyBytes = 512;

    [[nodiscard]] std::span<const std::byte> body_memory() const noexcept {
        return {large_body_ ? large_body_.get() : small_body_.data(), body_length_};
    }
    [[nodiscard]] Fault header_complete();
    [[nodiscard]] Fault check_header();
    [[nodiscard]] Fault body_complete();

    State state_;
    Role role_;
    FrameType type_ = FrameType::error;
    std::array<std::byte, std::max(kPreambleBytes, kFrameHeaderBytes)> head_{};
    std::array<std::byte, kSmallBodyBytes> small_body_{};
    std::unique_ptr<std::byte[]> large_body_; // for any body; null where it is not needed
    std::size_t body_length_ = 0;
    FrameCode code_; // empty: frames have digests
    bool checks_joins_ = true;
    std::size_t filled_ = 0; // of the current preamble, header or body
};

} // namespace sluice::proto
