// Who gives more than is dealt with waits.
#include "receiver/backlog.hpp"

#include <atomic>
#include <catch2/catch.hpp>
#include <thread>

using namespace sluice;

TEST_CASE("no more are under way than may be, and all come through") {
    constexpr int kAll = 10'000;
    Backlog backlog(3);
    std::atomic<int> under_way{0};
    std::atomic<int> most{0};
    std::atomic<int> given{0};
    std::thread giver([&] {
        for (int one = 0; one < kAll; ++one) {
            backlog.enter();
            most = std::max(most.load(), ++under_way);
            ++given;
        }
    });
    for (int dealt = 0; dealt < kAll;) {
        if (under_way > 0) {
            --under_way;
            ++dealt;
            backlog.leave();
        } else {
            std::this_thread::yield();
        }
    }
    giver.join();
    CHECK(given == kAll);
    CHECK(most <= 3);
}

TEST_CASE("nobody waits once it is closed") {
    Backlog backlog(1);
    backlog.enter();
    std::thread giver([&] {
        for (int one = 0; one < 100; ++one) {
            backlog.enter();
        }
    });
    backlog.close();
    giver.join();
}
