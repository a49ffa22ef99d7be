#include "receiver/large_file_table.hpp"

#include <cstddef>
#include <utility>

namespace sluice {

namespace {

// Files of one session that were aborted: each takes a set entry.
constexpr std::size_t kMaxAborted = 65'536;
// Pieces of one file that may be apart: each takes memory. In order, one stream makes one piece.
constexpr std::size_t kMaxPieces = 4096;
// The same of all files of a session together: 64 of each, where as many are open as may be.
constexpr std::size_t kMaxPiecesInAll = 65'536;

bool same_file(const LargeFile& file, const proto::Extent& extent) {
    return file.size == extent.file_size && file.path == extent.path &&
           file.mode == (extent.mode & kKeptModeBits) && file.mtime == extent.mtime &&
           file.version == extent.version;
}

} // namespace

Storage::BegunExtent LargeFileTable::begin(const proto::Extent& extent, const Open& open) {
    const std::scoped_lock lock(mutex_);
    if (const auto known = files_.find(extent.file_id); known != files_.end()) {
        LargeFile& file = *known->second;
        if (!same_file(file, extent)) {
            return {nullptr, proto::Fault::bad_value};
        }
        if (file.received.pieces() >= kMaxPieces || pieces_ >= kMaxPiecesInAll) {
            return {nullptr, proto::Fault::limit_exceeded};
        }
        ++file.writers;
        return {&file};
    }
    if (files_.size() >= proto::kMaxOpenFiles) {
        return {nullptr, proto::Fault::limit_exceeded};
    }
    LargeFile& file =
        *files_.emplace(extent.file_id, std::make_unique<LargeFile>(extent)).first->second;
    Storage::BegunExtent begun{&file};
    begun.is_new = true;
    if (aborted_.count(file.id) != 0) {
        file.dead = file.aborted = true;
    } else {
        begun.problem = open(file);
        file.dead = begun.problem.has_value();
        pieces_ += file.received.pieces(); // that an earlier session has left
    }
    ++file.writers;
    return begun;
}

std::unique_ptr<LargeFile> LargeFileTable::done(LargeFile& file, std::uint64_t offset,
                                                std::uint64_t length,
                                                const std::function<void()>& note) {
    const std::scoped_lock lock(mutex_);
    pieces_ -= file.received.pieces();
    file.received.add(offset, offset + length);
    pieces_ += file.received.pieces();
    --file.writers;
    if (note) {
        note();
    }
    return take_if_over(file.id);
}

std::unique_ptr<LargeFile> LargeFileTable::lost(LargeFile& file) {
    const std::scoped_lock lock(mutex_);
    --file.writers;
    return take_if_over(file.id);
}

std::unique_ptr<LargeFile> LargeFileTable::end(std::uint64_t id) {
    const std::scoped_lock lock(mutex_);
    const auto known = files_.find(id);
    if (known == files_.end() || known->second->aborted || known->second->writers != 0 ||
        !(known->second->dead || known->second->received.covers(known->second->size))) {
        return nullptr;
    }
    return take(known);
}

proto::Fault LargeFileTable::abort(std::uint64_t id, std::unique_ptr<LargeFile>& over) {
    const std::scoped_lock lock(mutex_);
    if (aborted_.size() >= kMaxAborted) {
        return proto::Fault::limit_exceeded;
    }
    aborted_.insert(id);
    if (const auto known = files_.find(id); known != files_.end()) {
        known->second->dead = known->second->aborted = true;
    }
    over = take_if_over(id);
    return proto::Fault::none;
}

bool LargeFileTable::empty() const {
    const std::scoped_lock lock(mutex_);
    return files_.empty();
}

void LargeFileTable::clear() {
    const std::scoped_lock lock(mutex_);
    files_.clear();
}

// Under mutex_. From here on nobody else can reach the file.
std::unique_ptr<LargeFile> LargeFileTable::take_if_over(std::uint64_t id) {
    const auto known = files_.find(id);
    if (known == files_.end() || !known->second->aborted || known->second->writers != 0) {
        return nullptr;
    }
    return take(known);
}

std::unique_ptr<LargeFile> LargeFileTable::take(Files::iterator known) {
    std::unique_ptr<LargeFile> file = std::move(known->second);
    pieces_ -= file->received.pieces();
    files_.erase(known);
    return file;
}

} // namespace sluice
