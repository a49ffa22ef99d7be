#include "receiver/data_connection.hpp"

#include "common/log.hpp"
#include "common/net.hpp"
#include "common/text.hpp"
#include "common/tls.hpp"
#include "common/usage.hpp"
#include "proto/batch.hpp"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <fmt/format.h>
#include <optional>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>

namespace sluice {

namespace {

// What one connection may move before others of its worker get their turn: all of them together not
// much more than a socket holds. With long turns a connection whose sender happens to run would
// take one after the other, and the kernel would give it a larger buffer as well: of eight sessions
// one was ten times as fast as the others.
constexpr std::uint64_t kTurnBytesAlone = std::uint64_t{4} << 20;
constexpr std::uint64_t kSharedTurnBytes = std::uint64_t{2} << 20; // divided among the connections
constexpr std::uint64_t kLeastTurnBytes = std::uint64_t{256} << 10;

// What work counts in a turn beside the bytes that came: what few bytes unpack to counts as well,
// for a frame of 20 bytes can unpack to 128 KiB; and a frame or a record costs something however
// little is in it. Otherwise a sender of such frames would keep a worker to itself.
constexpr std::uint64_t kFrameWork = std::uint64_t{4} << 10;
constexpr std::uint64_t kRecordWork = std::uint64_t{1} << 10;
// Timers are no more exact; until so much has come together a connection goes on.
constexpr std::chrono::milliseconds kShortestRest{2};

std::uint64_t turn_bytes(unsigned connections) {
    return connections <= 1 ? kTurnBytesAlone
                            : std::max(kSharedTurnBytes / connections, kLeastTurnBytes);
}

// How much shall have come before a connection is looked at again, where that much is expected.
// Segments of a network would wake the worker one by one otherwise: at 1 Gbit/s without offloading
// it halves the receiver's CPU time, and takes a sixth of the calls. More gains little, and holds
// back acknowledgements of what has been read.
constexpr std::uint64_t kLowWaterBytes = std::uint64_t{64} << 10;
// At the beginning the window is no larger than that, and grows by what is read in a round trip: to
// wait for all of it made the first three seconds of a path of 200 Mbit/s and 80 ms ten times as
// slow. So no more than this part of what has come is waited for.
constexpr std::uint64_t kLowWaterPart = 64;

int write_at(int file, proto::ByteView bytes, std::uint64_t offset) {
    while (!bytes.empty()) {
        count_system_call();
        const ssize_t wrote =
            ::pwrite(file, bytes.data(), bytes.size(), static_cast<off_t>(offset));
        if (wrote < 0) {
            if (errno == EINTR) {
                continue;
            }
            return errno;
        }
        bytes = bytes.subspan(static_cast<std::size_t>(wrote));
        offset += static_cast<std::uint64_t>(wrote);
    }
    return 0;
}

} // namespace

DataConnection::DataConnection(Worker& worker, JoinedConnection joined)
    : worker_(worker), joined_(std::move(joined)), reader_(proto::Role::data, false),
      poll_(worker.loop(), joined_.channel.fd(), [this](Readiness) { pump(); }),
      next_turn_(worker.loop(), [this] { pump(); }) {
    // What passes through a buffer is hashed there; else it is read back from the page cache.
    if (joined_.session->verifies() &&
        (joined_.session->store().discards() || !joined_.channel.receives_files())) {
        digester_ = std::make_unique<PayloadDigester>(joined_.session->payload_key());
    }
    if (joined_.code) {
        reader_.expect_codes(std::move(joined_.code));
    }
    poll_.wait_for({true, false});
    if (joined_.channel.holds_bytes()) {
        next_turn_.ask();
    }
}

DataConnection::~DataConnection() {
    worker_.data_connection_gone();
}

void DataConnection::pump() {
    budget_bytes_ = turn_bytes(worker_.data_connections());
    turn_bytes_ = 0;
    bytes_ = {};
    bool more = true;
    resume_at_ = UnpackPace::Clock::time_point::min();
    // Not in the middle of a frame: it would keep its memory until the next turn.
    while (more && !closed_ && (budget_bytes_ > 0 || !reader_.at_boundary())) {
        Payload* const payload = std::get_if<Payload>(&state_);
        more = payload != nullptr ? move_payload(*payload) : read_frame();
    }
    if (!closed_ && !rest_until(resume_at_) && more) {
        await_bytes(1); // the socket may hold less than the mark, and the rest of what is expected
        if (joined_.channel.holds_bytes()) {
            joined_.channel.shrink();
            next_turn_.ask(); // the socket may hold nothing at all
        }
    }
    received_ += turn_bytes_;
    const bool under_way = !reader_.at_boundary() || std::holds_alternative<Payload>(state_) ||
                           std::holds_alternative<Blocks>(state_);
    joined_.session->count_bytes(joined_.number, bytes_, turn_bytes_ + bytes_.compressed,
                                 under_way);
    worker_.charge(*joined_.session);
}

void DataConnection::await_bytes(std::uint64_t missing) {
    if (joined_.channel.tls() != nullptr) {
        // The channel, or the kernel's TLS, has taken a part of a record already.
        missing -= std::min<std::uint64_t>(missing, kTlsMaxRecordBytes);
    }
    const std::uint64_t most = std::min(std::bit_floor(received_ / kLowWaterPart), kLowWaterBytes);
    const auto mark = static_cast<std::size_t>(
        std::clamp<std::uint64_t>(missing, 1, std::max<std::uint64_t>(most, 1)));
    if (std::exchange(low_water_mark_, mark) != mark) {
        set_low_water_mark(joined_.channel.fd(), mark);
    }
}

bool DataConnection::read_frame() {
    const auto space = reader_.space();
    const ssize_t got = joined_.channel.recv(space);
    if (got < 0) {
        const int error = errno;
        if (error == EAGAIN) {
            await_bytes(space.size());
        } else if (error != EINTR) {
            on_lost();
        }
        return error == EINTR;
    }
    if (got == 0) {
        on_lost();
        return false;
    }
    turn_bytes_ += static_cast<std::uint64_t>(got);
    spend(static_cast<std::uint64_t>(got));
    proto::Fault fault = reader_.commit(static_cast<std::size_t>(got));
    if (fault == proto::Fault::none && reader_.frame_ready()) {
        spend(kFrameWork);
        fault = handle_frame();
        reader_.next();
    }
    if (fault != proto::Fault::none) {
        protocol_fault(fault);
        return false;
    }
    return true;
}

void DataConnection::unpacked(proto::ByteView packed, std::size_t bytes) {
    spend(bytes);
    const auto now = UnpackPace::Clock::now();
    const auto next = worker_.tools().pace.book(packed.size(), bytes, now);
    if (next - now >= kShortestRest) {
        resume_at_ = next;
        budget_bytes_ = 0;
    }
}

bool DataConnection::rest_until(UnpackPace::Clock::time_point moment) {
    const auto now = UnpackPace::Clock::now();
    if (moment <= now) {
        return false;
    }
    if (!rest_) {
        rest_ = std::make_unique<Timer>(worker_.loop(), [this] {
            if (!closed_) {
                poll_.wait_for({true, false});
                pump(); // the channel may hold what the socket does not
            }
        });
    }
    poll_.wait_for({});
    rest_->start(std::chrono::ceil<std::chrono::milliseconds>(moment - now));
    return true;
}

void DataConnection::spend(std::uint64_t bytes) noexcept {
    budget_bytes_ -= std::min(budget_bytes_, bytes);
}

proto::Fault DataConnection::handle_frame() {
    if (reader_.type() == proto::FrameType::error) {
        return on_error();
    }
    if (std::holds_alternative<Ended>(state_)) {
        return proto::Fault::misplaced_frame;
    }
    if (Blocks* const blocks = std::get_if<Blocks>(&state_); blocks != nullptr) {
        return reader_.type() == proto::FrameType::block ? on_block(*blocks)
                                                         : proto::Fault::misplaced_frame;
    }
    switch (reader_.type()) {
    case proto::FrameType::batch: return on_batch();
    case proto::FrameType::extent: return on_extent();
    default: return proto::Fault::misplaced_frame;
    }
}

proto::Fault DataConnection::on_batch() {
    proto::Batch batch;
    if (const auto fault = proto::decode(reader_.body(), batch); fault != proto::Fault::none) {
        return fault;
    }
    proto::ByteView records = batch.payload;
    const bool compressed = batch.encoding == proto::Encoding::zstd;
    if (compressed) {
        const auto raw = std::span(worker_.tools().scratch).first(batch.raw_length);
        if (!worker_.tools().decompressor.decompress(batch.payload, raw)) {
            return proto::Fault::bad_value;
        }
        records = raw;
        unpacked(batch.payload, batch.raw_length);
    }
    proto::BatchReader reader(records);
    while (!reader.at_end()) {
        proto::Record record;
        if (const auto fault = reader.next(record); fault != proto::Fault::none) {
            return fault;
        }
        if (record.kind == proto::RecordKind::file) {
            (compressed ? bytes_.compressed : bytes_.inlined) += record.content.size();
        }
        spend(kRecordWork);
        if (!joined_.session->take(record.path, record.content.size())) {
            close();
            return proto::Fault::none;
        }
        const auto problem = joined_.session->store().put(record, worker_.tools().directories);
        if (problem) {
            joined_.session->file_failed(record.path, *problem);
        }
    }
    joined_.session->acknowledge(batch.id);
    return proto::Fault::none;
}

proto::Fault DataConnection::on_extent() {
    proto::Extent extent;
    if (const auto fault = proto::decode(reader_.body(), extent); fault != proto::Fault::none) {
        return fault;
    }
    const auto begun = joined_.session->store().begin_extent(extent, worker_.tools().directories);
    if (begun.fault != proto::Fault::none) {
        return begun.fault;
    }
    if (begun.is_new && !joined_.session->take(extent.path, extent.file_size)) {
        joined_.session->store().extent_lost(*begun.file);
        close();
        return proto::Fault::none;
    }
    if (begun.problem) {
        joined_.session->file_failed(extent.path, *begun.problem);
    }
    const Arriving arriving{extent.id, begun.file, extent.offset, extent.offset, extent.length};
    switch (extent.encoding) {
    case proto::Encoding::raw:
        state_ = Payload{arriving};
        if (digester_) {
            digester_->begin(extent.id);
        }
        break;
    case proto::Encoding::zstd: state_ = Blocks{arriving}; break;
    case proto::Encoding::hole: {
        Arriving hole = arriving;
        hole.offset += std::exchange(hole.remaining, 0);
        return extent_complete(hole, extent.encoding);
    }
    }
    return proto::Fault::none;
}

proto::Fault DataConnection::on_block(Blocks& blocks) {
    proto::Block block;
    if (const auto fault = proto::decode(reader_.body(), block); fault != proto::Fault::none) {
        return fault;
    }
    if (block.raw_length > blocks.remaining) {
        return proto::Fault::limit_exceeded;
    }
    proto::ByteView content = block.payload;
    if (block.encoding == proto::Encoding::zstd) {
        const auto raw = std::span(worker_.tools().scratch).first(block.raw_length);
        if (!worker_.tools().decompressor.decompress(block.payload, raw)) {
            return proto::Fault::bad_value;
        }
        content = raw;
        unpacked(block.payload, block.raw_length);
    }
    if (!blocks.file->dead) {
        if (const int error = write_at(blocks.file->target(), content, blocks.offset); error != 0) {
            file_dies(*blocks.file, make_problem(error));
        }
    }
    bytes_.compressed += content.size();
    blocks.offset += content.size();
    blocks.remaining -= content.size();
    if (blocks.remaining == 0) {
        const Blocks done = blocks;
        state_ = AwaitFrame{};
        return extent_complete(done, proto::Encoding::zstd);
    }
    return proto::Fault::none;
}

proto::Fault DataConnection::on_error() {
    proto::ErrorMessage message;
    const auto fault = proto::decode(reader_.body(), message);
    if (fault == proto::Fault::none) {
        joined_.session->fail(sender_error(message));
        close();
    }
    return fault;
}

// Whether orderly or not makes no difference: what counts is what has been acknowledged.
void DataConnection::on_lost() {
    log_verbose(fmt::format("session {}: data connection {} has ended", joined_.session->serial(),
                            joined_.number));
    close();
}

Step DataConnection::take_bytes(const Payload& payload, std::uint64_t wanted) {
    WorkerTools& tools = worker_.tools();
    if (!joined_.channel.receives_files()) {
        return take_decrypted(payload, wanted);
    }
    if (payload.file->dead) {
        return tools.receive->discard(joined_.channel.fd(), wanted);
    }
    if (digester_) {
        return tools.receive_digest.step(joined_.channel.fd(), *digester_, wanted);
    }
    return tools.receive->step(joined_.channel.fd(), payload.file->target(), payload.offset,
                               wanted);
}

Step DataConnection::take_decrypted(const Payload& payload, std::uint64_t wanted) {
    ChannelToFile& receive = worker_.tools().receive_decrypted;
    if (payload.file->dead || joined_.session->store().discards()) {
        return receive.discard(joined_.channel, wanted, digester_.get());
    }
    return receive.step(joined_.channel, payload.file->target(), payload.offset, wanted,
                        digester_.get());
}

bool DataConnection::move_payload(Payload& payload) {
    const Step step = take_bytes(payload, std::min(payload.remaining, budget_bytes_));
    (step.zero_copy ? bytes_.zero_copy : bytes_.copied) += step.moved;
    if (step.moved > 0 && !step.zero_copy && !digester_ && joined_.channel.receives_files()) {
        note_fallback(*payload.file);
    }
    turn_bytes_ += step.moved;
    spend(step.moved);
    payload.offset += step.moved;
    payload.remaining -= step.moved;
    if (step.status == StepStatus::file_failed) {
        file_dies(*payload.file, make_problem(step.error_number));
    }
    if (payload.remaining == 0) {
        const Payload done = payload;
        state_ = AwaitFrame{};
        if (const auto fault = extent_complete(done, proto::Encoding::raw);
            fault != proto::Fault::none) {
            protocol_fault(fault);
            return false;
        }
        return true;
    }
    switch (step.status) {
    case StepStatus::progress:
    case StepStatus::file_failed: return true;
    case StepStatus::would_block: await_bytes(payload.remaining); return false;
    case StepStatus::end:
    case StepStatus::socket_failed: on_lost(); return false;
    }
    return false;
}

void DataConnection::note_fallback(const LargeFile& file) {
    if (worker_.tools().path == CopyPath::automatic && !std::exchange(fallback_noted_, true)) {
        log_verbose(fmt::format("session {}: splice does not work for {}: copying",
                                joined_.session->serial(), escape(file.path)));
    }
}

proto::Fault DataConnection::extent_complete(const Arriving& extent, proto::Encoding encoding) {
    const std::uint64_t length = extent.offset - extent.begin;
    if (encoding == proto::Encoding::raw && joined_.session->verifies() && !extent.file->dead) {
        return verify(extent, length);
    }
    const std::string path = extent.file->path; // the file may be gone afterwards
    Storage& store = joined_.session->store();
    const auto problem = encoding == proto::Encoding::hole
                             ? store.hole_done(*extent.file, extent.begin, length)
                             : store.extent_done(*extent.file, extent.begin, length, std::nullopt);
    if (problem) {
        joined_.session->file_failed(path, *problem);
    }
    joined_.session->acknowledge(extent.id);
    return proto::Fault::none;
}

proto::Fault DataConnection::verify(const Arriving& extent, std::uint64_t length) {
    Session::ArrivedExtent arrived{extent.file, extent.begin, length, joined_.number};
    if (digester_) {
        arrived.digest = digester_->finish();
    }
    const auto fault = joined_.session->verify(extent.id, arrived);
    if (fault != proto::Fault::none) {
        joined_.session->store().extent_lost(*extent.file);
    }
    return fault;
}

void DataConnection::file_dies(LargeFile& file, const StoreProblem& problem) {
    // Two streams may meet the same failure of one file: it is reported once.
    if (!file.dead.exchange(true)) {
        joined_.session->file_failed(file.path, problem);
    }
}

void DataConnection::close() {
    if (std::exchange(closed_, true)) {
        return;
    }
    LargeFile* lost = nullptr;
    if (const Payload* const payload = std::get_if<Payload>(&state_); payload != nullptr) {
        lost = payload->file;
    } else if (const Blocks* const blocks = std::get_if<Blocks>(&state_); blocks != nullptr) {
        lost = blocks->file;
    }
    if (lost != nullptr) {
        joined_.session->store().extent_lost(*lost);
    }
    state_ = Ended{};
    poll_.wait_for({});
    next_turn_.cancel();
    worker_.charge_now(*joined_.session);
    joined_.leave();
    worker_.drop(this);
}

void DataConnection::protocol_fault(proto::Fault fault) {
    if (fault == proto::Fault::corrupted) { // by whatever lies between: not the sender's doing
        joined_.session->note_damage(true);
        on_lost();
        return;
    }
    joined_.session->fail({ErrorKind::protocol, fmt::format("the sender broke the protocol: {}",
                                                            proto::describe(fault))});
    close();
}

} // namespace sluice
