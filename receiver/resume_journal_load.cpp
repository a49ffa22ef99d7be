#include "common/usage.hpp"
#include "receiver/range_set.hpp"
#include "receiver/resume_journal.hpp"
#include "receiver/resume_journal_format.hpp"

#include <algorithm>
#include <cerrno>
#include <concepts>
#include <cstring>
#include <fcntl.h>
#include <map>
#include <span>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace sluice {

using namespace resume_format;

namespace {

constexpr std::size_t kBufferBytes = std::size_t{64} << 10;
static_assert(kBufferBytes >= kRecordHeaderBytes + kMaxRecordBodyBytes,
              "a record must fit into the buffer");

// Takes a body apart. Reading beyond its end gives zeros, and complete() is false from then on.
class BodyReader {
public:
    explicit BodyReader(ByteView body) noexcept : rest_(body) {}

    template <std::unsigned_integral T>
    T number() noexcept {
        const ByteView taken = bytes(sizeof(T));
        return taken.empty() ? T{0} : load_le<T>(taken.data());
    }
    template <std::size_t N>
    std::array<std::byte, N> array() noexcept {
        std::array<std::byte, N> value{};
        const ByteView taken = bytes(N);
        std::copy(taken.begin(), taken.end(), value.begin());
        return value;
    }
    template <std::unsigned_integral Length>
    std::string text() {
        const ByteView taken = bytes(number<Length>());
        return {reinterpret_cast<const char*>(taken.data()), taken.size()};
    }

    [[nodiscard]] std::size_t remaining() const noexcept { return rest_.size(); }
    // Everything was there and nothing is left.
    [[nodiscard]] bool complete() const noexcept { return !short_ && rest_.empty(); }

private:
    ByteView bytes(std::size_t count) noexcept {
        if (count > rest_.size()) {
            short_ = true;
            rest_ = {};
            return {};
        }
        const ByteView taken = rest_.first(count);
        rest_ = rest_.subspan(count);
        return taken;
    }

    ByteView rest_;
    bool short_ = false;
};

bool decode_header(ByteView body, JournalHeader& header) {
    BodyReader fields(body);
    header.run = fields.array<sizeof header.run>();
    header.boot_id = fields.text<std::uint8_t>();
    return fields.complete() && header.boot_id.size() <= kMaxBootIdBytes;
}

// The next records of a file, through a buffer.
class RecordReader {
public:
    struct Record {
        Kind kind;
        ByteView body; // until the next call
    };

    explicit RecordReader(int file) : file_(file), buffer_(kBufferBytes) {}

    bool take_preamble() {
        const bool known =
            fill(kPreambleBytes) && std::ranges::equal(view().first(kPreambleBytes), preamble());
        begin_ += known ? kPreambleBytes : 0;
        return known;
    }

    // Nothing: the end, or damage, beyond which nothing can be found.
    std::optional<Record> next() {
        if (!fill(kRecordHeaderBytes)) {
            return std::nullopt;
        }
        const std::size_t body_bytes = load_le<std::uint32_t>(view().data());
        if (body_bytes > kMaxRecordBodyBytes || !fill(kRecordHeaderBytes + body_bytes)) {
            return std::nullopt;
        }
        const std::span record = view().first(kRecordHeaderBytes + body_bytes);
        std::array<std::byte, kCheckBytes> check{};
        std::memcpy(check.data(), record.data() + kCheckAt, kCheckBytes);
        std::memset(record.data() + kCheckAt, 0, kCheckBytes);
        store_check(record); // in place: the record is read once only
        if (std::memcmp(check.data(), record.data() + kCheckAt, kCheckBytes) != 0) {
            return std::nullopt;
        }
        // With the zeros after it, which must be zeros.
        const auto kind = load_le<std::uint32_t>(record.data() + kKindAt);
        if (kind > UINT8_MAX) {
            return std::nullopt;
        }
        begin_ += record.size();
        return Record{static_cast<Kind>(kind), record.subspan(kRecordHeaderBytes)};
    }

private:
    std::span<std::byte> view() noexcept {
        return std::span(buffer_).subspan(begin_, end_ - begin_);
    }

    // Makes at least `bytes` of what comes next stand in the buffer, if there are as many.
    bool fill(std::size_t bytes) {
        if (end_ - begin_ >= bytes) {
            return true;
        }
        std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
        end_ -= std::exchange(begin_, 0);
        while (end_ < bytes) {
            count_system_call();
            const ssize_t got = ::read(file_, buffer_.data() + end_, buffer_.size() - end_);
            if (got < 0 && errno == EINTR) {
                continue;
            }
            if (got <= 0) {
                return false; // what cannot be read is as good as not there
            }
            end_ += static_cast<std::size_t>(got);
        }
        return true;
    }

