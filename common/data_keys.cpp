#include "common/data_keys.hpp"

#include "common/tls.hpp"

#include <memory>
#include <utility>

namespace sluice {

namespace {

void store_le(std::span<std::byte> out, std::uint64_t value) noexcept {
    for (std::byte& byte : out) {
        byte = static_cast<std::byte>(value);
        value >>= 8U;
    }
}

constexpr std::size_t kConnectionBytes = sizeof(std::uint32_t);

} // namespace

Result<DataKeys> DataKeys::derive(const TlsConnection& control) {
    DataKeys keys;
    if (Status exported = control.export_secret(kFramesLabel, keys.frames); !exported) {
        return std::move(exported).error();
    }
    if (Status exported = control.export_secret(kPayloadLabel, keys.payload); !exported) {
        return std::move(exported).error();
    }
    return keys;
}

MacNonce FrameMac::nonce(std::uint32_t connection, std::uint64_t counter) noexcept {
    MacNonce nonce{};
    store_le(std::span(nonce).first(kConnectionBytes), connection);
    store_le(std::span(nonce).subspan(kConnectionBytes), counter);
    return nonce;
}

MacTag FrameMac::next(std::span<const std::byte> head, std::span<const std::byte> body) noexcept {
    mac_.begin(nonce(connection_, counter_++));
    mac_.add(head);
    mac_.add(body);
    return mac_.finish();
}

FrameCodes frame_codes(const Secret& frames_key, std::uint32_t connection) {
    return [mac = std::make_shared<FrameMac>(frames_key, connection)](
               std::span<const std::byte> head, std::span<const std::byte> body) {
        return mac->next(head, body);
    };
}

PayloadDigester::PayloadDigester(const std::optional<Secret>& payload_key) {
    if (payload_key) {
        mac_.emplace(*payload_key);
    } else {
        digester_.emplace();
    }
}

void PayloadDigester::begin(std::uint64_t extent_id) noexcept {
    if (mac_) {
        mac_->begin(nonce(extent_id));
    } else {
        digester_->reset();
    }
}

void PayloadDigester::add(std::span<const std::byte> bytes) noexcept {
    if (mac_) {
        mac_->add(bytes);
    } else {
        digester_->add(bytes);
    }
}

Digest PayloadDigester::finish() noexcept {
    return mac_ ? mac_->finish() : digester_->finish();
}

MacNonce PayloadDigester::nonce(std::uint64_t extent_id) noexcept {
    MacNonce nonce{};
    store_le(std::span(nonce).subspan(kConnectionBytes), extent_id);
    return nonce;
}

RangeDigest payload_digest(const std::optional<Secret>& payload_key, std::uint64_t extent_id,
                           int file, std::uint64_t offset, std::uint64_t length) {
    if (!payload_key) {
        return digest_range(file, offset, length);
    }
    Mac mac(*payload_key);
    mac.begin(PayloadDigester::nonce(extent_id));
    RangeDigest range = read_range(file, offset, length, mac);
    range.digest = mac.finish();
    return range;
}

} // namespace sluice
