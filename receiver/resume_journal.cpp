#include "receiver/resume_journal.hpp"

#include "common/usage.hpp"
#include "receiver/resume_journal_format.hpp"

#include <cassert>
#include <cerrno>
#include <concepts>
#include <fcntl.h>
#include <span>
#include <string_view>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace sluice {

using namespace resume_format;

namespace {

constexpr const char* kTemporaryName = "resume.new";

// Appends one record to `out`: the constructor writes its header, finish() completes it.
class RecordWriter {
public:
    RecordWriter(Kind kind, Bytes& out) : out_(out), start_(out.size()) {
        out_.resize(start_ + kRecordHeaderBytes);
        out_[start_ + kKindAt] = static_cast<std::byte>(kind);
    }

    template <std::unsigned_integral T>
    void number(T value) {
        out_.resize(out_.size() + sizeof(T));
        store_le(out_.data() + out_.size() - sizeof(T), value);
    }
    void bytes(ByteView value) { out_.insert(out_.end(), value.begin(), value.end()); }
    template <std::unsigned_integral Length>
    void text(std::string_view value) {
        number(static_cast<Length>(value.size()));
        bytes(std::as_bytes(std::span(value)));
    }

    void finish() {
        const std::span record = std::span(out_).subspan(start_);
        const std::size_t body_bytes = record.size() - kRecordHeaderBytes;
        assert(body_bytes <= kMaxRecordBodyBytes);
        store_le(record.data(), static_cast<std::uint32_t>(body_bytes));
        store_check(record);
    }

private:
    Bytes& out_;
    std::size_t start_;
};

void encode_header(const JournalHeader& header, Bytes& out) {
    RecordWriter record(Kind::header, out);
    record.bytes(header.run);
    record.text<std::uint8_t>(header.boot_id);
    record.finish();
}

void encode_piece(std::uint64_t number, const PartialFile::Piece& piece, Bytes& out) {
    RecordWriter record(Kind::piece, out);
    record.number(number);
    record.number(piece.offset);
    record.number(piece.length);
    if (piece.digest) {
        record.bytes(*piece.digest);
    }
    record.finish();
}

void encode_file(std::uint64_t number, const PartialFile& file, Bytes& out) {
    RecordWriter record(Kind::begin, out);
    record.number(number);
    record.number(file.size);
    record.number(static_cast<std::uint64_t>(file.mtime.seconds));
    record.number(file.mtime.nanoseconds);
    record.number(file.version);
    record.number(file.inode);
    record.number(static_cast<std::uint8_t>(file.staged ? 1 : 0));
    record.text<std::uint16_t>(file.path);
    record.text<std::uint16_t>(file.stored_path);
    record.finish();
    for (const PartialFile::Piece& piece : file.pieces) {
        encode_piece(number, piece, out);
    }
}

Error cannot_write(int error) {
    return system_error(ErrorKind::file_io, "cannot write the resume journal", error);
}

} // namespace

ResumeJournal::ResumeJournal(ResumeJournal&& other) noexcept
    : file_(std::move(other.file_)), broken_(std::exchange(other.broken_, EBADF)),
      next_number_(other.next_number_) {}

Result<ResumeJournal> ResumeJournal::create(int directory, const JournalHeader& header,
                                            const std::vector<PartialFile>& carried_over) {
    if (header.boot_id.size() > kMaxBootIdBytes) {
        return cannot_write(EINVAL);
    }
    // A process that died in here may have left one; O_EXCL then makes sure that it is ours.
    count_system_call();
    static_cast<void>(::unlinkat(directory, kTemporaryName, 0));
    count_system_call();
    UniqueFd file = UniqueFd::adopt(::openat(
        directory, kTemporaryName, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_NOFOLLOW | O_CLOEXEC,
        S_IRUSR | S_IWUSR));
    if (!file) {
        return cannot_write(errno);
    }
    const int fd = file.get();
    ResumeJournal journal(std::move(file));

    const auto fail = [directory](int error) {
        count_system_call();
        static_cast<void>(::unlinkat(directory, kTemporaryName, 0));
        return cannot_write(error);
    };
    const auto start = preamble();
    Bytes records(start.begin(), start.end());
    encode_header(header, records);
    if (const int error = journal.append(records); error != 0) {
        return fail(error);
    }
    for (const PartialFile& partial : carried_over) {
        if (auto begun = journal.begin_file(partial); !begun) {
            return fail(begun.error().error_number);
        }
    }
    if (!carried_over.empty()) {
        // The old journal may be on the disk already; the new one must not be less than that when
        // the machine goes down after the rename. What has nothing to lose need not wait.
        count_system_call();
        if (::fdatasync(fd) != 0) {
            return fail(errno);
        }
    }
    count_system_call();
    if (::renameat(directory, kTemporaryName, directory, kResumeJournalName) != 0) {
        return fail(errno);
    }
    return journal;
}

Result<std::uint64_t> ResumeJournal::begin_file(const PartialFile& file) {
    if (!acceptable(file)) {
        return cannot_write(EINVAL);
    }
    std::uint64_t number = 0;
    {
        const std::scoped_lock lock(mutex_);
        number = next_number_++;
    }
    Bytes records;
    encode_file(number, file, records);
    if (const int error = append(records); error != 0) {
        return cannot_write(error);
    }
    return number;
}

int ResumeJournal::add_piece(std::uint64_t number, std::uint64_t offset, std::uint64_t length,
                             const std::optional<Digest>& digest) {
    Bytes record;
    encode_piece(number, {offset, length, digest}, record);
    return append(record);
}

int ResumeJournal::end_file(std::uint64_t number) {
    Bytes bytes;
    RecordWriter record(Kind::end, bytes);
    record.number(number);
    record.finish();
    return append(bytes);
}

// One write, unless the kernel takes only a part: then the next one says why, or completes it.
int ResumeJournal::append(const Bytes& records) {
    const std::scoped_lock lock(mutex_);
    for (std::size_t done = 0; broken_ == 0 && done < records.size();) {
        count_system_call();
        const ssize_t wrote = ::write(file_.get(), records.data() + done, records.size() - done);
        if (wrote > 0) {
            done += static_cast<std::size_t>(wrote);
        } else if (wrote == 0) {
            broken_ = EIO;
        } else if (errno != EINTR) {
            broken_ = errno;
        }
    }
    return broken_;
}

std::string current_boot_id() {
    count_system_call();
    const UniqueFd file =
        UniqueFd::adopt(::open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC));
    std::array<char, kMaxBootIdBytes> buffer{};
    count_system_call();
    const ssize_t got = file ? ::read(file.get(), buffer.data(), buffer.size()) : 0;
    const std::string_view text(buffer.data(), got > 0 ? static_cast<std::size_t>(got) : 0);
    return std::string(text.substr(0, text.find('\n')));
}

} // namespace sluice
