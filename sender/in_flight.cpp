#include "sender/in_flight.hpp"

#include "common/net.hpp"

#include <algorithm>
#include <set>
#include <sys/socket.h>
#include <utility>

namespace sluice {

namespace {

bool is_extent(const Parcel& parcel) {
    return parcel.work.is_piece();
}

} // namespace

std::uint32_t InFlight::open_connection(int socket) {
    const std::scoped_lock lock(mutex_);
    const std::uint32_t number = next_connection_;
    if (number != 0) { // they do not come round again: codes of frames would
        ++next_connection_;
        connections_[number].socket = socket;
    }
    return number;
}

InFlight::Ended InFlight::close_connection(std::uint32_t connection) {
    const std::scoped_lock lock(mutex_);
    const auto found = connections_.find(connection);
    if (found == connections_.end()) {
        return {};
    }
    bytes_taken_ += tcp_progress(found->second.socket).acknowledged_bytes;
    found->second.socket = -1;
    const Ended ended{found->second.acknowledged, found->second.stalled};
    if (found->second.lost) {
        connections_.erase(found);
    }
    return ended;
}

bool InFlight::usable(std::uint32_t connection) const {
    const auto found = connections_.find(connection);
    return !cancelled_ && found != connections_.end() && !found->second.broken;
}

std::optional<std::uint64_t> InFlight::add(std::uint32_t connection, Parcel& parcel) {
    const std::scoped_lock lock(mutex_);
    if (!usable(connection)) {
        return std::nullopt;
    }
    if (is_extent(parcel)) {
        ++extents_;
    } else {
        ++batches_.count;
        batches_.entries += parcel.work.entries.size();
        batches_.files += parcel.files;
    }
    parcels_.emplace_hint(parcels_.end(), next_id_,
                          Entry{connection, false, false, 0, std::move(parcel)});
    return next_id_++;
}

void InFlight::advance(std::uint64_t id, std::uint64_t bytes) {
    const std::scoped_lock lock(mutex_);
    if (const auto found = parcels_.find(id); found != parcels_.end()) {
        count(found->second, bytes);
    }
}

void InFlight::sent(std::uint64_t id) {
    const std::scoped_lock lock(mutex_);
    const auto found = parcels_.find(id);
    if (found != parcels_.end()) {
        found->second.sent = true;
        count(found->second, found->second.parcel.bytes);
    }
}

void InFlight::count(Entry& entry, std::uint64_t bytes) {
    bytes_done_ += bytes - entry.counted;
    entry.counted = bytes;
}

InFlight::Batches InFlight::batches() const {
    const std::scoped_lock lock(mutex_);
    return batches_;
}

bool InFlight::has_room() const {
    const std::scoped_lock lock(mutex_);
    return extents_ < max_extents_;
}

bool InFlight::wait_for_room(std::uint32_t connection) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return extents_ < max_extents_ || !usable(connection); });
    return usable(connection);
}

bool InFlight::claim_digest(std::uint64_t id) {
    const std::scoped_lock lock(mutex_);
    const auto found = parcels_.find(id);
    return found != parcels_.end() && !std::exchange(found->second.digest_claimed, true);
}

bool InFlight::note_digest(std::uint64_t id, const proto::Digest& digest) {
    const std::scoped_lock lock(mutex_);
    const auto found = parcels_.find(id);
    if (found == parcels_.end()) {
        return false;
    }
    found->second.parcel.digest = digest;
    return true;
}

Parcel InFlight::remove(std::map<std::uint64_t, Entry>::iterator at) {
    Parcel parcel = std::move(at->second.parcel);
    parcels_.erase(at);
    if (is_extent(parcel)) {
        --extents_;
        changed_.notify_all();
    } else {
        --batches_.count;
        batches_.entries -= parcel.work.entries.size();
        batches_.files -= parcel.files;
    }
    return parcel;
}

std::optional<Parcel> InFlight::acknowledge(std::uint64_t id, Clock::time_point now) {
    const std::scoped_lock lock(mutex_);
    const auto found = parcels_.find(id);
    if (found == parcels_.end()) {
        return std::nullopt;
    }
    acknowledged_at_ = now;
    if (const auto over = connections_.find(found->second.connection); over != connections_.end()) {
        over->second.acknowledged = true;
    }
    count(found->second, found->second.parcel.bytes); // the stream may not have come to say so
    return remove(found);
}

