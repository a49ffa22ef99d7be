// The files of one session whose digests are wanted (--digests). Only the names are noted as they
// come; they are hashed at the end, as they stand at the destination by then: those that were sent,
// and those that were there already.
//
// add() is thread-safe; for_each() is not, and comes after the last add().
#pragma once

#include "common/digest.hpp"
#include "receiver/spool.hpp"

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace sluice {

struct ListedFile {
    std::string path; // below the receiver's directory
    std::uint64_t size = 0;
    Digest digest{}; // XXH3-128 of the content
};

class DigestList {
public:
    // `directory`: as in Spool.
    explicit DigestList(std::function<int()> directory) : files_(std::move(directory), "digests") {}

    // `path` is relative to the destination. 0, or errno.
    [[nodiscard]] int add(std::string_view path, std::uint64_t size);

    // `destination` is that directory, and `prefix` what leads to it. 0, or errno. Files that
    // cannot be read are only counted; those that are not there (any more) with the size that was
    // noted were replaced, or not published: they are none of the list's business.
    [[nodiscard]] int for_each(int destination, const std::string& prefix,
                               const std::function<void(const ListedFile&)>& visit,
                               std::uint64_t& unreadable) const;

private:
    Spool files_;
};

} // namespace sluice
