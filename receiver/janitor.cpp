#include "receiver/janitor.hpp"

#include <algorithm>
#include <chrono>
#include <iterator>
#include <system_error>
#include <utility>

namespace sluice {

namespace {

// Between tries to remove what could not be removed.
constexpr std::chrono::milliseconds kRetryInterval{500};

} // namespace

Janitor::~Janitor() {
    stop();
}

void Janitor::stop() {
    {
        const std::scoped_lock lock(mutex_);
        stopping_ = true;
    }
    wake_.notify_one();
    if (thread_.joinable()) {
        thread_.join();
    }
}

void Janitor::dispose(std::unique_ptr<Storage> store) {
    {
        const std::scoped_lock lock(mutex_);
        if (!stopping_ && has_thread()) {
            stores_.push_back(std::move(store));
            wake_.notify_one();
            return;
        }
    }
    static_cast<void>(store->abandon());
}

bool Janitor::has_thread() {
    if (!thread_.joinable()) {
        try {
            thread_ = std::thread([this] { run(); });
        } catch (const std::system_error&) { // out of threads
            return false;
        }
    }
    return true;
}

void Janitor::run() {
    std::unique_lock lock(mutex_);
    for (;;) {
        const auto has_news = [this] { return stopping_ || !stores_.empty(); };
        if (stuck_.empty()) {
            wake_.wait(lock, has_news);
        } else {
            wake_.wait_for(lock, kRetryInterval, has_news);
        }
        if (stopping_ && stores_.empty()) {
            return;
        }
        std::deque<std::unique_ptr<Storage>> stores = std::move(stuck_);
        stuck_.clear();
        std::move(stores_.begin(), stores_.end(), std::back_inserter(stores));
        stores_.clear();
        lock.unlock();
        for (std::unique_ptr<Storage>& store : stores) {
            if (!store->abandon()) {
                stuck_.push_back(std::move(store));
            }
        }
        lock.lock();
    }
}

} // namespace sluice
