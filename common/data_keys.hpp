// The keyed codes of a session whose data travel in clear (PROTOCOL.md, "Signed data"): where their
// keys come from, and which nonce is for which message.
//
// Objects belong to one thread at a time.
#pragma once

#include "common/digest.hpp"
#include "common/mac.hpp"
#include "common/result.hpp"
#include "common/secret.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>

namespace sluice {

class TlsConnection; // common/tls.hpp

// Of one session. Both sides have the same, from the TLS of their control connection.
struct DataKeys {
    Secret frames;  // of data connections, from the sender to the receiver
    Secret payload; // of raw extents

    // Labels of the exporter (RFC 8446, section 7.5). Unregistered ones begin like that (RFC 5705,
    // section 4).
    static constexpr const char* kFramesLabel = "EXPERIMENTAL-sluice-data-frames";
    static constexpr const char* kPayloadLabel = "EXPERIMENTAL-sluice-data-payload";

    [[nodiscard]] static Result<DataKeys> derive(const TlsConnection& control);
};

// The codes of the frames of one data connection, in the order in which they travel: one object,
// one connection, one direction.
class FrameMac {
public:
    // No two connections of a session have the same number, not even one after the other.
    FrameMac(const Secret& frames_key, std::uint32_t connection)
        : mac_(frames_key), connection_(connection) {}

    // Of the next frame: `head` is what its code stands behind, `body` what follows the code.
    [[nodiscard]] MacTag next(std::span<const std::byte> head,
                              std::span<const std::byte> body) noexcept;

    // Connection and counter, in little-endian order.
    [[nodiscard]] static MacNonce nonce(std::uint32_t connection, std::uint64_t counter) noexcept;

private:
    Mac mac_;
    const std::uint32_t connection_;
    std::uint64_t counter_ = 0;
};

// A FrameMac as a function (proto::FrameCode); copies share it.
using FrameCodes =
    std::function<MacTag(std::span<const std::byte> head, std::span<const std::byte> body)>;
[[nodiscard]] FrameCodes frame_codes(const Secret& frames_key, std::uint32_t connection);

// Digests of the payload of raw extents: XXH3-128, or, with a key, codes.
class PayloadDigester final : public ByteSink {
public:
    // Without a key: for XXH3-128.
    explicit PayloadDigester(const std::optional<Secret>& payload_key);

    // Another payload. The sender must not do this twice for one id with different bytes.
    void begin(std::uint64_t extent_id) noexcept;
    void add(std::span<const std::byte> bytes) noexcept override;
    [[nodiscard]] Digest finish() noexcept;

    // Four zero bytes, and the id in little-endian order.
    [[nodiscard]] static MacNonce nonce(std::uint64_t extent_id) noexcept;

private:
    std::optional<Mac> mac_;
    std::optional<Digester> digester_; // one of the two
};

// The digest of an extent whose payload is [offset, offset + length) of the file, as
// digest_range().
[[nodiscard]] RangeDigest payload_digest(const std::optional<Secret>& payload_key,
                                         std::uint64_t extent_id, int file, std::uint64_t offset,
                                         std::uint64_t length);

} // namespace sluice
