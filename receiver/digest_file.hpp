// The file of --digests: what "xxhsum -c" reads, one line per file, "DIGEST  PATH". The sessions
// append to it, each at its end and all of its files together. Thread-safe.
#pragma once

#include "common/result.hpp"
#include "common/unique_fd.hpp"
#include "receiver/digest_list.hpp"

#include <mutex>
#include <string>

namespace sluice {

class DigestFile {
public:
    // Makes the file where it is missing.
    [[nodiscard]] static Result<DigestFile> open(const std::string& path);
    DigestFile(DigestFile&& other) noexcept
        : path_(std::move(other.path_)), file_(std::move(other.file_)) {}

    // Lines of one session; append() adds them.
    class Lines {
    public:
        // False: the name has a line break, which the format does not know. A peer that chose such
        // a name could forge whole lines.
        [[nodiscard]] bool add(const ListedFile& file);

    private:
        friend class DigestFile;
        std::string text_;
    };
    [[nodiscard]] Status append(Lines& lines);
    // Whether it is time for that: there may be more files than memory.
    [[nodiscard]] static bool is_full(const Lines& lines) noexcept;

private:
    DigestFile(std::string path, UniqueFd file) : path_(std::move(path)), file_(std::move(file)) {}

    std::string path_;
    UniqueFd file_;
    std::mutex mutex_;
};

} // namespace sluice
