// The keys that open a receiver, as its key file says; the file may be read again while it runs.
//
// Thread-safe. Keys are handed out as shared values: whoever holds one goes on with it, so ask
// again where it matters whether the key still opens anything.
#pragma once

#include "common/access_key.hpp"
#include "common/key_file.hpp"
#include "common/result.hpp"

#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <sys/types.h>
#include <vector>

namespace sluice {

class KeyRing {
public:
    using Key = std::shared_ptr<const AccessKey>;

    // By read_key_file(). Kinds: those of it; usage where a key's directory is no path of the
    // protocol.
    [[nodiscard]] static Result<std::unique_ptr<KeyRing>>
    load(const std::string& file, std::optional<gid_t> lent_to = std::nullopt);
    // The same without a file. `file` is for messages.
    [[nodiscard]] static Result<std::unique_ptr<KeyRing>>
    from_entries(const std::vector<KeyFileEntry>& entries, const std::string& file);

    // Reads the file again. On failure (kinds as above) the keys stay as they were.
    [[nodiscard]] Status reload();

    // Null: no key, or no more.
    [[nodiscard]] Key find(const KeyIdentity& identity) const;
    [[nodiscard]] std::size_t size() const;
    [[nodiscard]] const std::string& file() const noexcept { return file_; }

private:
    using Keys = std::map<KeyIdentity, Key>;

    KeyRing(std::string file, Keys keys) : file_(std::move(file)), keys_(std::move(keys)) {}
    [[nodiscard]] static Result<Keys> arrange(const std::vector<KeyFileEntry>& entries,
                                              const std::string& file);

    const std::string file_;
    mutable std::mutex mutex_;
    Keys keys_; // guarded by mutex_
};

} // namespace sluice
