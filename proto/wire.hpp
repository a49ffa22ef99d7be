// Checked little-endian reading and writing of message fields. Private to proto/: nothing outside
// includes this. Pure, like messages.hpp; not thread-safe where an object is shared.
#pragma once

#include "proto/fault.hpp"
#include "proto/limits.hpp"
#include "proto/messages.hpp"

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace sluice::proto::wire {

inline constexpr std::uint32_t kNanosecondsPerSecond = 1'000'000'000;
inline constexpr std::uint32_t kModeBits = 07777;

// Byte by byte, so that neither alignment nor the machine's byte order matters; compilers turn
// each into one load or store.
template <std::unsigned_integral T>
void store_le(std::byte* at, T value) noexcept {
    for (std::size_t i = 0; i < sizeof(T); ++i)
        at[i] = static_cast<std::byte>((std::uint64_t{value} >> (8 * i)) & 0xffU);
}

template <std::unsigned_integral T>
[[nodiscard]] T load_le(const std::byte* at) noexcept {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < sizeof(T); ++i)
        value |= std::to_integer<std::uint64_t>(at[i]) << (8 * i);
    return static_cast<T>(value);
}

[[nodiscard]] inline std::string_view as_text(ByteView bytes) noexcept {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

[[nodiscard]] inline ByteView as_byte_view(std::string_view text) noexcept {
    return std::as_bytes(std::span(text.data(), text.size()));
}

// Appends one frame to `out`: the constructor writes the header, finish() fills in the length.
class FrameWriter {
public:
    FrameWriter(FrameType type, Bytes& out);

    void u8(std::uint8_t value) { put(value); }
    void u16(std::uint16_t value) { put(value); }
    void u32(std::uint32_t value) { put(value); }
    void u64(std::uint64_t value) { put(value); }
    void i32(std::int32_t value) { put(static_cast<std::uint32_t>(value)); }
    void i64(std::int64_t value) { put(static_cast<std::uint64_t>(value)); }
    void bytes(ByteView value);
    void timestamp(const Timestamp& value);

    // A name or path, with its length before it.
    void path(std::string_view value, std::size_t max_bytes = kMaxPathBytes);
    // Words for people: cut to kMaxTextBytes, not inside a UTF-8 sequence.
    void text(std::string_view value);

    // `bytes_elsewhere` of the body follow from another place than `out`; then the frame is yet to
    // be sealed.
    void finish(std::size_t bytes_elsewhere = 0);

private:
    template <std::unsigned_integral T>
    void put(T value) {
        store_le(grow(sizeof(T)), value);
    }

    [[nodiscard]] std::byte* grow(std::size_t count);
    void string(std::string_view value);

    Bytes& out_;
    std::size_t start_;
    [[maybe_unused]] FrameType type_; // for the assertion in finish()
};

// Takes a body apart. The first fault sticks, and from then on every field reads as zero or
// empty: a decoder reads all its fields, then asks finish() once.
class BodyReader {
public:
    explicit BodyReader(ByteView body) noexcept : rest_(body) {}

    [[nodiscard]] std::uint8_t u8() noexcept { return get<std::uint8_t>(); }
    [[nodiscard]] std::uint16_t u16() noexcept { return get<std::uint16_t>(); }
    [[nodiscard]] std::uint32_t u32() noexcept { return get<std::uint32_t>(); }
    [[nodiscard]] std::uint64_t u64() noexcept { return get<std::uint64_t>(); }
    [[nodiscard]] std::int32_t i32() noexcept { return static_cast<std::int32_t>(u32()); }
    [[nodiscard]] std::int64_t i64() noexcept { return static_cast<std::int64_t>(u64()); }

    [[nodiscard]] ByteView bytes(std::size_t count) noexcept;
    // Everything that is left.
    [[nodiscard]] ByteView rest() noexcept { return bytes(rest_.size()); }
    [[nodiscard]] std::size_t remaining() const noexcept { return rest_.size(); }

    [[nodiscard]] Token token() noexcept;
    [[nodiscard]] Digest digest() noexcept;
    [[nodiscard]] Timestamp timestamp() noexcept;
    [[nodiscard]] std::uint32_t mode() noexcept;

    // A string of at most `max_bytes`; a longer one is `too_long`.
    [[nodiscard]] std::string_view string(std::size_t max_bytes, Fault too_long) noexcept;
    [[nodiscard]] std::string_view text() noexcept;
    // A string that check_path accepts.
    [[nodiscard]] std::string_view path() noexcept;
    // The same, or empty.
    [[nodiscard]] std::string_view path_or_empty() noexcept;

    // A count in `least`..`most` of elements that take at least `element_bytes` each: one that the
    // rest of the body cannot hold is refused here, before a decoder takes memory for it.
    [[nodiscard]] std::size_t count(std::size_t least, std::size_t most,
                                    std::size_t element_bytes) noexcept;

    void require(bool holds, Fault otherwise) noexcept {
        if (!holds)
            fail(otherwise);
    }
    void fail(Fault fault) noexcept;
    [[nodiscard]] bool ok() const noexcept { return fault_ == Fault::none; }

    // The verdict on the whole body, which must have been read to its end.
    [[nodiscard]] Fault finish() const noexcept;

private:
    template <std::unsigned_integral T>
    [[nodiscard]] T get() noexcept {
        const ByteView field = bytes(sizeof(T));
        return field.size() == sizeof(T) ? load_le<T>(field.data()) : T{0};
    }

    ByteView rest_;
    Fault fault_ = Fault::none;
};

} // namespace sluice::proto::wire
