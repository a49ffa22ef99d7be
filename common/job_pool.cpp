#include "common/job_pool.hpp"

#include <algorithm>
#include <system_error>
#include <utility>

namespace sluice {

JobPool::JobPool(unsigned threads) : wanted_threads_(std::max(1U, threads)) {}

JobPool::~JobPool() {
    std::deque<Job> dropped; // freed without the lock: what a job holds may take its time
    {
        const std::scoped_lock lock(mutex_);
        stopping_ = true;
        dropped.swap(jobs_);
    }
    changed_.notify_all();
    dropped.clear();
    for (std::thread& thread : threads_) {
        thread.join();
    }
}

void JobPool::post(const Job& job) {
    bool has_threads = false;
    {
        const std::scoped_lock lock(mutex_);
        if (stopping_) {
            return; // by a job that is still running: dropped like those that wait
        }
        if (threads_.empty()) {
            start_threads();
        }
        has_threads = !threads_.empty();
        if (has_threads) {
            jobs_.push_back(job);
        }
    }
    if (has_threads) {
        changed_.notify_one();
    } else {
        job();
    }
}

void JobPool::start_threads() {
    threads_.reserve(wanted_threads_);
    while (threads_.size() < wanted_threads_) {
        try {
            threads_.emplace_back([this] { work(); });
        } catch (const std::system_error&) { // out of threads: with fewer it is merely slower
            break;
        }
    }
}

void JobPool::work() {
    Usage before; // the thread is new: its start is on the first job's account
    for (;;) {
        Job job;
        {
            std::unique_lock lock(mutex_);
            changed_.wait(lock, [this] { return stopping_ || !jobs_.empty(); });
            if (stopping_) {
                return;
            }
            job = std::move(jobs_.front());
            jobs_.pop_front();
        }
        job();
        job = nullptr; // what it holds is freed at its own expense
        const Usage now = thread_usage();
        usage_.add(now - before);
        before = now;
    }
}

} // namespace sluice
