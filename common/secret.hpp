// 256 secret bits, which are wiped when they are no longer needed. A value: copies are wiped, too.
#pragma once

#include <array>
#include <cstddef>
#include <span>

namespace sluice {

class Secret {
public:
    static constexpr std::size_t kBytes = 32;

    Secret() noexcept = default; // all zero
    explicit Secret(std::span<const std::byte, kBytes> bytes) noexcept;
    Secret(const Secret&) noexcept = default;
    Secret& operator=(const Secret&) noexcept = default;
    ~Secret(); // wipes (OPENSSL_cleanse(3))

    [[nodiscard]] std::span<const std::byte, kBytes> bytes() const noexcept { return bytes_; }
    // For filling it.
    [[nodiscard]] std::span<std::byte, kBytes> bytes() noexcept { return bytes_; }

private:
    std::array<std::byte, kBytes> bytes_{};
};

} // namespace sluice
