#include "receiver/unpack_pace.hpp"

#include <algorithm>

namespace sluice {

UnpackPace::Clock::time_point UnpackPace::book(std::size_t packed_bytes, std::size_t unpacked_bytes,
                                               Clock::time_point now) {
    if (unpacked_bytes / kOrdinaryRatio <= packed_bytes) {
        return now;
    }
    // A block has 128 KiB at most, so this does not overflow.
    const std::chrono::nanoseconds cost(std::uint64_t{unpacked_bytes} * std::nano::den / kRate);
    const std::scoped_lock lock(mutex_);
    free_at_ = std::max(free_at_, now - kCredit) + cost;
    return std::max(free_at_, now);
}

} // namespace sluice
