// A few threads that work off jobs in the order in which they were posted. They start with the
// first job, all of them, and live as long as the pool: a program that posts nothing has none.
// post() may be called from any thread, also from a job; the destructor from no thread of the pool,
// and only when nobody else posts any more.
#pragma once

#include "common/usage.hpp"

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace sluice {

class JobPool {
public:
    // At least one thread, also where 0 are asked for.
    explicit JobPool(unsigned threads);
    // Drops the jobs that have not begun and waits for those that have.
    ~JobPool();
    JobPool(const JobPool&) = delete;
    JobPool& operator=(const JobPool&) = delete;

    // The job must not throw: that would end the process. Where not one thread can be had, the
    // caller's runs it before post() returns.
    void post(const std::function<void()>& job);

    // What the threads have used, added after each job: a moment after its last line has run.
    [[nodiscard]] SharedUsage& usage() noexcept { return usage_; }

private:
    using Job = std::function<void()>;

    void start_threads();
    void work();

    const unsigned wanted_threads_;
    SharedUsage usage_;
    std::mutex mutex_; // guards what follows
    std::condition_variable changed_;
    std::deque<Job> jobs_;
    bool stopping_ = false;
    std::vector<std::thread> threads_;
};

} // namespace sluice
