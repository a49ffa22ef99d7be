// Where to push to, as typed: HOST:PATH, [v6]:PATH or sluice://HOST[:PORT]/PATH.
#pragma once

#include "common/result.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace sluice {

struct Destination {
    std::string host;                  // name or address, without brackets
    std::optional<std::uint16_t> port; // only where the text names one
    std::string path; // below the receiver's directory; empty: the directory itself
};

// The error is of kind usage, one line, names the text and what would be right. An absolute PATH
// ("HOST:/x") is refused: everything lands below the receiver's own directory; so is "..". "." and
// doubled slashes are taken out of PATH ("./a//b" is "a/b", "." is the directory itself); a slash
// at the end stays, as it says that PATH is a directory. In the URL form the path is
// percent-decoded (RFC 3986). A second colon behind HOST and "user@" are refused: they mean
// something to rsync and scp that does not exist here ("HOST:./:x" names a file ":x").
[[nodiscard]] Result<Destination> parse_destination(std::string_view text);

} // namespace sluice
