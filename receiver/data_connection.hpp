// One data connection of a session: takes batches and extents and gives them to the Storage.
//
//     AwaitFrame --extent (raw)--> Payload --all bytes--> AwaitFrame
//     AwaitFrame --extent (zstd)-> Blocks  --all bytes--> AwaitFrame
//     any state --end of stream, reset, damaged frame--> Ended
//
// However it ends, the session goes on: the sender is told, and sends again what was not
// acknowledged. Only bytes that break the protocol end the session.
#pragma once

#include "common/loop.hpp"
#include "proto/frame_reader.hpp"
#include "receiver/joined_connection.hpp"
#include "receiver/worker.hpp"

#include <cstdint>
#include <memory>
#include <variant>

namespace sluice {

class DataConnection final : public Connection {
public:
    // The worker expects the connection.
    DataConnection(Worker& worker, JoinedConnection joined);
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
    // `packed` has become so many bytes.
    void unpacked(proto::ByteView packed, std::size_t bytes);
    // False: the moment has passed already.
    [[nodiscard]] bool rest_until(UnpackPace::Clock::time_point moment);
    // Of the turn's budget.
    void spend(std::uint64_t bytes) noexcept;
    [[nodiscard]] Step take_bytes(const Payload& payload, std::uint64_t wanted);
    [[nodiscard]] Step take_decrypted(const Payload& payload, std::uint64_t wanted);
    // The socket is empty, and so many bytes of a frame or payload are yet to come.
    void await_bytes(std::uint64_t missing);
    void note_fallback(const LargeFile& file); // for -v
    // All bytes of it have come.
    [[nodiscard]] proto::Fault extent_complete(const Arriving& extent, proto::Encoding encoding);
    [[nodiscard]] proto::Fault verify(const Arriving& extent, std::uint64_t length);
    void file_dies(LargeFile& file, const StoreProblem& problem);
    // Ends this connection; an extent that is under way is lost.
    void close();
    void protocol_fault(proto::Fault fault);

    Worker& worker_;
    JoinedConnection joined_;
    proto::FrameReader reader_;
    std::variant<AwaitFrame, Payload, Blocks, Ended> state_;
    std::uint64_t budget_bytes_ = 0; // left in this turn
    std::uint64_t turn_bytes_ = 0;   // received in this turn
    std::uint64_t received_ = 0;     // in earlier turns
    PathBytes bytes_;                // of this turn
    std::size_t low_water_mark_ = 1; // of the socket
    // What was unpacked last was so much that nothing more is read before.
    UnpackPace::Clock::time_point resume_at_ = UnpackPace::Clock::time_point::min();
    bool closed_ = false;
    bool fallback_noted_ = false;
    // Of the bytes of the present payload, where they have to be hashed as they come; else null.
    std::unique_ptr<PayloadDigester> digester_;
    Poll poll_;
    NextTurn next_turn_;          // for what the channel holds already
    std::unique_ptr<Timer> rest_; // made when it is needed, which is rare
};

} // namespace sluice
