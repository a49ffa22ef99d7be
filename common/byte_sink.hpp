// Takes bytes in pieces: what a digest or a code is computed by.
#pragma once

#include <cstddef>
#include <span>

namespace sluice {

class ByteSink {
public:
    ByteSink() = default;
    virtual ~ByteSink() = default;
    ByteSink(const ByteSink&) = delete;
    ByteSink& operator=(const ByteSink&) = delete;

    virtual void add(std::span<const std::byte> bytes) noexcept = 0;
};

} // namespace sluice
