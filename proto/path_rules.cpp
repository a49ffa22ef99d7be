#include "proto/path_rules.hpp"

#include "proto/limits.hpp"

namespace sluice::proto {

namespace {

Fault check_component(std::string_view component) noexcept {
    if (component.empty())
        return Fault::path_component_empty;
    if (component == "." || component == "..")
        return Fault::path_component_dot;
    if (component.size() > kMaxNameBytes)
        return Fault::path_component_too_long;
    return Fault::none;
}

} // namespace

Fault check_path(std::string_view path) noexcept {
    if (path.empty())
        return Fault::path_empty;
    if (path.size() > kMaxPathBytes)
        return Fault::path_too_long;
    // Before anything else looks at it: a later reader that takes the path as a C string would
    // see a different one than the checks below.
    if (path.find('\0') != std::string_view::npos)
        return Fault::path_has_nul;
    if (path.front() == '/')
        return Fault::path_absolute;
    if (path.substr(0, path.find('/')) == kReservedName)
        return Fault::path_reserved;

    for (std::string_view rest = path;;) {
        const std::size_t slash = rest.find('/');
        if (const Fault fault = check_component(rest.substr(0, slash)); fault != Fault::none)
            return fault;
        if (slash == std::string_view::npos)
            return Fault::none;
        rest.remove_prefix(slash + 1);
    }
}

} // namespace sluice::proto
