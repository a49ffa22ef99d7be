// Sends pieces of large files as extents: by sendfile(2) or its copying twin, as zstd blocks, holes
// as holes; and those that arrived damaged from a buffer. Belongs to its stream's thread.
#pragma once

#include "common/digest.hpp"
#include "proto/messages.hpp"
#include "sender/stream_context.hpp"
#include "sender/stream_pace.hpp"

#include <cstdint>
#include <functional>
#include <memory>

namespace sluice {

class LargeFiles {
public:
    // `before_extent` is called with what is left of a piece, before the next extent is made of it;
    // it may make it shorter.
    LargeFiles(StreamContext& context, std::function<void(Piece&)> before_extent);

    // Sends the piece and shortens it by what need not be cared about any more: what is in flight,
    // and all of it where the file has been withdrawn. Some of it is left where the connection has
    // to be replaced first (StreamSocket::used_up()). A source that shrinks or cannot be read is
    // withdrawn here. An Error of kind source_changed: the connection cannot be used any more, as
    // the rest of an extent will never come; of another kind: it broke, or all is cancelled.
    [[nodiscard]] Status send(Piece& piece);
    // Sends what is in the pipeline, and what has been held back to travel with the next write.
    [[nodiscard]] Status flush();
    [[nodiscard]] const StreamPace& pace() const noexcept { return pace_; }
    // Forgets it: the connection is gone.
    void reset() noexcept { pending_.clear(); }

private:
    using Clock = StreamPace::Clock;

    [[nodiscard]] Status send_next(Piece& piece, SourceFile::Segment& segment);
    [[nodiscard]] Status begin(proto::Extent& extent, Piece& piece);
    [[nodiscard]] Status send_raw(const proto::Extent& extent,
                                  const std::shared_ptr<LargeSource>& source);
    [[nodiscard]] Status send_slice(const std::shared_ptr<LargeSource>& source,
                                    std::uint64_t offset, std::uint64_t length);
    [[nodiscard]] Status send_compressed(const proto::Extent& extent,
                                         const std::shared_ptr<LargeSource>& source);
    std::uint64_t post_block(const std::shared_ptr<LargeSource>& source, std::uint64_t offset,
                             std::uint64_t left);
    [[nodiscard]] Status send_from_buffer(proto::Extent& extent, Piece& piece);
    [[nodiscard]] bool worth_compressing(const proto::Extent& extent,
                                         const std::shared_ptr<LargeSource>& source);
    [[nodiscard]] Error give_up(const std::shared_ptr<LargeSource>& source,
                                const SourceProblem& problem);
    [[nodiscard]] Status send_pending(bool more);
    void note_fallback();

    StreamContext& context_;
    const std::function<void(Piece&)> before_extent_;
    std::unique_ptr<FileToSocket> copier_;
    StreamPace pace_;
    proto::Bytes pending_; // small frames that travel with the next write
    Digester digester_;    // of an extent that is sent by copying
    bool fallback_noted_ = false;
};

} // namespace sluice
