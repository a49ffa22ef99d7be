#include "receiver/session_table.hpp"

#include "receiver/principal.hpp"

#include <algorithm>
#include <utility>

namespace sluice {

void SessionTable::add(std::shared_ptr<Session> session, const std::string& network) {
    const std::uint64_t serial = session->serial();
    sessions_.emplace(serial, Entry{std::move(session), network});
}

void SessionTable::remove(std::uint64_t serial) {
    if (sessions_.erase(serial) != 0) {
        orphans_ += waiting_.count(serial);
    }
}

std::size_t SessionTable::count(const std::function<bool(const Entry&)>& begun,
                                const std::function<bool(const PendingSession&)>& orphan) const {
    const auto present = std::count_if(sessions_.begin(), sessions_.end(), [&](const auto& entry) {
        return !entry.second.session->has_last_word() && begun(entry.second);
    });
    const auto orphans = std::count_if(waiting_.begin(), waiting_.end(), [&](const auto& next) {
        return sessions_.count(next.first) == 0 && orphan(next.second);
    });
    return static_cast<std::size_t>(present + orphans);
}

std::size_t SessionTable::size() const {
    return count([](const Entry&) { return true; }, [](const PendingSession&) { return true; });
}

std::size_t SessionTable::size_of(const std::string& network) const {
    return count([&](const Entry& entry) { return entry.network == network; },
                 [&](const PendingSession& next) { return next.network == network; });
}

std::size_t SessionTable::size_of(const KeyIdentity& key) const {
    const auto is_it = [&](const SharedKey& owner) { return owner && owner->identity == key; };
    return count([&](const Entry& entry) { return is_it(entry.session->key()); },
                 [&](const PendingSession& next) { return is_it(next.key); });
}

std::shared_ptr<Session> SessionTable::with_token(const proto::Token& token) const {
    std::shared_ptr<Session> found;
    for (const auto& [serial, entry] : sessions_) {
        std::byte difference{};
        for (std::size_t index = 0; index < token.size(); ++index) {
            difference |= token[index] ^ entry.session->token()[index];
        }
        if (difference == std::byte{}) {
            found = entry.session;
        }
    }
    return found;
}

std::shared_ptr<Session> SessionTable::of_run(const proto::Token& run, const SharedKey& key) const {
    if (run == proto::Token{}) {
        return nullptr;
    }
    for (const auto& [serial, entry] : sessions_) {
        if (entry.session->run() == run && is_same(entry.session->key(), key)) {
            return entry.session;
        }
    }
    return nullptr;
}

void SessionTable::wait_for(std::uint64_t serial, PendingSession next) {
    waiting_.insert_or_assign(serial, std::move(next));
}

bool SessionTable::has_successor(std::uint64_t serial) const {
    return waiting_.count(serial) != 0;
}

std::optional<PendingSession> SessionTable::take_successor(std::uint64_t serial) {
    const auto found = waiting_.find(serial);
    if (found == waiting_.end()) {
        return std::nullopt;
    }
    PendingSession next = std::move(found->second);
    waiting_.erase(found);
    orphans_ -= sessions_.count(serial) == 0 ? 1U : 0U;
    return next;
}

void SessionTable::fail_all(const Error& error) const {
    for (const auto& [serial, entry] : sessions_) {
        entry.session->fail(error);
    }
}

void SessionTable::fail_keys(const std::function<bool(const SharedKey&)>& lost,
                             const Error& error) {
    for (const auto& [serial, entry] : sessions_) {
        if (lost(entry.session->key())) {
            entry.session->fail(error);
        }
    }
    for (auto next = waiting_.begin(); next != waiting_.end();) {
        if (lost(next->second.key)) {
            orphans_ -= sessions_.count(next->first) == 0 ? 1U : 0U;
            next = waiting_.erase(next);
        } else {
            ++next;
        }
    }
}

void SessionTable::clear() {
    waiting_.clear();
    sessions_.clear();
    orphans_ = 0;
}

} // namespace sluice
