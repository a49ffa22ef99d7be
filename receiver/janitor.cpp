#include "receiver/janitor.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

namespace sluice {

Janitor::Janitor() : thread_([this] { run(); }) {}

Janitor::~Janitor() {
    {
        const std::scoped_lock lock(mutex_);
        stopping_ = true;
    }
    wake_.notify_one();
    thread_.join();
}

void Janitor::dispose(std::unique_ptr<Store> store) {
    {
        const std::scoped_lock lock(mutex_);
        stores_.push_back(std::move(store));
    }
    wake_.notify_one();
}

void Janitor::run() {
    std::unique_lock lock(mutex_);
    for (;;) {
        wake_.wait(lock, [this] { return stopping_ || !stores_.empty(); });
        if (stores_.empty()) {
            return;
        }
        std::deque<std::unique_ptr<Store>> stores = std::move(stuck_);
        stuck_.clear();
        std::move(stores_.begin(), stores_.end(), std::back_inserter(stores));
        stores_.clear();
        lock.unlock();
        for (std::unique_ptr<Store>& store : stores) {
            if (!store->abandon()) {
                stuck_.push_back(std::move(store));
            }
        }
        lock.lock();
    }
}

} // namespace sluice
