// libuv as C++ objects: tasks from other threads, watchers, timers, and their end in the middle of
// their own callbacks.
#include "common/loop.hpp"
#include "tests/support/tcp_pair.hpp"

#include <atomic>
#include <catch2/catch.hpp>
#include <csignal>
#include <optional>
#include <thread>

using namespace sluice;
using namespace sluice::test;
using std::chrono::milliseconds;

namespace {

// Ends a loop that a broken test would leave running.
class Watchdog {
public:
    explicit Watchdog(Loop& loop)
        : timer_(loop, [this, &loop] {
              barked_ = true;
              loop.stop();
          }) {
        timer_.start(milliseconds{kWaitMs});
    }
    [[nodiscard]] bool barked() const noexcept { return barked_; }

private:
    bool barked_ = false;
    Timer timer_;
};

} // namespace

TEST_CASE("a task posted before the loop runs is run by it") {
    Loop loop;
    const Watchdog watchdog(loop);
    std::thread::id ran_on;
    loop.post([&] {
        ran_on = std::this_thread::get_id();
        loop.stop();
    });
    loop.run();
    CHECK_FALSE(watchdog.barked());
    CHECK(ran_on == std::this_thread::get_id());
}

TEST_CASE("tasks from many threads all run, those of one thread in their order") {
    constexpr int kThreads = 4;
    constexpr int kTasks = 5'000;
    Loop loop;
    const Watchdog watchdog(loop);
    std::vector<int> last(kThreads, -1);
    bool in_order = true;
    int ran = 0;
    std::vector<std::thread> threads;
    for (std::size_t thread = 0; thread < kThreads; ++thread) {
        threads.emplace_back([&, thread] {
            for (int task = 0; task < kTasks; ++task) {
                loop.post([&, thread, task] {
                    in_order = in_order && last[thread] == task - 1;
                    last[thread] = task;
                    if (++ran == kThreads * kTasks) {
                        loop.stop();
                    }
                });
            }
        });
    }
    loop.run();
    for (std::thread& thread : threads) {
        thread.join();
    }
    CHECK_FALSE(watchdog.barked());
    CHECK(in_order);
    CHECK(ran == kThreads * kTasks);
}

