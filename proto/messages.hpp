// The messages of the wire format, and their encoding. Normative description: PROTOCOL.md.
//
// Pure: bytes in, values out. Nothing here touches a descriptor, a clock or a thread. Decoded
// strings are views into the body that was decoded and live as long as it does. Encoders append
// one complete frame (header and body) to `out`; they assert limits in debug builds and expect
// callers to respect them.
#pragma once

#include "proto/fault.hpp"
#include "proto/limits.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

namespace sluice::proto {

using Bytes = std::vector<std::byte>;
using ByteView = std::span<const std::byte>;
using Token = std::array<std::byte, kTokenBytes>;
// XXH3-128 in its canonical, big-endian form.
using Digest = std::array<std::byte, kDigestBytes>;
// What stands in place of a frame's digest where a key protects it (signed data): a code of the
// header up to there and of the body. Called once for each frame, in the order of the connection.
using FrameCode = std::function<Digest(ByteView head, ByteView body)>;

enum class Role : std::uint8_t { control = 0, data = 1 };

enum class FrameType : std::uint8_t {
    // control connection, sender to receiver
    open = 1,
    offer = 2,
    finish = 3,
    digests = 4,
    file_end = 5,
    file_abort = 6,
    drop = 7,
    all_sent = 8,
    // control connection, receiver to sender
    welcome = 16,
    verdict = 17,
    file_error = 18,
    done = 19,
    present = 20,
    ack = 21,
    again = 22,
    lost = 23,
    // data connection, sender to receiver
    join = 32,
    batch = 33,
    extent = 34,
    block = 35,
    // control connection, both directions
    ping = 48,
    // every connection, both directions; it closes after it
    error = 49,
};

// First bytes of every connection, from the side that connected.
struct Preamble {
    std::uint16_t version = kVersion;
    Role role = Role::control;
};

// Seconds and nanoseconds since the epoch, as st_mtim (stat(3type)).
struct Timestamp {
    std::int64_t seconds = 0;
    std::uint32_t nanoseconds = 0; // < 1'000'000'000
    friend bool operator==(const Timestamp&, const Timestamp&) = default;
};

// Flags of Open.
inline constexpr std::uint32_t kOpenPreserve = 1U << 0;      // keep mode and mtime
inline constexpr std::uint32_t kOpenIgnoreTimes = 1U << 1;   // want files that look unchanged, too
inline constexpr std::uint32_t kOpenDryRun = 1U << 2;        // change nothing
inline constexpr std::uint32_t kOpenPublishByFile = 1U << 3; // no staging of new trees
inline constexpr std::uint32_t kOpenSingleFile = 1U << 4;    // one regular file (see destination)
inline constexpr std::uint32_t kOpenVerify = 1U << 5;        // raw extents have digests
inline constexpr std::uint32_t kOpenSync = 1U << 6;          // on the medium before Done
// Data connections are in clear, and what they bring has codes in place of digests.
inline constexpr std::uint32_t kOpenSigned = 1U << 7;
inline constexpr std::uint32_t kOpenKnownFlags = (1U << 8) - 1;

// Asks for a session.
struct Open {
    std::uint32_t flags = kOpenPreserve;
    std::uint16_t streams = 1; // data connections at one time, 1..kMaxStreams
    // Random; the same in all sessions of one run. A session takes the place of an earlier one of
    // its run.
    Token run{};
    std::uint32_t timeout_ms = 0; // the sender gives up a receiver that is silent for so long
    std::uint32_t retry_ms = 0;   // how long it will try to come back after losing the connection
    // Where below the receiver's directory everything goes; empty: the directory itself. With a
    // trailing slash it names a directory. With kOpenSingleFile and no such directory it is the
    // file's own new name.
    std::string_view destination;
    // First components of all paths that will be sent, at most kMaxRoots; an empty name stands for
    // "anything". No roots at all: the sender does not say.
    std::vector<std::string_view> roots;
    std::string_view software; // for the log, e.g. "sluice 0.1.0"
};

// Welcome::flags.
inline constexpr std::uint32_t kWelcomeDiscards = 1U << 0; // nothing that is received is kept
inline constexpr std::uint32_t kWelcomeKnownFlags = kWelcomeDiscards;

struct Welcome {
    Token token{};                // names the session to its data connections
    std::uint32_t timeout_ms = 0; // the receiver gives up a sender that is silent for so long
    std::uint32_t flags = 0;
    std::vector<std::uint16_t> fresh; // indices into Open::roots under which nothing exists yet
    std::string_view software;
};

// What an offer takes in its frame's body: this much, and this much per entry besides its path.
inline constexpr std::size_t kOfferHeaderBytes = 10;
inline constexpr std::size_t kOfferEntryBytes = 34;

struct OfferEntry {
    std::uint64_t size = 0;
    Timestamp mtime;
    std::uint32_t mode = 0; // permission bits only, 07777
    // Opaque; another one whenever the file may be another (the sender takes st_ctim): pieces of
    // the file from an earlier session are only good under the same.
    std::uint64_t version = 0;
    std::string_view path;
};

// "Do you already have these regular files?" Ids count up by one from first_id.
struct Offer {
    std::uint64_t first_id = 0;
    std::vector<OfferEntry> entries; // 1..kMaxOfferEntries
};

// The answer to one Offer: bit i (byte i/8, bit i%8) set: send file first_id + i.
struct Verdict {
    std::uint64_t first_id = 0;
    std::uint16_t count = 0;
    ByteView wanted; // (count + 7) / 8 bytes
};

enum class FileFault : std::uint8_t {
    io = 1,       // errno says what
    refused = 2,  // the name leads through a symbolic link or out of the directory
    conflict = 3, // a directory is in the way of a file, or the reverse
    corrupt = 4,  // it could not be read back, or not as it was received
};

// One file could not be stored; the session goes on.
struct FileError {
    FileFault fault = FileFault::io;
    std::int32_t error_number = 0; // errno of the receiver, 0 where there is none
    std::string_view path;
    std::string_view text;
};

// A piece of a file.
struct Range {
    std::uint64_t offset = 0;
    std::uint64_t length = 0;
    friend bool operator==(const Range&, const Range&) = default;
};

// Of the offered file `id` the receiver has these pieces already. Comes before the Verdict, which
// says "send it"; several for one file add up.
struct Present {
    std::uint64_t id = 0;
    std::vector<Range> ranges; // 1..kMaxRanges, none empty
};

// Digests of raw extents, in any order relative to the extents themselves.
struct Digests {
    struct Entry {
        std::uint64_t id = 0; // of the extent
        Digest digest{};
    };
    std::vector<Entry> entries; // 1..kMaxDigests
};

// Batches and extents that the receiver has stored (or has reported as failed): they need not be
// sent again.
struct Ack {
    std::vector<std::uint64_t> ids; // 1..kMaxAcks
};

// What arrived of a raw extent has another digest than it should. Its bytes are forgotten.
struct Again {
    std::uint64_t id = 0;
    Digest digest{}; // of what arrived
};

// The sender has given up a data connection, whatever may still be under way on it.
struct Drop {
    std::uint32_t connection = 0;
};

// A data connection has ended. What came on it and is not acknowledged by now has not been stored
// and never will be.
struct Lost {
    std::uint32_t connection = 0;
};

// Everything has been sent, and is complete as soon as the receiver has acknowledged so much in the
// session: it need not wait for Finish, which will say the same a round trip later. Void where
// another connection has been lost meanwhile.
struct AllSent {
    std::uint64_t files = 0;        // as Finish will say
    std::uint64_t acknowledged = 0; // batches and extents, of all connections
    std::uint32_t lost = 0;         // how many Lost the sender has received
};

// Everything has been sent and acknowledged.
struct Finish {
    std::uint64_t files = 0; // regular files sent whole: records and FileEnds
};

// What the receiver did. Times in microseconds.
struct Done {
    std::uint64_t files = 0;     // regular files published
    std::uint64_t unchanged = 0; // regular files that were already there
    std::uint64_t directories = 0;
    std::uint64_t symlinks = 0;
    std::uint64_t failed = 0; // FileErrors reported
    // Left by an earlier session: whole files (they count as unchanged, too), and bytes, those of
    // whole files included.
    std::uint64_t reused_files = 0;
    std::uint64_t reused_bytes = 0;
    std::uint64_t bytes_spliced = 0;
    std::uint64_t bytes_copied = 0;
    std::uint64_t bytes_inline = 0;
    std::uint64_t bytes_decompressed = 0;
    std::uint64_t cpu_us = 0;
    std::uint64_t system_calls = 0;
    std::uint64_t context_switches = 0;
};

struct Join {
    Token token{};
    std::uint32_t connection = 0; // its name in Drop and Lost: no two of a session have the same
    std::uint16_t stream = 0;     // < kMaxStreams
};

enum class Encoding : std::uint8_t { raw = 0, zstd = 1, hole = 2 };

// A run of small records, see batch.hpp.
struct Batch {
    std::uint64_t id = 0;              // no two batches or extents of a session have the same
    Encoding encoding = Encoding::raw; // raw or zstd (one zstd frame)
    std::uint32_t raw_length = 0;      // of the records, 1..kMaxBatchBytes
    ByteView payload;                  // the records, or the zstd frame that holds them
};

// A piece of a file. Self-describing, so that nothing depends on the order in which frames of
// different connections arrive. Encoding raw: `length` bytes of payload follow the frame. zstd:
// Block frames follow until their raw lengths add up to `length`. hole: nothing follows.
struct Extent {
    std::uint64_t id = 0; // no two batches or extents of a session have the same
    std::uint64_t file_id = 0;
    std::uint64_t offset = 0;
    std::uint64_t length = 0; // 1..kMaxExtentBytes; a hole may be as long as the file
    std::uint64_t file_size = 0;
    Timestamp mtime;
    std::uint32_t mode = 0;
    std::uint64_t version = 0; // as in OfferEntry
    Encoding encoding = Encoding::raw;
    std::string_view path;
};

// One independently compressed piece of an extent.
struct Block {
    Encoding encoding = Encoding::raw; // raw or zstd
    std::uint32_t raw_length = 0;      // 1..kMaxBlockBytes
    ByteView payload;
};

// All extents of the file are acknowledged and its source did not change: publish it.
struct FileEnd {
    std::uint64_t file_id = 0;
};

// The file will not be completed: throw away what arrived of it.
struct FileAbort {
    std::uint64_t file_id = 0;
};

// Ends the whole session, in either direction. Codes are the exit codes of the programs.
struct ErrorMessage {
    std::uint16_t code = 0;
    std::string_view text;
};

std::array<std::byte, kPreambleBytes> encode_preamble(const Preamble& preamble);
[[nodiscard]] Fault decode_preamble(std::span<const std::byte, kPreambleBytes> bytes,
                                    Preamble& out);

// Largest body of a frame of this type, or 0 where there is no such type.
[[nodiscard]] std::size_t max_body_bytes(FrameType type) noexcept;
// Whether a frame of this type may travel on a connection of this role.
[[nodiscard]] bool allowed_on(FrameType type, Role role) noexcept;

void encode(const Open& message, Bytes& out);
void encode(const Welcome& message, Bytes& out);
void encode(const Offer& message, Bytes& out);
void encode(const Verdict& message, Bytes& out);
void encode(const FileError& message, Bytes& out); // cuts text to kMaxTextBytes
void encode(const Present& message, Bytes& out);
void encode(const Digests& message, Bytes& out);
void encode(const Ack& message, Bytes& out);
void encode(const Again& message, Bytes& out);
void encode(const Drop& message, Bytes& out);
void encode(const Lost& message, Bytes& out);
void encode(const AllSent& message, Bytes& out);
void encode(const Finish& message, Bytes& out);
void encode(const Done& message, Bytes& out);
void encode(const Join& message, Bytes& out);
void encode(const Batch& message, Bytes& out);
void encode(const Extent& message, Bytes& out);
void encode(const Block& message, Bytes& out);
void encode(const FileEnd& message, Bytes& out);
void encode(const FileAbort& message, Bytes& out);
void encode(const ErrorMessage& message, Bytes& out); // cuts text to kMaxTextBytes
void encode_ping(Bytes& out);

// The first bytes of a Batch or Block frame whose payload lies elsewhere in the same memory,
// directly behind them. Complete only once seal_frame has been called for the whole.
void encode_batch_header(std::uint64_t id, Encoding encoding, std::uint32_t raw_length,
                         std::size_t payload_bytes, Bytes& out);
void encode_block_header(Encoding encoding, std::uint32_t raw_length, std::size_t payload_bytes,
                         Bytes& out);
// Bytes that encode_batch_header and encode_block_header append.
inline constexpr std::size_t kBatchHeaderBytes = kFrameHeaderBytes + 16;
inline constexpr std::size_t kBlockHeaderBytes = kFrameHeaderBytes + 8;
// Writes the check and the digest of a whole frame (header and body) into its header.
void seal_frame(std::span<std::byte> frame) noexcept;
// Writes checks and codes into whole frames that follow each other.
void sign_frames(std::span<std::byte> frames, const FrameCode& code);
// Whether length, type and flags of a header match its check: before the body is read.
[[nodiscard]] bool header_is_intact(std::span<const std::byte, kFrameHeaderBytes> header) noexcept;
// Whether a frame matches its digest. `header` is that of `body`.
[[nodiscard]] bool frame_is_intact(std::span<const std::byte, kFrameHeaderBytes> header,
                                   ByteView body) noexcept;
// The same for a code; takes as long wherever it differs.
[[nodiscard]] bool frame_is_intact(std::span<const std::byte, kFrameHeaderBytes> header,
                                   ByteView body, const FrameCode& code);

// Each fills `out` and returns Fault::none, or names what is wrong and leaves `out` unspecified.
// Paths are checked by check_path (an empty Open::destination and empty roots are allowed).
[[nodiscard]] Fault decode(ByteView body, Open& out);
[[nodiscard]] Fault decode(ByteView body, Welcome& out);
[[nodiscard]] Fault decode(ByteView body, Offer& out);
[[nodiscard]] Fault decode(ByteView body, Verdict& out);
[[nodiscard]] Fault decode(ByteView body, FileError& out);
[[nodiscard]] Fault decode(ByteView body, Present& out);
[[nodiscard]] Fault decode(ByteView body, Digests& out);
[[nodiscard]] Fault decode(ByteView body, Ack& out);
[[nodiscard]] Fault decode(ByteView body, Again& out);
[[nodiscard]] Fault decode(ByteView body, Drop& out);
[[nodiscard]] Fault decode(ByteView body, Lost& out);
[[nodiscard]] Fault decode(ByteView body, AllSent& out);
[[nodiscard]] Fault decode(ByteView body, Finish& out);
[[nodiscard]] Fault decode(ByteView body, Done& out);
[[nodiscard]] Fault decode(ByteView body, Join& out);
[[nodiscard]] Fault decode(ByteView body, Batch& out);
[[nodiscard]] Fault decode(ByteView body, Extent& out);
[[nodiscard]] Fault decode(ByteView body, Block& out);
[[nodiscard]] Fault decode(ByteView body, FileEnd& out);
[[nodiscard]] Fault decode(ByteView body, FileAbort& out);
[[nodiscard]] Fault decode(ByteView body, ErrorMessage& out);

} // namespace sluice::proto
