// Opens the files that a stream sends, with little work for the kernel: the path to a directory is
// looked up once for several of its files. Belongs to its stream's thread.
#pragma once

#include "common/unique_fd.hpp"
#include "sender/source_file.hpp"
#include "sender/walk.hpp"

#include <cstdint>
#include <memory>
#include <span>
#include <variant>

namespace sluice {

class SourceOpener {
public:
    // As SourceFile::open(). With `more`, other files of the same directory are about to follow.
    [[nodiscard]] std::variant<SourceFile, SourceProblem> open(const SourceEntry& entry, bool more);

    // Makes the kernel read small files that are about to be sent, without waiting for that. Pays
    // only where they come from a medium: to be called once one of them had to be waited for.
    void read_ahead(std::span<const SourceEntry> entries);

private:
    // Where to look the entry up, and under which name.
    struct Place {
        int directory;
        const char* name;
    };
    [[nodiscard]] Place place_of(const SourceEntry& entry, bool more);

    // The directory that was opened last, by its number (see SourceEntry::directory).
    std::shared_ptr<const SourceRoot> root_;
    std::uint32_t number_ = 0;
    UniqueFd directory_;
};

} // namespace sluice
