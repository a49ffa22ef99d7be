// What sessions have stored, or have left, in the work area of a receiver's directory.
#pragma once

#include "receiver/resume_journal.hpp"
#include "receiver/work_area.hpp"
#include "tests/support/temp_dir.hpp"

#include <cstdint>
#include <fcntl.h>
#include <filesystem>
#include <system_error>

namespace sluice::test {

// Of large files that are not complete: what a later session need not get again. A session may be
// writing meanwhile. One that nobody can go on with (--keep-partial 0) has no journal: of it counts
// what was written.
inline std::uint64_t kept_bytes(const TempDir& inbox) {
    namespace fs = std::filesystem;
    std::uint64_t bytes = 0;
    std::error_code ignored;
    for (const auto& session : fs::directory_iterator(inbox.path(".sluice"), ignored)) {
        const auto directory =
            UniqueFd::adopt(::open(session.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        const auto journal = directory ? load_journal(directory.get()) : std::nullopt;
        for (std::size_t file = 0; journal && file < journal->files.size(); ++file) {
            for (const PartialFile::Piece& piece : journal->files[file].pieces) {
                bytes += piece.length;
            }
        }
        if (directory && session.path().filename().string().size() != kKeyLength) {
            for (const auto& file : fs::recursive_directory_iterator(session.path(), ignored)) {
                const auto size = file.is_regular_file(ignored) ? file.file_size(ignored) : 0;
                bytes += size == static_cast<std::uintmax_t>(-1) ? 0 : size;
            }
        }
    }
    return bytes;
}

// Whole files of staged trees.
inline std::size_t staged_files(const TempDir& inbox) {
    namespace fs = std::filesystem;
    std::size_t count = 0;
    std::error_code ignored;
    for (const auto& session : fs::directory_iterator(inbox.path(".sluice"), ignored)) {
        for (const auto& file :
             fs::recursive_directory_iterator(session.path() / "tree", ignored)) {
            count += file.is_regular_file(ignored) ? 1U : 0U;
        }
    }
    return count;
}

} // namespace sluice::test
