#include "receiver/guest_list.hpp"

#include <algorithm>

namespace sluice {

std::optional<GuestList::Id> GuestList::choose(const std::vector<Id>& candidates) const {
    if (candidates.empty()) {
        return std::nullopt;
    }
    return candidates[draw_((candidates.size() + 1) / 2)]; // of the older half
}

std::optional<GuestList::Id> GuestList::one_stranger() const {
    const auto most = std::max_element(
        networks_.begin(), networks_.end(), [](const auto& left, const auto& right) {
            return left.second.strangers.size() < right.second.strangers.size();
        });
    return most == networks_.end() ? std::nullopt : choose(most->second.strangers);
}

std::optional<GuestList::Entered> GuestList::enter(const std::string& network) {
    Entered entered;
    const auto known = networks_.find(network);
    const std::size_t present = known == networks_.end() ? 0 : known->second.guests;
    if (present >= limits_.per_network) {
        entered.leaves = known == networks_.end() ? std::nullopt : choose(known->second.strangers);
        if (!entered.leaves) {
            return std::nullopt;
        }
    } else if (guests_.size() >= limits_.guests) {
        entered.leaves = one_stranger();
        if (!entered.leaves) {
            return std::nullopt;
        }
    }
    entered.id = ++last_id_;
    guests_.emplace(entered.id, Guest{network});
    Network& own = networks_[network];
    ++own.guests;
    own.strangers.push_back(entered.id);
    return entered;
}

std::optional<GuestList::Id> GuestList::grow(Id id) {
    const auto guest = guests_.find(id);
    if (guest == guests_.end() || guest->second.large) {
        return std::nullopt;
    }
    std::optional<Id> leaves;
    if (large_.size() >= limits_.large) {
        std::vector<Id> strangers;
        std::copy_if(large_.begin(), large_.end(), std::back_inserter(strangers),
                     [this](Id other) { return !guests_.at(other).recognised; });
        leaves = choose(strangers.empty() ? large_ : strangers);
    }
    guest->second.large = true;
    large_.push_back(id);
    return leaves;
}

std::optional<GuestList::Id> GuestList::recognise(Id id) {
    const auto guest = guests_.find(id);
    if (guest == guests_.end() || guest->second.recognised) {
        return std::nullopt;
    }
    guest->second.recognised = true;
    std::erase(networks_.at(guest->second.network).strangers, id);
    recognised_.push_back(id);
    // Never the guest itself, which says what it wants any moment now.
    if (recognised_.size() <= std::max<std::size_t>(limits_.guests / 2, 1)) {
        return std::nullopt;
    }
    return recognised_.front();
}

void GuestList::leave(Id id) {
    const auto guest = guests_.find(id);
    if (guest == guests_.end()) {
        return;
    }
    const auto network = networks_.find(guest->second.network);
    std::erase(network->second.strangers, id);
    if (--network->second.guests == 0) {
        networks_.erase(network);
    }
    std::erase(large_, id);
    std::erase(recognised_, id);
    guests_.erase(guest);
}

} // namespace sluice
