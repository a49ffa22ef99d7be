#include "sender/source_opener.hpp"

#include "common/usage.hpp"

#include <fcntl.h>
#include <string>
#include <string_view>

namespace sluice {

std::variant<SourceFile, SourceProblem> SourceOpener::open(const SourceEntry& entry, bool more) {
    if (entry.root->generated) {
        return SourceFile::open(entry);
    }
    const Place place = place_of(entry, more);
    return SourceFile::open_at(place.directory, place.name);
}

SourceOpener::Place SourceOpener::place_of(const SourceEntry& entry, bool more) {
    const std::string_view path = entry.relative_path();
    const auto slash = path.rfind('/');
    if (slash == std::string_view::npos) {
        return {entry.root->directory.get(), path.data()};
    }
    if (root_ != entry.root || number_ != entry.directory) {
        if (!more) {
            return {entry.root->directory.get(), path.data()}; // not worth a descriptor
        }
        const std::string parent(path.substr(0, slash));
        count_system_call();
        directory_ = UniqueFd::adopt(
            openat(entry.root->directory.get(), parent.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
        root_ = entry.root;
        number_ = entry.directory;
    }
    // Where it could not be opened, the whole path leads to the reason.
    return directory_ ? Place{directory_.get(), path.data() + slash + 1}
                      : Place{entry.root->directory.get(), path.data()};
}

void SourceOpener::read_ahead(std::span<const SourceEntry> entries) {
    for (const SourceEntry& entry : entries) {
        if (entry.kind != EntryKind::file || entry.size == 0 ||
            entry.size > proto::kMaxInlineFileBytes) {
            continue;
        }
        const auto opened = open(entry, true);
        if (const auto* const file = std::get_if<SourceFile>(&opened); file != nullptr) {
            file->start_reading();
        }
    }
}

} // namespace sluice
