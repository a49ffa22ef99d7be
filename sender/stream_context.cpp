#include "sender/stream_context.hpp"

#include "common/data_keys.hpp"
#include "common/text.hpp"

#include <cerrno>
#include <chrono>
#include <fmt/format.h>
#include <utility>

namespace sluice {

namespace {

using Clock = std::chrono::steady_clock;

// A connection that has not said who it is for so long may have been dropped by the receiver.
constexpr std::chrono::seconds kFresh{2};

} // namespace

Error describe(const SourceEntry& entry, const SourceProblem& problem) {
    std::string text = fmt::format("{}: {}", escape(entry.display_path()), problem.what);
    if (problem.error_number == 0) {
        return {problem.kind, std::move(text), 0};
    }
    return system_error(problem.kind, std::move(text), problem.error_number);
}

Status StreamContext::connect() {
    if (Status connected = socket.connect(); !connected) {
        return connected;
    }
    const auto connected_at = Clock::now();
    const std::optional<proto::Token> token = settings.token->wait();
    if (!token) {
        return Error{ErrorKind::interrupted, "cancelled", ECANCELED};
    }
    if (Clock::now() - connected_at > kFresh) {
        socket.close();
        if (Status connected = socket.connect(); !connected) {
            return connected;
        }
    }
    connection = in_flight.open_connection(socket.fd());
    if (connection == 0) {
        return Error{ErrorKind::network, "no more data connections in this session", 0};
    }
    const auto preamble = proto::encode_preamble({proto::kVersion, proto::Role::data});
    proto::Bytes hello(preamble.begin(), preamble.end());
    proto::encode(proto::Join{*token, connection, settings.index}, hello);
    if (signs()) {
        code = frame_codes(*settings.frames_key, connection);
        proto::sign_frames(std::span(hello).subspan(proto::kPreambleBytes), code);
    }
    return socket.send(hello, false);
}

Status StreamContext::send(std::span<std::byte> whole_frames, bool more) {
    if (signs()) {
        proto::sign_frames(whole_frames, code);
    }
    return socket.send(whole_frames, more);
}

Status StreamContext::send_oldest_frame() {
    FramePipeline::Frame& frame = frames->oldest();
    const bool packed = frame.packed_bytes > 0;
    const bool is_batch = frame.id != 0;
    if (packed || !is_batch) { // a block counts in any case, as the receiver counts it
        totals.bytes_compressed += frame.file_bytes;
        totals.compressed_to += packed ? frame.packed_bytes : frame.raw_bytes;
    } else {
        totals.bytes_inlined += frame.file_bytes;
    }
    Status sent = send(frame.whole, false);
    if (sent) {
        meter->sent(frame.raw_bytes, frame.whole.size(), packed);
        if (is_batch) {
            in_flight.sent(frame.id);
        }
    }
    frames->pop();
    return sent;
}

Status StreamContext::send_frames() {
    while (frames && !frames->empty()) {
        if (Status sent = send_oldest_frame(); !sent) {
            return sent;
        }
    }
    return ok();
}

InFlight::Ended StreamContext::disconnect() {
    if (frames) {
        frames->reset();
        meter->disconnected();
    }
    const InFlight::Ended ended = in_flight.close_connection(std::exchange(connection, 0));
    socket.close();
    return ended;
}

Error StreamContext::connection_gone() const {
    return socket.broken(ECONNRESET);
}

} // namespace sluice
