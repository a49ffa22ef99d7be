// The bytes of a signed data connection as a sender makes them, with its parts to be found again by
// whoever tampers with them.
#pragma once

#include "common/compress.hpp"
#include "common/data_keys.hpp"
#include "proto/batch.hpp"
#include "proto/messages.hpp"
#include "tests/support/scratch_file.hpp"

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

namespace sluice::test {

inline DataKeys keys_of(std::byte fill) {
    DataKeys keys;
    std::ranges::fill(keys.frames.bytes(), fill);
    std::ranges::fill(keys.payload.bytes(), fill ^ std::byte{0xff});
    return keys;
}

// One of each: a batch, a hole, a raw and a compressed extent of one large file. Everything is
// named after the connection, so that those of one session do not meet.
class SignedStream {
public:
    struct Part {
        std::uint64_t id; // of the batch or extent
        bool payload;     // of the raw extent; else frames
        std::size_t begin;
        std::size_t end;
    };

    static constexpr std::uint64_t kPart = 300; // of the file, in each of its three extents

    SignedStream(const DataKeys& keys, std::uint32_t connection)
        : keys_(keys), connection_(connection), code_(frame_codes(keys.frames, connection)),
          content_(noise_bytes(3 * kPart, connection)) {
        std::fill_n(content_.begin(), kPart, std::byte{});
        std::fill_n(content_.begin() + 2 * kPart, kPart / 2, std::byte{'z'});
        add_join();
        add_batch();
        add_extent(proto::Encoding::hole);
        add_extent(proto::Encoding::raw);
        add_extent(proto::Encoding::zstd);
    }

    [[nodiscard]] std::uint32_t connection() const noexcept { return connection_; }
    [[nodiscard]] std::uint64_t file_id() const noexcept { return connection_; }
    [[nodiscard]] std::string small_path() const { return "small" + std::to_string(connection_); }
    [[nodiscard]] std::string large_path() const { return "large" + std::to_string(connection_); }
    [[nodiscard]] static std::string small_content() { return "what a small file holds"; }
    [[nodiscard]] std::string large_content() const {
        return {reinterpret_cast<const char*>(content_.data()), content_.size()};
    }

    // The Join first, which is whoever's who lets the connection in.
    [[nodiscard]] const proto::Bytes& join() const noexcept { return join_; }
    [[nodiscard]] const proto::Bytes& bytes() const noexcept { return bytes_; }
    [[nodiscard]] const std::vector<Part>& parts() const noexcept { return parts_; }
    [[nodiscard]] std::vector<std::uint64_t> ids() const {
        return {id_of(0), id_of(1), id_of(2), id_of(3)};
    }
    // Of the raw extent.
    [[nodiscard]] proto::Digests digests() const {
        PayloadDigester digester(keys_.payload);
        digester.begin(id_of(2));
        digester.add(std::span(content_).subspan(kPart, kPart));
        return {{{id_of(2), digester.finish()}}};
    }

private:
    [[nodiscard]] std::uint64_t id_of(unsigned index) const { return 10 * connection_ + index; }

    void add_join() {
        proto::encode(proto::Join{{}, connection_, 0}, join_);
        proto::sign_frames(join_, code_);
    }

    void append(std::uint64_t id, proto::ByteView bytes, bool payload = false) {
        parts_.push_back({id, payload, bytes_.size(), bytes_.size() + bytes.size()});
        bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
    }

    void append_frame(std::uint64_t id, proto::Bytes frame) {
        proto::sign_frames(frame, code_);
        append(id, frame);
    }

    void add_batch() {
        proto::Bytes memory(1000);
        proto::BatchWriter writer(memory);
        const std::string path = small_path();
        const std::string content = small_content();
        const proto::Record record{proto::RecordKind::file, 0644, {1'500'000'000, 7}, path, {}};
        std::ranges::copy(std::as_bytes(std::span(content)),
                          writer.reserve_file(record, content.size()).begin());
        writer.commit_file();
        proto::Bytes frame;
        proto::encode(proto::Batch{id_of(0), proto::Encoding::raw,
                                   static_cast<std::uint32_t>(writer.size()), writer.bytes()},
                      frame);
        append_frame(id_of(0), frame);
    }

    void add_extent(proto::Encoding encoding) {
        const unsigned index = encoding == proto::Encoding::hole  ? 1
                               : encoding == proto::Encoding::raw ? 2
                                                                  : 3;
        const std::string path = large_path();
        const std::uint64_t offset = (index - 1) * kPart;
        const proto::Extent extent{id_of(index),       file_id(), offset, kPart,    content_.size(),
                                   {1'500'000'000, 7}, 0644,      1,      encoding, path};
        proto::Bytes frame;
        proto::encode(extent, frame);
        append_frame(extent.id, frame);
        const auto content = std::span(content_).subspan(offset, kPart);
        if (encoding == proto::Encoding::raw) {
            append(extent.id, content, true);
        } else if (encoding == proto::Encoding::zstd) {
            add_blocks(extent.id, content);
        }
    }

    // The first half is compressed, the other is not.
    void add_blocks(std::uint64_t id, std::span<const std::byte> content) {
        const auto first = content.first(kPart / 2);
        const auto second = content.subspan(kPart / 2);
        proto::Bytes packed(first.size() - 1);
        Compressor compressor;
        packed.resize(compressor.compress(first, packed));
        proto::Bytes frame;
        proto::encode(proto::Block{proto::Encoding::zstd, kPart / 2, packed}, frame);
        append_frame(id, frame);
        frame.clear();
        proto::encode(proto::Block{proto::Encoding::raw, kPart / 2, second}, frame);
        append_frame(id, frame);
    }

    const DataKeys keys_;
    const std::uint32_t connection_;
    const FrameCodes code_;
    proto::Bytes content_; // of the large file
    proto::Bytes join_;
    proto::Bytes bytes_; // all that follows the Join
    std::vector<Part> parts_;
};

} // namespace sluice::test