TEST_CASE("a task may post another task and stop the loop") {
    Loop loop;
    const Watchdog watchdog(loop);
    int depth = 0;
    std::function<void()> next = [&] {
        if (++depth == 1'000) {
            loop.stop();
        } else {
            loop.post(next);
        }
    };
    loop.post(next);
    loop.run();
    CHECK(depth == 1'000);
}

TEST_CASE("a loop can be run again after it was stopped") {
    Loop loop;
    int runs = 0;
    for (int round = 0; round < 3; ++round) {
        loop.post([&] {
            ++runs;
            loop.stop();
        });
        loop.run();
    }
    CHECK(runs == 3);
}

TEST_CASE("tasks that the loop never got to are destroyed, not run") {
    auto token = std::make_shared<int>(0);
    bool ran = false;
    {
        Loop loop;
        loop.post([&ran, token] { ran = true; });
    }
    CHECK_FALSE(ran);
    CHECK(token.use_count() == 1);
}

TEST_CASE("a timer fires once, or again and again, until it is stopped") {
    Loop loop;
    const Watchdog watchdog(loop);
    int once = 0;
    int often = 0;
    int stopped = 0;
    Timer single(loop, [&] { ++once; });
    Timer never(loop, [&] { ++stopped; });
    std::optional<Timer> repeated;
    repeated.emplace(loop, [&] {
        if (++often == 5) {
            loop.stop();
        }
    });
    single.start(milliseconds{0});
    never.start(milliseconds{0});
    never.stop();
    repeated->start(milliseconds{1}, milliseconds{1});
    loop.run();
    CHECK_FALSE(watchdog.barked());
    CHECK(once == 1);
    CHECK(often == 5);
    CHECK(stopped == 0);
}

TEST_CASE("a timer may be destroyed and started anew in its own callback") {
    Loop loop;
    const Watchdog watchdog(loop);
    std::unique_ptr<Timer> timer;
    auto captured = std::make_shared<std::string>("still there after the timer is gone");
    std::string seen;
    timer = std::make_unique<Timer>(loop, [&loop, &timer, &seen, captured] {
        timer.reset();
        seen = *captured; // what the callback holds lives until it returns
        loop.stop();
    });
    timer->start(milliseconds{0}, milliseconds{1});
    loop.run();
    CHECK(seen == "still there after the timer is gone");

    int fired = 0;
    Timer again(loop, [&] {
        if (++fired == 3) {
            loop.stop();
        } else {
            again.start(milliseconds{0});
        }
    });
    again.start(milliseconds{0});
    loop.run();
    CHECK(fired == 3);
}

TEST_CASE("a watcher tells when its socket is readable and when it is writable") {
    Loop loop;
    const Watchdog watchdog(loop);
    const TcpPair pair;
    std::vector<bool> readable;
    Poll poll(loop, pair.receiver.get(), [&](Readiness ready) {
        readable.push_back(ready.readable);
        if (ready.writable && !ready.readable) { // an empty socket at first
            send_all(pair.sender.get(), std::vector<std::byte>(10));
            poll.wait_for({true, false});
        } else {
            loop.stop();
        }
    });
    poll.wait_for({true, true});
    loop.run();
    CHECK_FALSE(watchdog.barked());
    CHECK((readable == std::vector<bool>{false, true}));
}

TEST_CASE("a paused watcher is silent, and level-triggered when it goes on") {
    Loop loop;
    const Watchdog watchdog(loop);
    const TcpPair pair;
    send_all(pair.sender.get(), std::vector<std::byte>(10));
    int calls = 0;
    Poll poll(loop, pair.receiver.get(), [&](Readiness) {
        if (++calls == 3) { // nothing was read: it is called again
            poll.wait_for({});
            loop.stop();
        }
    });
    poll.wait_for({true, false});
    loop.run();
    CHECK(calls == 3);
    Timer later(loop, [&] { loop.stop(); });
    later.start(milliseconds{5});
    loop.run();
    CHECK(calls == 3);
    poll.wait_for({true, false});
    Timer last(loop, [&] { loop.stop(); });
    last.start(milliseconds{0});
    loop.run();
    CHECK(calls > 3);
}

TEST_CASE("a watcher may be destroyed in its own callback, and another take its descriptor") {
    Loop loop;
    const Watchdog watchdog(loop);
    const TcpPair pair;
    send_all(pair.sender.get(), std::vector<std::byte>(10));
    auto captured = std::make_shared<int>(7);
    int seen = 0;
    int second_calls = 0;
    std::unique_ptr<Poll> second;
    std::unique_ptr<Poll> first;
    first = std::make_unique<Poll>(loop, pair.receiver.get(), [&, captured](Readiness) {
        first.reset();
        seen = *captured;
        second = std::make_unique<Poll>(loop, pair.receiver.get(), [&](Readiness) {
            ++second_calls;
            second.reset();
            loop.stop();
        });
        second->wait_for({true, false});
    });
    first->wait_for({true, false});
    loop.run();
    CHECK_FALSE(watchdog.barked());
    CHECK(seen == 7);
    CHECK(second_calls == 1);
}

TEST_CASE("a watcher destroyed by another callback of the same turn is not called any more") {
    Loop loop;
    const Watchdog watchdog(loop);
    const TcpPair one;
    const TcpPair two;
    int calls = 0;
    std::unique_ptr<Poll> first;
    std::unique_ptr<Poll> second;
    const auto destroy_both = [&](Readiness) {
        ++calls;
        first.reset();
        second.reset();
        loop.post([&] { loop.stop(); });
    };
    first = std::make_unique<Poll>(loop, one.receiver.get(), destroy_both);
    second = std::make_unique<Poll>(loop, two.receiver.get(), destroy_both);
    for (const TcpPair* const pair : {&one, &two}) {
        send_all(pair->sender.get(), std::vector<std::byte>(10));
        wait_queued(pair->receiver.get(), 10);
    }
    first->wait_for({true, false});
    second->wait_for({true, false});
    loop.run();
    CHECK(calls == 1);
}

TEST_CASE("a socket whose peer has gone is reported as readable") {
    Loop loop;
    const Watchdog watchdog(loop);
    TcpPair pair;
    bool readable = false;
    Poll poll(loop, pair.receiver.get(), [&](Readiness ready) {
        readable = ready.readable;
        loop.stop();
    });
    poll.wait_for({true, false});
    reset_connection(pair.sender);
    loop.run();
    CHECK(readable);
}

TEST_CASE("a signal reaches its watcher, and its default handling comes back afterwards") {
    static std::atomic<int> handled;
    handled = 0;
    struct sigaction before {};
    struct sigaction mine {};
    mine.sa_handler = [](int) { ++handled; };
    REQUIRE(::sigaction(SIGUSR1, &mine, &before) == 0);
    {
        Loop loop;
        const Watchdog watchdog(loop);
        int seen = 0;
        auto signals = std::make_unique<SignalWatcher>(loop, SIGUSR1, [&] {
            ++seen;
            loop.stop();
        });
        REQUIRE(::raise(SIGUSR1) == 0);
        loop.run();
        CHECK(seen == 1);
        signals.reset();
    }
    CHECK(handled == 0);
    struct sigaction now {};
    REQUIRE(::sigaction(SIGUSR1, &before, &now) == 0);
    CHECK(now.sa_handler == SIG_DFL); // libuv does not know what was there before the watcher
}
