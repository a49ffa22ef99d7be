// Which bytes of which large files have arrived and were verified: what a later session needs to
// go on where a receiver was killed, lost its sender, or went down with its machine.
//
// The journal lies beside the partial files, in the session's own directory, under the name
// kResumeJournalName. It is only ever appended to, with one record for each event, AFTER the bytes
// that the record speaks of were written to their file. Nothing is synced on the way: when the
// process dies, everything that was written is there; when the machine dies, records may be there
// whose bytes are not. The header's boot id tells the two apart: after another boot, a piece may be
// trusted only once its bytes have been compared with its digest.
//
// Format, all integers little-endian:
//
//   preamble  8 bytes "sluicerj", u32 version (1), u32 zero
//   records   u32 length of the body, at most kMaxRecordBodyBytes
//             u8 kind, 3 zero bytes
//             u64 check: the first 8 bytes of the digest of the whole record with zero as its check
//             body
//
//   kind 1, header, the first record and only it:
//             16 bytes run, u8 length and bytes of the boot id
//   kind 2, a file begins:
//             u64 number, u64 size, i64 seconds and u32 nanoseconds of its mtime, u64 version,
//             u64 inode, u8 staged (0 or 1), u16 length and bytes of its path, the same of its
//             stored path
//   kind 3, a piece of it is there:
//             u64 number, u64 offset, u64 length, then nothing or the 16 bytes of its digest
//   kind 4, a file ends:
//             u64 number
//
// Numbers are the journal's own and count up from 1. Reading stops at the first record that is cut
// off, damaged or of an unknown kind, and everything before it is good. Another version may mean
// anything: it is no journal.
#pragma once

#include "common/digest.hpp"
#include "common/result.hpp"
#include "common/unique_fd.hpp"
#include "proto/limits.hpp"
#include "proto/messages.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace sluice {

inline constexpr const char* kResumeJournalName = "resume";

// A damaged length must not make anyone allocate; two paths of the greatest length fit.
inline constexpr std::size_t kMaxRecordBodyBytes = std::size_t{16} << 10;
static_assert(kMaxRecordBodyBytes >= 2 * proto::kMaxPathBytes + 64, "a file must fit");
inline constexpr std::size_t kMaxBootIdBytes = 64;
// What a reader keeps in memory. Of more files the oldest are forgotten, of more pieces the newest:
// they are sent again.
inline constexpr std::size_t kMaxPartialFiles = 4096;
inline constexpr std::size_t kMaxPiecesPerFile = 65536;
inline constexpr std::size_t kMaxPiecesInAll = std::size_t{1} << 18;

// A file of which something is there.
struct PartialFile {
    struct Piece {
        std::uint64_t offset = 0;
        std::uint64_t length = 0;
        std::optional<Digest> digest; // of these bytes
        friend bool operator==(const Piece&, const Piece&) = default;
    };

    std::string path; // on the wire
    // Of the source. A file is gone on with only where all three are what they were; the version is
    // opaque and changes whenever the source's inode does.
    std::uint64_t size = 0;
    proto::Timestamp mtime;
    std::uint64_t version = 0;
    std::uint64_t inode = 0; // of its data: another file may take the place of that
    std::string stored_path; // where its data lies, relative to ...
    bool staged = false;     // ... the staged tree, otherwise to the session's files
    std::vector<Piece> pieces;
    friend bool operator==(const PartialFile&, const PartialFile&) = default;
};

struct JournalHeader {
    std::string boot_id;             // current_boot_id() of the writer; may be empty
    std::array<std::byte, 16> run{}; // identifies the sender's run
    friend bool operator==(const JournalHeader&, const JournalHeader&) = default;
};

// Writes a journal. Thread-safe after construction.
//
// An append that fails breaks the journal: what was torn off would hide every later record from a
// reader. So all later appends fail with the same errno and write nothing. Nothing else is lost by
// that: a later session finds what the journal said before, and gets the rest sent again.
class ResumeJournal {
public:
    // Makes a journal in `directory` that says of `carried_over` what is said there, and of nothing
    // else. It is made under another name and renamed, so an old journal is replaced whole, or, on
    // failure, not at all. `directory` is not used after that.
    [[nodiscard]] static Result<ResumeJournal> create(int directory, const JournalHeader& header,
                                                      const std::vector<PartialFile>& carried_over);

    ResumeJournal(ResumeJournal&& other) noexcept;
    ResumeJournal& operator=(ResumeJournal&&) = delete;
    ResumeJournal(const ResumeJournal&) = delete;
    ResumeJournal& operator=(const ResumeJournal&) = delete;
    ~ResumeJournal() = default; // leaves the file

    // The number of carried_over[index]. Pieces can be added to it, and it can end, like any other.
    [[nodiscard]] static constexpr std::uint64_t carried_number(std::size_t index) noexcept {
        return std::uint64_t{index} + 1;
    }

    // Notes the file and its pieces. Returns its number, which is never 0. EINVAL: its paths are
    // not such that a reader would take them; the journal is not broken by that.
    [[nodiscard]] Result<std::uint64_t> begin_file(const PartialFile& file);

    // 0, or errno. These bytes are in the file and were verified. A reader ignores a piece that is
    // empty, overlaps another, ends beyond the size, or is of a file that has ended or never begun.
    [[nodiscard]] int add_piece(std::uint64_t number, std::uint64_t offset, std::uint64_t length,
                                const std::optional<Digest>& digest);

    // 0, or errno. The file is complete or given up: a reader will not hear of it. Call it before
    // its data is moved away, so that no journal speaks of data that is elsewhere.
    [[nodiscard]] int end_file(std::uint64_t number);

private:
    explicit ResumeJournal(UniqueFd file) noexcept : file_(std::move(file)) {}
    [[nodiscard]] int append(const std::vector<std::byte>& records);

    std::mutex mutex_;
    UniqueFd file_;  // O_APPEND
    int broken_ = 0; // errno
    std::uint64_t next_number_ = 1;
};

struct LoadedJournal {
    JournalHeader header;
    std::vector<PartialFile> files; // those that have not ended, in the order they began
};

// Reads the journal in `directory`, with little memory however long it is. Nothing: there is none,
// it is of another version, or it cannot be read.
[[nodiscard]] std::optional<LoadedJournal> load_journal(int directory);

// Changes with every boot of this machine. Empty: unknown.
[[nodiscard]] std::string current_boot_id();

} // namespace sluice
