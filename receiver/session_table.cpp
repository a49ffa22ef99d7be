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
    sessions_.erase(serial);
}

SessionLoad SessionTable::count(const std::function<bool(const Entry&)>& begun,
                                const std::function<bool(const PendingSession&)>& waiting) const {
    SessionLoad load;
    for (const auto& [serial, entry] : sessions_) {
        if (begun(entry)) {
            ++load.held;
            load.counted += entry.session->has_last_word() ? 0U : 1U;
        }
    }
    for (const auto& [serial, next] : waiting_) {
        if (waiting(next)) {
            const auto before = sessions_.find(serial);
            const bool alone = before == sessions_.end() || before->second.session->has_last_word();
            ++load.held;
            load.counted += alone ? 1U : 0U;
        }
    }
    return load;
}

SessionLoad SessionTable::load() const {
    return count([](const Entry&) { return true; }, [](const PendingSession&) { return true; });
}

SessionLoad SessionTable::load_of(const std::string& network) const {
    return count([&](const Entry& entry) { return entry.network == network; },
                 [&](const PendingSession& next) { return next.network == network; });
}

SessionLoad SessionTable::load_of(const KeyIdentity& key) const {
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
            next = waiting_.erase(next);
        } else {
            ++next;
        }
    }
}

void SessionTable::clear() {
    waiting_.clear();
    sessions_.clear();
}

} // namespace sluice
