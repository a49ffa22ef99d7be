// One data connection of a session: takes batches and extents and gives them to the Store.
//
//     AwaitFrame --extent (raw)--> Payload --all bytes--> AwaitFrame
//     AwaitFrame --extent (zstd)-> Blocks  --all bytes--> AwaitFrame
//     AwaitFrame --stream_end----> Ended
//     Payload ----end of stream--> Ended      (the sender withdraws the extent)
//     Blocks -----file_abort-----> AwaitFrame (the same)
//
// A connection that is lost otherwise, and bytes that break the protocol, end the session.
#pragma once

#include "common/loop.hpp"
#include "common/unique_fd.hpp"
#include "proto/frame_reader.hpp"
#include "receiver/session.hpp"
#include "receiver/worker.hpp"

#include <cstdint>
#include <memory>
#include <variant>

namespace sluice {

class DataConnection final : public Connection {
public:
    DataConnection(Worker& worker, std::shared_ptr<Session> session, UniqueFd socket);
    ~DataConnection() override;

private:
    struct AwaitFrame {};
    struct Payload { // `remaining` bytes follow in the socket, for the file from `offset` on
        LargeFile* file;
        std::uint64_t begin;
        std::uint64_t offset;
        std::uint64_t remaining;
    };
    struct Blocks { // Block frames follow, worth `remaining` bytes
        LargeFile* file;
        std::uint64_t begin;
        std::uint64_t offset;
        std::uint64_t remaining;
    };
    struct Ended {};

    // False: stop for this turn (nothing to read, or the connection is gone).
    [[nodiscard]] bool read_frame();
    [[nodiscard]] bool move_payload(Payload& payload);
    // Next states: see the head of this file.
    [[nodiscard]] proto::Fault handle_frame();
    [[nodiscard]] proto::Fault on_batch();
    [[nodiscard]] proto::Fault on_extent();
    [[nodiscard]] proto::Fault on_block(Blocks& blocks);
    [[nodiscard]] proto::Fault on_file_end();
    [[nodiscard]] proto::Fault on_file_abort(const Blocks* blocks);
    [[nodiscard]] proto::Fault on_error();
    void end_stream();
    void on_end_of_stream();
    void on_broken();

    void pump();
    void note_fallback(const LargeFile& file); // for -v
    void extent_complete(LargeFile& file, std::uint64_t begin, std::uint64_t length);
    void file_dies(LargeFile& file, const StoreProblem& problem);
    // Ends this connection; an extent that is under way is lost.
    void close();
    void protocol_fault(proto::Fault fault);

    Worker& worker_;
    std::shared_ptr<Session> session_;
    UniqueFd socket_;
    proto::FrameReader reader_;
    std::variant<AwaitFrame, Payload, Blocks, Ended> state_;
    std::uint64_t budget_bytes_ = 0; // left in this turn
    PathBytes bytes_;                // of this turn
    bool closed_ = false;
    bool fallback_noted_ = false;
    Poll poll_;
};

} // namespace sluice
