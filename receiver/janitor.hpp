// Removes what abandoned sessions left, on a thread of its own: a big tree takes its time, and no
// worker should wait for it.
#pragma once

#include "receiver/storage.hpp"

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>

namespace sluice {

class Janitor {
public:
    Janitor() = default;
    // What could not be removed is left for the sweep of the next start.
    ~Janitor();
    Janitor(const Janitor&) = delete;
    Janitor& operator=(const Janitor&) = delete;

    // Finishes what it was given and ends the thread. What is disposed of afterwards is removed by
    // the caller's own thread.
    void stop();

    // Thread-safe. Where no thread can be had the caller's own does the work.
    void dispose(std::unique_ptr<Storage> store);

private:
    void run();
    [[nodiscard]] bool has_thread(); // under mutex_

    std::mutex mutex_;
    std::condition_variable wake_;
    std::deque<std::unique_ptr<Storage>> stores_; // guarded by mutex_
    bool stopping_ = false;                       // guarded by mutex_
    std::deque<std::unique_ptr<Storage>> stuck_;  // tried again with the next; the thread's own
    std::thread thread_; // started with the first work; guarded by mutex_ until stop()
};

} // namespace sluice
