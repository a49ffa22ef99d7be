#include "common/job_pool.hpp"

#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>
#include <filesystem>
#include <functional>
#include <future>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

using namespace sluice;

namespace {

std::ptrdiff_t threads_of_process() {
    const std::filesystem::directory_iterator tasks("/proc/self/task");
    return std::distance(begin(tasks), end(tasks));
}

// Keeps one thread of a pool busy until open() is called.
class Gate {
public:
    void post_to(JobPool& pool, std::function<void()> afterwards = {}) {
        pool.post([this, afterwards = std::move(afterwards)] {
            entered_.set_value();
            opened_.get_future().wait();
            if (afterwards) {
                afterwards();
            }
        });
        entered_.get_future().wait();
    }
    void open() { opened_.set_value(); }

private:
    std::promise<void> entered_;
    std::promise<void> opened_;
};

} // namespace

TEST_CASE("a job pool runs every job once, whoever posts it") {
    constexpr std::size_t kPosters = 4;
    constexpr std::size_t kJobs = 500;
    std::vector<std::atomic<int>> runs(kPosters * kJobs);
    std::atomic<std::size_t> left{runs.size()};
    std::promise<void> all_done;
    JobPool pool(3);
    std::vector<std::thread> posters;
    for (std::size_t poster = 0; poster < kPosters; ++poster) {
        posters.emplace_back([&, poster] {
            for (std::size_t job = 0; job < kJobs; ++job) {
                pool.post([&, slot = poster * kJobs + job] {
                    ++runs[slot];
                    if (--left == 0) {
                        all_done.set_value();
                    }
                });
            }
        });
    }
    for (std::thread& poster : posters) {
        poster.join();
    }
    all_done.get_future().wait();
    CHECK(std::all_of(runs.begin(), runs.end(), [](const auto& count) { return count == 1; }));
}

TEST_CASE("a job pool of one thread runs jobs in the order in which they were posted") {
    std::vector<int> order;
    std::promise<void> all_done;
    JobPool pool(0); // is one
    for (int job = 0; job < 100; ++job) {
        pool.post([&order, job] { order.push_back(job); });
    }
    pool.post([&] { all_done.set_value(); });
    all_done.get_future().wait();
    CHECK(order.size() == 100);
    CHECK(std::is_sorted(order.begin(), order.end()));
}

TEST_CASE("a job may post another") {
    std::promise<void> done;
    JobPool pool(1);
    pool.post([&] { pool.post([&] { done.set_value(); }); });
    done.get_future().wait();
}

TEST_CASE("a job pool starts no thread before the first job, and then as many as it was told") {
    std::thread([] {}).join(); // with the first thread a sanitizer may start one of its own
    const std::ptrdiff_t before = threads_of_process();
    {
        Gate gate; // outlives the pool, like all that jobs use
        JobPool pool(2);
        CHECK(threads_of_process() == before);
        gate.post_to(pool);
        CHECK(threads_of_process() == before + 2);
        gate.open();
    }
    CHECK(threads_of_process() <= before + 2); // join() returns a moment before /proc forgets
}

TEST_CASE("the end of a job pool waits for the job that runs and drops those that wait") {
    auto held = std::make_shared<int>(0);
    const std::weak_ptr<int> watched = held;
    std::atomic<bool> finished{false};
    std::atomic<bool> dropped_ran{false};
    Gate gate;
    auto pool = std::make_unique<JobPool>(1);
    gate.post_to(*pool, [&] { finished = true; });
    pool->post([&dropped_ran, held = std::move(held)] { dropped_ran = true; });
    std::thread ender([&] { pool.reset(); });
    while (!watched.expired()) { // until the destructor has dropped it
        std::this_thread::yield();
    }
    gate.open();
    ender.join();
    CHECK(finished);
    CHECK_FALSE(dropped_ran);
}

TEST_CASE("what the threads of a job pool use is added up") {
    std::promise<void> done;
    JobPool pool(1);
    pool.post([] {
        for (int call = 0; call < 1000; ++call) {
            count_system_call();
        }
    });
    pool.post([&] { done.set_value(); }); // the job before is on the account by now
    done.get_future().wait();
    const std::uint64_t calls = pool.usage().load().system_calls;
    CHECK(calls >= 1000);
    CHECK(calls < 1100);
}
