// Files with keys: who may push. A sender's file has one key; a receiver's has one to a line:
//
//     # comment
//     sluice-key-HEX                               by itself; its name is "default"
//     NAME sluice-key-HEX [OPTION=VALUE...]
//
// HEX is 256 bits in 64 hexadecimal digits. The options are the rights of the key (KeyRights):
//
//     dir=SUB              everything goes to SUB below the receiver's directory, or below that
//     access=read          only dry runs
//     access=write         may not learn what is there: every file is sent, no dry runs
//     access=read-write    the default
//     max-bytes=SIZE       of content in one session (K, M, G, T)
//     max-files=N          files, directories and links in one session
//     max-sessions=N       at a time
//
// Words are separated by blanks; values hold none. Errors name FILE:LINE and never what the line
// says, but for the value of an option: it could be a key. Buffers that held text of keys are
// wiped. Thread-safe.
#pragma once

#include "common/access_key.hpp"
#include "common/result.hpp"

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <vector>

namespace sluice {

inline constexpr std::string_view kKeyPrefix = "sluice-key-";
inline constexpr std::string_view kDefaultKeyName = "default";
inline constexpr std::size_t kMaxKeyFileBytes = std::size_t{1} << 20;
inline constexpr std::size_t kMaxKeyLineBytes = 8192; // a path and then some
inline constexpr std::size_t kMaxKeys = 4096;         // in one file
// Letters, digits and . _ - @; shorter than a key that has lost its prefix, which no message shall
// show as a name.
inline constexpr std::size_t kMaxKeyNameBytes = 63;

struct KeyFileEntry {
    AccessKey key; // whether its directory is a good path is for the receiver to say
    std::size_t line = 0;
};

// `file` is for messages. Pure. At least one key; of kind usage otherwise.
[[nodiscard]] Result<std::vector<KeyFileEntry>> parse_key_file(std::string_view text,
                                                               const std::string& file);

// The path of a key file for people, escaped; or that it is a key, which somebody has put in the
// place of its file's name, and which no message shall show.
[[nodiscard]] std::string shown_path(const std::string& path);

// "FILE:LINE: WHAT", of kind usage. `what` is for printing as it is.
[[nodiscard]] Error key_file_error(const std::string& file, std::size_t line,
                                   std::string_view what);

// Reads a file that only its owner can read: ourselves, or root. What root owns its group may read,
// too, if we are not root: how else could root give us a key (systemd's LoadCredential= does it so,
// by an ACL whose mask shows as the group's bits). The same holds for root who will become a user
// of the group `lent_to`. Kinds: file_io (it cannot be read), usage (what is in it, or its mode or
// owner).
[[nodiscard]] Result<std::vector<KeyFileEntry>>
read_key_file(const std::string& path, std::optional<gid_t> lent_to = std::nullopt);

// The one key of a sender's file; its rights are nobody's concern there. Errors as above.
[[nodiscard]] Result<std::shared_ptr<const AccessKey>> read_sender_key(const std::string& path);

// Makes a new key (RAND_priv_bytes(3)) and its file, with mode 0600, on the medium (fsync). Its
// fingerprint. Kinds: usage (there is something of that name, which is left alone), file_io
// (nothing is left of the file).
[[nodiscard]] Result<std::string> generate_key_file(const std::string& path);

// Which file is to be used.
struct KeyFileChoice {
    std::string path; // empty: none
    std::string why;  // for people: "--key-file", "SLUICE_KEY_FILE", "the default"
};
// What the option says; else the environment variable SLUICE_KEY_FILE (empty: no file); else
// ${XDG_CONFIG_HOME:-$HOME/.config}/sluice/key, if there is one. Reads the environment: not while
// another thread changes it.
[[nodiscard]] KeyFileChoice choose_key_file(const std::optional<std::string>& option);

} // namespace sluice
