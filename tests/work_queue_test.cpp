// What waits between the walk and the streams.
#include "sender/work_queue.hpp"
#include "tests/support/large_sources.hpp"

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

// Of the chunk that comes next; empty where nothing does.
Chunk popped(WorkQueue& queue) {
    std::optional<Work> work = queue.pop(0);
    return work ? std::move(work->entries) : Chunk{};
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
        const Chunk chunk = popped(queue);
        REQUIRE(chunk.size() == 3);
        CHECK(chunk[0].size == number * 100);
        CHECK(chunk[2].size == number * 100 + 2);
    }
    CHECK_FALSE(queue.pop(0));
    CHECK_FALSE(queue.pop(0));
}

TEST_CASE("a closed queue gives what is left, then nothing") {
    WorkQueue queue(100);
    REQUIRE(queue.reserve(1));
    queue.push(chunk_of(1));
    queue.close();
    CHECK(popped(queue).size() == 1);
    CHECK_FALSE(queue.pop(0));
}

TEST_CASE("work that is put back comes before everything else, in its order") {
    test::LargeSources sources;
    WorkQueue queue(100);
    queue.push(chunk_of(1, 1));
    queue.push(chunk_of(2, 2));
    std::vector<Work> again;
    again.emplace_back(Piece{sources.make(100'000), 4096, 8192});
    again.emplace_back(chunk_of(3, 3));
    queue.requeue(std::move(again));
    queue.close();
    const std::optional<Work> piece = queue.pop(0);
    REQUIRE(piece);
    REQUIRE(piece->is_piece());
    CHECK(piece->piece.offset == 4096);
    CHECK(piece->piece.length == 8192);
    CHECK(popped(queue).size() == 3);
    CHECK(popped(queue).size() == 1);
    CHECK(popped(queue).size() == 2);
    CHECK_FALSE(queue.pop(0));
}

TEST_CASE("a stream that waits gets work that is put back") {
    WorkQueue queue(10);
    std::atomic<std::size_t> got{0};
    std::thread stream([&] { got = popped(queue).size(); });
    std::vector<Work> again;
    again.emplace_back(chunk_of(4));
    queue.requeue(std::move(again));
    stream.join();
    CHECK(got == 4);
}

TEST_CASE("try_pop gives what there is and does not wait") {
    WorkQueue queue(10);
    CHECK_FALSE(queue.try_pop(0));
    queue.push(chunk_of(2));
    const std::optional<Work> work = queue.try_pop(0);
    REQUIRE(work);
    CHECK_FALSE(work->is_piece());
    CHECK(work->entries.size() == 2);
    CHECK_FALSE(queue.try_pop(0));
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
    CHECK_FALSE(queue.pop(0));
    queue.push(chunk_of(1));
    std::vector<Work> again;
    again.emplace_back(chunk_of(1));
    queue.requeue(std::move(again));
    CHECK_FALSE(queue.try_pop(0));

    WorkQueue empty(10);
    std::vector<std::thread> streams;
    for (int count = 0; count < 4; ++count) {
        streams.emplace_back([&] { woken += empty.pop(0) ? 100 : 1; });
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
            while (queue.pop(0)) {
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
    std::vector<std::thread> streams;
    for (int count = 0; count < 3; ++count) {
        streams.emplace_back([&] {
            for (;;) {
                const Chunk chunk = popped(queue);
                if (chunk.empty()) {
                    return;
                }
                under_way -= chunk.size();
                queue.release(chunk.size()); // acknowledged
            }
        });
    }
    for (std::size_t sent = 0; sent < kEntries;) {
        const std::size_t size = 1 + sent % 7;
        REQUIRE(queue.reserve(size));
        sent += size;
        under_way += size;
        most = std::max(most.load(), under_way.load());
        if (sent % 5 == 0) {
            under_way -= size;
            queue.release(size); // found to be unchanged
        } else {
            queue.push(chunk_of(size));
        }
    }
    queue.close();
    for (std::thread& stream : streams) {
        stream.join();
    }
    CHECK(most <= kPlaces);
    CHECK(queue.places_taken() == 0); // all places are free again
}

TEST_CASE("a place stays taken until the entry is done with, however often it is sent") {
    WorkQueue queue(4);
    CHECK(queue.places_taken() == 0);
    REQUIRE(queue.reserve(2));
    queue.push(chunk_of(2));
    Chunk chunk = popped(queue);
    CHECK(queue.places_taken() == 2);
    std::vector<Work> again;
    again.emplace_back(std::move(chunk));
    queue.requeue(std::move(again));
    CHECK(popped(queue).size() == 2);
    CHECK(queue.places_taken() == 2);
    queue.release(1);
    CHECK(queue.places_taken() == 1);
    queue.release(1);
    CHECK(queue.places_taken() == 0);
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
    CHECK(popped(queue).size() == 3);
    CHECK_FALSE(queue.pop(0));
    walker.join();
}

namespace {

Chunk chunk_in(std::uint32_t first_directory, std::uint32_t last_directory) {
    Chunk chunk(2);
    chunk[0].directory = first_directory;
    chunk[1].directory = last_directory;
    return chunk;
}

std::uint32_t first_directory(const std::optional<Work>& work) {
    return work ? work->entries.at(0).directory : 0;
}

} // namespace

TEST_CASE("two streams are not sent into one directory while there is a choice") {
    WorkQueue queue(100);
    queue.push(chunk_in(1, 1));
    queue.push(chunk_in(1, 1));
    queue.push(chunk_in(1, 2));
    queue.push(chunk_in(3, 3));
    CHECK(first_directory(queue.try_pop(0)) == 1);
    CHECK(first_directory(queue.try_pop(1)) == 3); // 1 is taken
    CHECK(first_directory(queue.try_pop(0)) == 1); // its own
    CHECK(first_directory(queue.try_pop(1)) == 1); // there is nothing else
    // Stream 1 is at the end of directory 2 now, stream 0 still in 1.
    queue.push(chunk_in(2, 2));
    queue.push(chunk_in(1, 1));
    queue.push(chunk_in(4, 4));
    CHECK(first_directory(queue.try_pop(2)) == 4);
    CHECK(first_directory(queue.try_pop(0)) == 1);
    CHECK(first_directory(queue.try_pop(1)) == 2);
    CHECK_FALSE(queue.try_pop(1)); // it has left directory 2
    queue.push(chunk_in(2, 2));
    queue.push(chunk_in(5, 5));
    CHECK(first_directory(queue.try_pop(0)) == 2);
}

TEST_CASE("a large file keeps no directory from others") {
    WorkQueue queue(100);
    Chunk large = chunk_in(1, 1);
    large[0].size = large[1].size = proto::kMaxInlineFileBytes + 1;
    queue.push(large);
    queue.push(chunk_in(1, 1));
    queue.push(chunk_in(2, 2));
    CHECK(first_directory(queue.try_pop(0)) == 1);
    CHECK(first_directory(queue.try_pop(1)) == 1);
}

TEST_CASE("streams that wait are counted, but for those that will find something") {
    WorkQueue queue(100);
    CHECK(queue.idle_streams() == 0);
    std::vector<std::thread> streams;
    for (std::size_t stream = 0; stream < 3; ++stream) {
        streams.emplace_back([&queue, stream] {
            while (queue.pop(stream)) {
            }
        });
    }
    while (queue.idle_streams() < 3) {
        std::this_thread::yield();
    }
    queue.push(chunk_of(1));
    while (queue.idle_streams() < 3) {
        std::this_thread::yield();
    }
    queue.close();
    for (std::thread& stream : streams) {
        stream.join();
    }
    CHECK(queue.idle_streams() == 0);
}
