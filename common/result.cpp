#include "common/result.hpp"

#include <array>
#include <cstring>

namespace sluice {

Error system_error(ErrorKind kind, std::string what, int number) {
    // Not strerror(3), whose buffer every thread shares; this is the GNU strerror_r(3).
    std::array<char, 128> buffer{};
    what += ": ";
    what += ::strerror_r(number, buffer.data(), buffer.size());
    return {kind, std::move(what), number};
}

} // namespace sluice
