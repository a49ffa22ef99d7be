#include "proto/frame_reader.hpp"

#include "proto/wire.hpp"

#include <cassert>
#include <memory>
#include <utility>

namespace sluice::proto {

namespace {

// A batch is the largest of all.
constexpr std::size_t kLargeBodyBytes = kBatchHeaderBytes - kFrameHeaderBytes + kMaxBatchBytes;

// What the last reader of this thread that had a large body has given back. Its pages are warm, and
// in use they are one reader's only.
std::unique_ptr<std::byte[]>& spare_body() noexcept {
    thread_local std::unique_ptr<std::byte[]> spare;
    return spare;
}

std::unique_ptr<std::byte[]> take_large_body() {
    std::unique_ptr<std::byte[]> body = std::move(spare_body());
    // Not cleared: pages that nothing is written to take no memory.
    return body ? std::move(body) : std::make_unique_for_overwrite<std::byte[]>(kLargeBodyBytes);
}

} // namespace

FrameReader::FrameReader(Role role, bool expect_preamble)
    : state_(expect_preamble ? State::preamble : State::header), role_(role) {}

std::span<std::byte> FrameReader::space() noexcept {
    switch (state_) {
    case State::preamble: return std::span(head_).first(kPreambleBytes).subspan(filled_);
    case State::header: return std::span(head_).first(kFrameHeaderBytes).subspan(filled_);
    case State::body: {
        std::byte* const memory = large_body_ ? large_body_.get() : small_body_.data();
        return std::span(memory, body_length_).subspan(filled_);
    }
    case State::ready: break;
    }
    return {};
}

Fault FrameReader::commit(std::size_t count) {
    assert(count <= space().size());
    filled_ += count;
    switch (state_) {
    case State::preamble: {
        if (filled_ < kPreambleBytes)
            return Fault::none;
        Preamble preamble;
        if (const Fault fault = decode_preamble(std::span(head_).first<kPreambleBytes>(), preamble);
            fault != Fault::none)
            return fault;
        role_ = preamble.role;
        state_ = State::header;
        filled_ = 0;
        return Fault::none;
    }
    case State::header: return filled_ < kFrameHeaderBytes ? Fault::none : header_complete();
    case State::body: return filled_ < body_length_ ? Fault::none : body_complete();
    case State::ready: break;
    }
    return Fault::none;
}

// On a fault the state stays as it is, with nothing left to fill: space() is empty, and another
// commit(0) names the same fault.
Fault FrameReader::header_complete() {
    if (const Fault fault = check_header(); fault != Fault::none)
        return code_ ? Fault::corrupted : fault;
    filled_ = 0;
    assert(body_length_ <= kLargeBodyBytes);
    if (body_length_ > small_body_.size())
        large_body_ = take_large_body();
    state_ = State::body;
    return body_length_ == 0 ? body_complete() : Fault::none;
}

Fault FrameReader::check_header() {
    if (!header_is_intact(std::span(head_).first<kFrameHeaderBytes>()))
        return Fault::corrupted;
    const std::size_t length = wire::load_le<std::uint32_t>(head_.data());
    const auto type = FrameType{std::to_integer<std::uint8_t>(head_[4])};
    if (!allowed_on(type, Role::control) && !allowed_on(type, Role::data))
        return Fault::unknown_frame;
    if (!allowed_on(type, role_))
        return Fault::misplaced_frame;
    if (head_[5] != std::byte{0})
        return Fault::reserved_not_zero;
    if (length > max_body_bytes(type))
        return Fault::frame_too_long;
    type_ = type;
    body_length_ = length;
    return Fault::none;
}

Fault FrameReader::body_complete() {
    const bool checked = checks_joins_ || type_ != FrameType::join;
    if (checked && !(code_ ? frame_is_signed(code_) : frame_is_intact()))
        return Fault::corrupted;
    state_ = State::ready;
    return Fault::none;
}

bool FrameReader::frame_is_intact() const noexcept {
    return proto::frame_is_intact(std::span(head_).first<kFrameHeaderBytes>(), body_memory());
}

bool FrameReader::frame_is_signed(const FrameCode& code) const {
    return proto::frame_is_intact(std::span(head_).first<kFrameHeaderBytes>(), body_memory(), code);
}

ByteView FrameReader::body() const noexcept {
    assert(frame_ready());
    return body_memory();
}

void FrameReader::next() noexcept {
    assert(frame_ready());
    state_ = State::header;
    filled_ = 0;
    if (large_body_)
        spare_body() = std::move(large_body_);
}

} // namespace sluice::proto
