// What waits between the walk and the streams.
#include "sender/work_queue.hpp"

#include <atomic>
#include <catch2/catch.hpp>
#include <thread>

using namespace sluice;

namespace {

Chunk chunk_of(std::size_t entries, std::uint64_t size = 0) {
    Chunk chunk(entries);
    for (SourceEntry& entry : chunk) {
        entry.size = size++;
    }
    return chunk;
}

} // namespace

TEST_CASE("chunks come out whole and in the order in which they went in") {
    WorkQueue queue(100);
    for (std::uint64_t number = 0; number < 10; ++number) {
        REQUIRE(queue.reserve(3));
        queue.push(chunk_of(3, number * 100));
    }
    queue.close();
    for (std::uint64_t number = 0; number < 10; ++number) {
        const Chunk chunk = queue.pop();
        REQUIRE(chunk.size() == 3);
        CHECK(chunk[0].size == number * 100);
        CHECK(chunk[2].size == number * 100 + 2);
    }
    CHECK(queue.pop().empty());
    CHECK(queue.pop().empty());
}

TEST_CASE("a closed queue gives what is left, then nothing") {
    WorkQueue queue(100);
    REQUIRE(queue.reserve(1));
    queue.push(chunk_of(1));
    queue.close();
    CHECK(queue.pop().size() == 1);
    CHECK(queue.pop().empty());
}

TEST_CASE("a cancelled queue gives nothing and takes nothing, also from those who wait") {
    WorkQueue queue(10);
    REQUIRE(queue.reserve(10));
    queue.push(chunk_of(5));
    std::atomic<int> woken{0};
    std::thread walker([&] { woken += queue.reserve(6) ? 100 : 1; });
    queue.cancel();
    walker.join();
    CHECK(woken == 1);
    CHECK_FALSE(queue.reserve(1));
    CHECK(queue.pop().empty());

    WorkQueue empty(10);
    std::vector<std::thread> streams;
    for (int count = 0; count < 4; ++count) {
        streams.emplace_back([&] { woken += empty.pop().empty() ? 1 : 100; });
    }
    empty.cancel();
    for (std::thread& stream : streams) {
        stream.join();
    }
    CHECK(woken == 5);
}

TEST_CASE("closing wakes everyone who waits for work") {
    WorkQueue queue(10);
    std::atomic<int> ended{0};
    std::vector<std::thread> streams;
    for (int count = 0; count < 4; ++count) {
        streams.emplace_back([&] {
            while (!queue.pop().empty()) {
            }
            ++ended;
        });
    }
    REQUIRE(queue.reserve(2));
    queue.push(chunk_of(2));
    queue.close();
    for (std::thread& stream : streams) {
        stream.join();
    }
    CHECK(ended == 4);
}

TEST_CASE("no more entries are under way than the queue has places for") {
    constexpr std::size_t kPlaces = 50;
    constexpr std::size_t kEntries = 20'000;
    WorkQueue queue(kPlaces);
    std::atomic<std::size_t> under_way{0};
    std::atomic<std::size_t> most{0};
    std::atomic<std::size_t> popped{0};
    std::vector<std::thread> streams;
    for (int count = 0; count < 3; ++count) {
        streams.emplace_back([&] {
            for (;;) {
                const Chunk chunk = queue.pop();
                if (chunk.empty()) {
                    return;
                }
                popped += chunk.size();
            }
        });
    }
    std::size_t released = 0;
    for (std::size_t sent = 0; sent < kEntries;) {
        const std::size_t size = 1 + sent % 7;
        REQUIRE(queue.reserve(size));
        sent += size;
        // Those that are reserved and neither popped nor released.
        under_way = sent - released - popped;
        most = std::max(most.load(), under_way.load());
        if (sent % 5 == 0) {
            released += size;
            queue.release(size); // found to be unchanged
        } else {
            queue.push(chunk_of(size));
        }
    }
    queue.close();
    for (std::thread& stream : streams) {
        stream.join();
    }
    // A stream counts what it popped only after the place was given back.
    CHECK(most <= kPlaces + 3 * 7);
    CHECK(queue.reserve(kPlaces)); // all places are free again
}

TEST_CASE("places that are released let a walk go on that waited for several of them") {
    WorkQueue queue(4);
    REQUIRE(queue.reserve(4));
    std::thread walker([&] {
        static_cast<void>(queue.reserve(3));
        queue.push(chunk_of(3));
        queue.close();
    });
    queue.release(1);
    queue.release(1);
    queue.release(1);
    CHECK(queue.pop().size() == 3);
    CHECK(queue.pop().empty());
    walker.join();
}