std::optional<Parcel> InFlight::take_damaged(std::uint64_t id) {
    const std::scoped_lock lock(mutex_);
    const auto found = parcels_.find(id);
    if (found == parcels_.end()) {
        return std::nullopt;
    }
    count(found->second, 0);
    bytes_in_vain_ += found->second.parcel.bytes;
    return remove(found);
}

bool InFlight::break_connection(std::uint32_t connection) {
    {
        const std::scoped_lock lock(mutex_);
        const auto found = connections_.find(connection);
        if (found == connections_.end() || found->second.broken) {
            return false;
        }
        found->second.broken = true;
        if (found->second.socket >= 0) {
            ::shutdown(found->second.socket, SHUT_RDWR);
        }
    }
    changed_.notify_all();
    return true;
}

std::vector<Work> InFlight::take_lost(std::uint32_t connection) {
    std::vector<Work> lost;
    {
        const std::scoped_lock lock(mutex_);
        const auto found = connections_.find(connection);
        if (found == connections_.end()) {
            return lost;
        }
        if (found->second.socket >= 0) {
            found->second.broken = found->second.lost = true;
            ::shutdown(found->second.socket, SHUT_RDWR); // its stream shall notice
        } else {
            connections_.erase(found);
        }
        for (auto at = parcels_.begin(); at != parcels_.end();) {
            const auto here = at++;
            if (here->second.connection == connection) {
                count(here->second, 0);
                bytes_in_vain_ += here->second.sent ? here->second.parcel.bytes : 0;
                lost.push_back(remove(here).work);
            }
        }
    }
    changed_.notify_all();
    return lost;
}

std::vector<std::uint32_t> InFlight::stalled(Clock::time_point now,
                                             std::chrono::milliseconds timeout) {
    std::vector<std::uint32_t> found;
    {
        const std::scoped_lock lock(mutex_);
        std::set<std::uint32_t> waiting;
        for (const auto& [id, entry] : parcels_) {
            if (entry.sent) {
                waiting.insert(entry.connection);
            }
        }
        // This process may have been stopped for a while: then nobody is to blame.
        const bool rested = now - looked_at_ > timeout / 2;
        looked_at_ = now;
        for (auto& [number, connection] : connections_) {
            if (connection.socket < 0 || connection.broken) {
                continue;
            }
            if (rested) {
                connection.moved = now;
            }
            if (stands_still(connection, waiting.contains(number), now, timeout)) {
                connection.broken = connection.stalled = true;
                ::shutdown(connection.socket, SHUT_RDWR);
                found.push_back(number);
            }
        }
    }
    if (!found.empty()) {
        changed_.notify_all();
    }
    return found;
}

bool InFlight::stands_still(Connection& connection, bool waiting, Clock::time_point now,
                            std::chrono::milliseconds timeout) const {
    if (!waiting) {
        connection.moved = now;
        return false;
    }
    const TcpProgress progress = tcp_progress(connection.socket);
    if (progress.acknowledged_bytes != connection.taken) {
        connection.taken = progress.acknowledged_bytes;
        connection.moved = now;
    }
    const Clock::time_point moved = std::max(connection.moved, acknowledged_at_);
    return progress.closed || (timeout.count() > 0 && now - moved >= timeout);
}

std::uint64_t InFlight::bytes_taken() const {
    const std::scoped_lock lock(mutex_);
    std::uint64_t bytes = bytes_taken_;
    for (const auto& [number, connection] : connections_) {
        if (connection.socket >= 0) {
            bytes += tcp_progress(connection.socket).acknowledged_bytes;
        }
    }
    return bytes;
}

void InFlight::cancel() {
    {
        const std::scoped_lock lock(mutex_);
        cancelled_ = true;
    }
    changed_.notify_all();
}

std::uint64_t InFlight::bytes_done() const {
    const std::scoped_lock lock(mutex_);
    return bytes_done_;
}

std::uint64_t InFlight::bytes_in_vain() const {
    const std::scoped_lock lock(mutex_);
    return bytes_in_vain_;
}

std::uint64_t InFlight::bytes_under_way() const {
    const std::scoped_lock lock(mutex_);
    std::uint64_t bytes = 0;
    for (const auto& [id, entry] : parcels_) {
        bytes += entry.sent ? entry.parcel.bytes : 0;
    }
    return bytes;
}

} // namespace sluice