    int file_;
    Bytes buffer_;
    std::size_t begin_ = 0;
    std::size_t end_ = 0;
};

// The files that have begun and not ended, as far as the journal has been read.
class OpenFiles {
public:
    // False: the record makes no sense, and what follows cannot be trusted.
    bool apply(const RecordReader::Record& record) {
        switch (record.kind) {
        case Kind::begin: return begin(record.body);
        case Kind::piece: return piece(record.body);
        case Kind::end: return end(record.body);
        case Kind::header: return false;
        }
        return false;
    }

    std::vector<PartialFile> take() {
        std::vector<PartialFile> files;
        files.reserve(open_.size());
        for (auto& [number, entry] : open_) {
            files.push_back(std::move(entry.file));
        }
        return files;
    }

private:
    struct Entry {
        PartialFile file;
        RangeSet covered;
    };
    using Map = std::map<std::uint64_t, Entry>; // by number, that is by age

    bool begin(ByteView body) {
        BodyReader fields(body);
        const auto number = fields.number<std::uint64_t>();
        PartialFile file;
        file.size = fields.number<std::uint64_t>();
        file.mtime.seconds = static_cast<std::int64_t>(fields.number<std::uint64_t>());
        file.mtime.nanoseconds = fields.number<std::uint32_t>();
        file.version = fields.number<std::uint64_t>();
        file.inode = fields.number<std::uint64_t>();
        const auto staged = fields.number<std::uint8_t>();
        file.path = fields.text<std::uint16_t>();
        file.stored_path = fields.text<std::uint16_t>();
        if (!fields.complete() || staged > 1) {
            return false;
        }
        file.staged = staged != 0;
        // From here on the number means this file, whether it is taken or not.
        forget(open_.find(number));
        if (acceptable(file)) {
            if (open_.size() >= kMaxPartialFiles) {
                forget(open_.begin());
            }
            open_.emplace(number, Entry{std::move(file), {}});
        }
        return true;
    }

    bool piece(ByteView body) {
        BodyReader fields(body);
        const auto found = open_.find(fields.number<std::uint64_t>());
        PartialFile::Piece piece;
        piece.offset = fields.number<std::uint64_t>();
        piece.length = fields.number<std::uint64_t>();
        if (fields.remaining() != 0) {
            piece.digest = fields.array<sizeof(Digest)>();
        }
        if (!fields.complete()) {
            return false;
        }
        if (found == open_.end() || pieces_ >= kMaxPiecesInAll) {
            return true;
        }
        auto& [file, covered] = found->second;
        // In this order nothing overflows.
        const bool fits = piece.length != 0 && piece.length <= file.size &&
                          piece.offset <= file.size - piece.length;
        if (!fits || file.pieces.size() >= kMaxPiecesPerFile ||
            covered.overlaps(piece.offset, piece.offset + piece.length)) {
            return true;
        }
        covered.add(piece.offset, piece.offset + piece.length);
        file.pieces.push_back(piece);
        ++pieces_;
        return true;
    }

    bool end(ByteView body) {
        BodyReader fields(body);
        const auto found = open_.find(fields.number<std::uint64_t>());
        if (!fields.complete()) {
            return false;
        }
        forget(found);
        return true;
    }

    void forget(Map::iterator found) {
        if (found != open_.end()) {
            pieces_ -= found->second.file.pieces.size();
            open_.erase(found);
        }
    }

    Map open_;
    std::size_t pieces_ = 0;
};

} // namespace

std::optional<LoadedJournal> load_journal(int directory) {
    count_system_call();
    // O_NONBLOCK: should the name be a FIFO, this does not wait for a writer.
    const UniqueFd file = UniqueFd::adopt(
        ::openat(directory, kResumeJournalName, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    struct stat status {};
    if (!file) {
        return std::nullopt;
    }
    count_system_call();
    if (::fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode)) {
        return std::nullopt;
    }
    RecordReader reader(file.get());
    if (!reader.take_preamble()) {
        return std::nullopt;
    }
    LoadedJournal loaded;
    const auto first = reader.next();
    if (!first || first->kind != Kind::header || !decode_header(first->body, loaded.header)) {
        return std::nullopt;
    }
    OpenFiles files;
    for (auto record = reader.next(); record; record = reader.next()) {
        if (!files.apply(*record)) {
            break;
        }
    }
    loaded.files = files.take();
    return loaded;
}

} // namespace sluice
