#include "sender/backoff.hpp"

#include <algorithm>

namespace sluice {

std::chrono::milliseconds Backoff::next() {
    std::uniform_real_distribution<double> factor(0.5, 1.5);
    const std::chrono::duration<double, std::milli> delay = delay_ * factor(random_);
    delay_ = std::min(delay_ * 2, kLongest);
    return std::chrono::duration_cast<std::chrono::milliseconds>(delay);
}

} // namespace sluice
