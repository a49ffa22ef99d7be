// One data connection of a session: takes batches and extents and gives them to the Store.
//
//     AwaitFrame --extent (raw)--> Payload --all bytes--> AwaitFrame
//     AwaitFrame --extent (zstd)-> Blocks  --all bytes--> AwaitFrame
//     any state --end of stream, reset, damaged frame--> Ended
//
// However it ends, the session goes on: the sender is told, and sends again what was not
// acknowledged. Only bytes that break the protocol end the session.
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
    // `number`: as the sender calls it.
    DataConnection(Worker& worker, std::shared_ptr<Session> session, UniqueFd socket,
                   std::uint32_t number);
    ~DataConnection() override;

private:
    struct AwaitFrame {};
    // An extent of which `remaining` bytes, for the file from `offset` on, are yet to come.
    struct Arriving {
        std::uint64_t id;
        LargeFile* file;
        std::uint64_t begin;
        std::uint64_t offset;
        std::uint64_t remaining;
    };
    struct Payload : Arriving {}; // the bytes follow in the socket
    struct Blocks : Arriving {};  // Block frames follow
    struct Ended {};

    // False: stop for this turn (nothing to read, or the connection is gone).
    [[nodiscard]] bool read_frame();
    [[nodiscard]] bool move_payload(Payload& payload);
    // Next states: see the head of this file.
    [[nodiscard]] proto::Fault handle_frame();
    [[nodiscard]] proto::Fault on_batch();
    [[nodiscard]] proto::Fault on_extent();
    [[nodiscard]] proto::Fault on_block(Blocks& blocks);
    [[nodiscard]] proto::Fault on_error();
    void on_lost(); // or ended

    void pump();
    void note_fallback(const LargeFile& file); // for -v
    // All bytes of it have come.
    [[nodiscard]] proto::Fault extent_complete(const Arriving& extent, proto::Encoding encoding);
    void file_dies(LargeFile& file, const StoreProblem& problem);
    // Ends this connection; an extent that is under way is lost.
    void close();
    void protocol_fault(proto::Fault fault);

    Worker& worker_;
    std::shared_ptr<Session> session_;
    UniqueFd socket_;
    const std::uint32_t number_;
    proto::FrameReader reader_;
    std::variant<AwaitFrame, Payload, Blocks, Ended> state_;
    std::uint64_t budget_bytes_ = 0; // left in this turn
    PathBytes bytes_;                // of this turn
    bool joined_ = false;
    bool closed_ = false;
    bool fallback_noted_ = false;
    Poll poll_;
};

} // namespace sluice
