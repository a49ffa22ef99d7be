#include "common/ways.hpp"

namespace sluice {

Ways sending_ways(Security level) noexcept {
    return level == Security::tls ? Ways{"sendfile+ktls", "copy+tls"} : Ways{"sendfile", "copied"};
}

Ways receiving_ways(Security level) noexcept {
    return level == Security::tls ? Ways{"splice+ktls", "copy+tls"} : Ways{"splice", "copied"};
}

std::optional<std::string_view> main_way(const PathBytes& bytes, const Ways& ways) noexcept {
    if (bytes.zero_copy == 0 && bytes.copied == 0) {
        return std::nullopt;
    }
    return bytes.zero_copy >= bytes.copied ? ways.zero_copy : ways.copied;
}

} // namespace sluice
