#include "receiver/janitor.hpp"

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
        const std::unique_ptr<Store> store = std::move(stores_.front());
        stores_.pop_front();
        lock.unlock();
        store->abandon();
        lock.lock();
    }
}

} // namespace sluice
