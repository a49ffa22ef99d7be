// A large file as a sender cuts it up.
#pragma once

#include "tests/support/scratch_file.hpp"
#include "tests/support/store_session.hpp"

#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace sluice::test {

class ExtentSource {
public:
    ExtentSource(std::uint64_t id, std::string path, std::uint64_t size)
        : id_(id), path_(std::move(path)), bytes_(noise_bytes(size, id + 1)) {}

    // May be changed before the first use.
    proto::Timestamp mtime{kStoredTime, 7};
    std::uint32_t mode = 0640;
    std::uint64_t version = 1;
    bool hashed = false; // extents come with their digests

    [[nodiscard]] proto::Extent extent(std::uint64_t offset, std::uint64_t length,
                                       proto::Encoding encoding = proto::Encoding::raw) const {
        return {offset + 1, id_,  offset,  length,   bytes_.size(),
                mtime,      mode, version, encoding, path_};
    }
    [[nodiscard]] proto::OfferEntry offer() const {
        return {bytes_.size(), mtime, mode, version, path_};
    }
    [[nodiscard]] std::span<const std::byte> bytes(std::uint64_t offset,
                                                   std::uint64_t length) const {
        return std::span(bytes_).subspan(offset, length);
    }
    // Begins the extent and writes its bytes, as a data connection does.
    [[nodiscard]] Storage::BegunExtent begin(Storage& store, DirectoryCache& cache,
                                             std::uint64_t offset, std::uint64_t length) const {
        const Storage::BegunExtent begun = store.begin_extent(extent(offset, length), cache);
        if (begun.file != nullptr && !begun.file->dead) {
            if (::pwrite(begun.file->fd.get(), bytes_.data() + offset, length,
                         static_cast<off_t>(offset)) != static_cast<ssize_t>(length)) {
                throw std::system_error(errno, std::generic_category(), "pwrite");
            }
        }
        return begun;
    }
    // The whole extent; the text of a problem.
    std::string send(StoreSession& session, std::uint64_t offset, std::uint64_t length) const {
        const auto begun = begin(session.store(), session.directories(), offset, length);
        REQUIRE(begun.fault == proto::Fault::none);
        const auto digest = hashed ? std::optional(digest_of(bytes(offset, length))) : std::nullopt;
        return StoreSession::text(session.store().extent_done(*begun.file, offset, length, digest));
    }
    // All but what is there.
    void send_rest(StoreSession& session, const std::vector<proto::Range>& present) const {
        std::uint64_t at = 0;
        for (const proto::Range& range : present) {
            if (range.offset > at) {
                CHECK(send(session, at, range.offset - at) == "");
            }
            at = range.offset + range.length;
        }
        if (at < bytes_.size()) {
            CHECK(send(session, at, bytes_.size() - at) == "");
        } else {
            CHECK(send(session, 0, 1) == ""); // from which the receiver learns its number
        }
    }
    std::string end(StoreSession& session) const {
        const auto ended = session.store().end_file(id_, session.directories());
        REQUIRE(ended.fault == proto::Fault::none);
        return StoreSession::text(ended.problem);
    }

    [[nodiscard]] std::uint64_t id() const noexcept { return id_; }
    [[nodiscard]] const std::string& path() const noexcept { return path_; }
    [[nodiscard]] std::uint64_t size() const noexcept { return bytes_.size(); }
    [[nodiscard]] std::string content() const {
        return {reinterpret_cast<const char*>(bytes_.data()), bytes_.size()};
    }

private:
    std::uint64_t id_;
    std::string path_;
    std::vector<std::byte> bytes_;
};

} // namespace sluice::test
