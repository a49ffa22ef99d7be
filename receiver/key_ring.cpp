#include "receiver/key_ring.hpp"

#include "common/text.hpp"
#include "proto/path_rules.hpp"

#include <fmt/format.h>
#include <utility>

namespace sluice {

Result<KeyRing::Keys> KeyRing::arrange(const std::vector<KeyFileEntry>& entries,
                                       const std::string& file) {
    Keys keys;
    for (const KeyFileEntry& entry : entries) {
        const std::string& directory = entry.key.rights.directory;
        const proto::Fault fault =
            directory.empty() ? proto::Fault::none : proto::check_path(directory);
        if (fault != proto::Fault::none) {
            const bool is_secret = directory.find(kKeyPrefix) != std::string::npos;
            const std::string shown =
                is_secret ? "a key" : fmt::format("'{}'", escape(directory, 256));
            return key_file_error(file, entry.line,
                                  fmt::format("dir: {} is not a path below the receiver's "
                                              "directory: {}",
                                              shown, proto::describe(fault)));
        }
        keys[entry.key.identity] = std::make_shared<const AccessKey>(entry.key);
    }
    return keys;
}

Result<std::unique_ptr<KeyRing>> KeyRing::load(const std::string& file,
                                               std::optional<gid_t> lent_to) {
    const Result<std::vector<KeyFileEntry>> entries = read_key_file(file, lent_to);
    if (!entries) {
        return entries.error();
    }
    return from_entries(*entries, file);
}

Result<std::unique_ptr<KeyRing>> KeyRing::from_entries(const std::vector<KeyFileEntry>& entries,
                                                       const std::string& file) {
    Result<Keys> keys = arrange(entries, file);
    if (!keys) {
        return std::move(keys).error();
    }
    return std::unique_ptr<KeyRing>(new KeyRing(file, std::move(*keys)));
}

Status KeyRing::reload() {
    const Result<std::vector<KeyFileEntry>> entries = read_key_file(file_);
    if (!entries) {
        return entries.error();
    }
    Result<Keys> keys = arrange(*entries, file_);
    if (!keys) {
        return std::move(keys).error();
    }
    const std::scoped_lock lock(mutex_);
    keys_ = std::move(*keys);
    return ok();
}

KeyRing::Key KeyRing::find(const KeyIdentity& identity) const {
    const std::scoped_lock lock(mutex_);
    const auto found = keys_.find(identity);
    return found == keys_.end() ? nullptr : found->second;
}

std::size_t KeyRing::size() const {
    const std::scoped_lock lock(mutex_);
    return keys_.size();
}

} // namespace sluice
