// Where a session's paths lead: the destination that the sender asked for, looked up below the
// receiver's directory.
#pragma once

#include "common/result.hpp"
#include "common/unique_fd.hpp"
#include "proto/messages.hpp"
#include "receiver/work_area.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace sluice {

struct Target {
    std::string path;      // of the destination directory below the root; empty: the root itself
    UniqueFd directory;    // that directory; empty where it does not exist yet
    std::string rename_to; // a single file's new name; empty: as on the wire

    [[nodiscard]] bool exists() const noexcept { return static_cast<bool>(directory); }
    // The name under which a path of the wire is stored, relative to the destination directory.
    [[nodiscard]] std::string local_path(std::string_view wire_path) const {
        return std::string(rename_to.empty() ? wire_path : std::string_view(rename_to));
    }
};

// Changes nothing on disk. Kinds: refused (a symbolic link or another file system on the way, a
// file where a directory is needed), file_io.
[[nodiscard]] Result<Target> resolve_target(const ReceiverRoot& root, const proto::Open& request);

// Indices of those roots of the request under which nothing exists yet.
[[nodiscard]] std::vector<std::uint16_t> find_fresh_roots(const Target& target,
                                                          const proto::Open& request);

} // namespace sluice
