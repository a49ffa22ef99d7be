// What the parts of one stream share. Belongs to the stream's thread, but for the totals.
#pragma once

#include "common/secret.hpp"
#include "common/usage.hpp"
#include "common/zero_copy.hpp"
#include "sender/compression.hpp"
#include "sender/frame_pipeline.hpp"
#include "sender/in_flight.hpp"
#include "sender/large_source.hpp"
#include "sender/send_meter.hpp"
#include "sender/session_token.hpp"
#include "sender/source_file.hpp"
#include "sender/stream_socket.hpp"
#include "sender/walk.hpp"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

namespace sluice {

// What all streams of a session count together.
struct StreamTotals {
    std::atomic<std::uint64_t> bytes_zero_copy{0};
    std::atomic<std::uint64_t> bytes_copied{0};
    std::atomic<std::uint64_t> bytes_inlined{0};
    std::atomic<std::uint64_t> bytes_compressed{0};
    std::atomic<std::uint64_t> compressed_to{0};
    std::atomic<std::uint64_t> reconnects{0}; // after a connection broke
    SharedUsage usage;

    [[nodiscard]] PathBytes bytes() const noexcept {
        return {bytes_zero_copy, bytes_copied, bytes_inlined, bytes_compressed};
    }
};

struct StreamSettings {
    StreamTarget target;
    SessionToken* token = nullptr; // borrowed
    std::uint16_t index = 0;
    CopyPath send_path = CopyPath::automatic;
    Compression* compression = nullptr;     // borrowed; none: nothing is compressed
    bool verify = true;                     // raw extents get digests
    std::optional<Secret> frames_key;       // signed data: of the codes of frames
    std::chrono::milliseconds retry_for{0}; // how long to try to reconnect
};

// The session, as its streams see it. Called on their threads.
class StreamHost {
public:
    virtual ~StreamHost() = default;
    // A source that cannot be sent; its place in the queue is free again. The others go on.
    virtual void entry_failed(Error error) = 0;
    // A large file begins.
    [[nodiscard]] virtual std::shared_ptr<LargeSource> open_large(SourceEntry entry,
                                                                  SourceFile file) = 0;
    // It cannot be completed. Told to the receiver and to people, once.
    virtual void withdraw(const std::shared_ptr<LargeSource>& source, const Error& error) = 0;
    // The payload of an extent needs a digest: of the source, or of these bytes; or it has this
    // one, which is none of signed data. Once for each.
    virtual void compute_digest(std::shared_ptr<LargeSource> source, std::uint64_t id,
                                std::uint64_t offset, std::uint64_t length) = 0;
    virtual void compute_digest(std::uint64_t id, proto::ByteView payload) = 0;
    // The same, of a payload that was hashed as it passed; not where data are signed.
    virtual void add_digest(std::uint64_t id, const proto::Digest& digest) = 0;
    // A stream has sent all that it had, and waits for more.
    virtual void idle() = 0;
    // A connection is no longer used; `reason` is for people.
    virtual void connection_lost(std::uint32_t connection, const Error& reason) = 0;
    virtual void detail(std::string line) = 0; // for -v
    // Once, and last. An Error: the stream could not go on.
    virtual void stream_ended(std::optional<Error> error) = 0;
};

// A problem with a source, as people are told.
[[nodiscard]] Error describe(const SourceEntry& entry, const SourceProblem& problem);

struct StreamContext {
    StreamContext(StreamSettings stream_settings, StreamHost& stream_host,
                  InFlight& parcels_in_flight, StreamTotals& stream_totals)
        : settings(std::move(stream_settings)), host(stream_host), in_flight(parcels_in_flight),
          totals(stream_totals), socket(settings.target) {
        if (settings.compression != nullptr) {
            Compression& compression = *settings.compression;
            frames.emplace(compression.pool(), compression.take_frames());
            meter.emplace(compression, settings.index, socket, *frames);
        }
    }

    const StreamSettings settings;
    StreamHost& host;
    InFlight& in_flight;
    StreamTotals& totals;
    StreamSocket socket;
    std::uint32_t connection = 0; // 0: none
    // Where anything may be compressed; else there are none.
    std::optional<FramePipeline> frames;
    std::optional<SendMeter> meter;
    proto::FrameCode code; // of the present connection, where it is signed

    // Connects and, once there is a token, joins the session.
    [[nodiscard]] Status connect();
    // Whether what comes next shall be compressed if it looks worth it.
    [[nodiscard]] bool compress_next() const {
        return settings.compression != nullptr && settings.compression->wanted();
    }
    // Whether frames get codes just before they are sent (or else their maker seals them).
    [[nodiscard]] bool signs() const noexcept { return settings.frames_key.has_value(); }
    // Sends whole frames, in which it puts their codes where these are wanted: the counter in a
    // code says which frame of the connection it is, so this is the only way for frames. `more`: as
    // StreamSocket::send.
    [[nodiscard]] Status send(std::span<std::byte> whole_frames, bool more);
    // Sends the frame that has been in the pipeline for longest, once it is made; or all of them.
    [[nodiscard]] Status send_oldest_frame();
    [[nodiscard]] Status send_frames();
    // Ends the connection, if there is one, and forgets the frames in the pipeline.
    InFlight::Ended disconnect();
    // The Error of a stream whose connection was broken from elsewhere.
    [[nodiscard]] Error connection_gone() const;
};

} // namespace sluice
