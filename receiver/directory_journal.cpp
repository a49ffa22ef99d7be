#include "receiver/directory_journal.hpp"

#include <cstring>

namespace sluice {

namespace {

// How a note lies in the spool, before its path; only this process reads it.
struct StoredNote {
    std::int64_t seconds;
    std::uint32_t nanoseconds;
    std::uint32_t mode;
    bool staged;
    bool set_mode;
};

} // namespace

int DirectoryJournal::append(const DirectoryNote& note) {
    const StoredNote stored{note.mtime.seconds, note.mtime.nanoseconds, note.mode, note.staged,
                            note.set_mode};
    return notes_.append({reinterpret_cast<const char*>(&stored), sizeof stored}, note.path);
}

int DirectoryJournal::for_each(const std::function<void(const DirectoryNote&)>& visit) const {
    return notes_.for_each([&](std::string_view record) {
        StoredNote stored{};
        std::memcpy(&stored, record.data(), sizeof stored);
        visit({stored.staged,
               stored.set_mode,
               stored.mode,
               {stored.seconds, stored.nanoseconds},
               record.substr(sizeof stored)});
    });
}

} // namespace sluice
