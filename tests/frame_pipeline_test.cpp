#include "sender/frame_pipeline.hpp"

#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <cstddef>
#include <future>
#include <memory>

using namespace sluice;

TEST_CASE("a frame pipeline hands frames out in the order in which they were posted") {
    JobPool pool(4);
    FramePipeline frames(pool, 5);
    std::size_t posted = 0;
    for (std::size_t taken = 0; taken < 200; ++taken) {
        while (posted < 200 && !frames.full()) {
            frames.next().raw_bytes = posted++;
            frames.post([](FramePipeline::Frame& frame) {
                frame.got = static_cast<std::int64_t>(frame.raw_bytes * 2);
                frame.whole = std::span(frame.raw).first(frame.raw_bytes);
            });
        }
        const FramePipeline::Frame& oldest = frames.oldest();
        CHECK(oldest.raw_bytes == taken);
        CHECK(oldest.got == static_cast<std::int64_t>(taken * 2));
        CHECK(oldest.whole.size() == taken);
        CHECK(oldest.raw.size() == FramePipeline::kFrameBytes);
        frames.pop();
    }
    CHECK(frames.empty());
}

TEST_CASE("a frame pipeline says when its oldest frame is ready, and how long it was waited for") {
    JobPool pool(1);
    FramePipeline frames(pool, 2);
    std::promise<void> gate;
    static_cast<void>(frames.next());
    frames.post([&](FramePipeline::Frame&) { gate.get_future().wait(); });
    CHECK_FALSE(frames.oldest_is_ready());
    CHECK(frames.starved().count() == 0);
    gate.set_value();
    static_cast<void>(frames.oldest());
    CHECK(frames.oldest_is_ready());
    CHECK(frames.starved().count() >= 0);
}

TEST_CASE("a frame pipeline that is reset waits for work that has begun and skips the rest") {
    JobPool pool(1);
    std::atomic<int> begun{0};
    std::atomic<int> ended{0};
    std::promise<void> entered;
    {
        FramePipeline frames(pool, 8);
        for (int count = 0; count < 8; ++count) {
            static_cast<void>(frames.next());
            frames.post([&](FramePipeline::Frame&) {
                if (++begun == 1) {
                    entered.set_value();
                }
                ++ended;
            });
        }
        entered.get_future().wait();
        frames.reset();
        CHECK(begun == ended);
        CHECK(begun >= 1);
        CHECK(frames.empty());
        // And it is as good as new.
        frames.next().raw_bytes = 7;
        frames.post([](FramePipeline::Frame& frame) { frame.got = 1; });
        CHECK(frames.oldest().got == 1);
    }
    CHECK(begun == ended);
}

TEST_CASE("a frame pipeline keeps what its work holds no longer than the work takes") {
    JobPool pool(1);
    FramePipeline frames(pool, 1);
    auto held = std::make_shared<int>(1);
    const std::weak_ptr<int> watched = held;
    static_cast<void>(frames.next());
    frames.post([held](FramePipeline::Frame&) {});
    held.reset();
    static_cast<void>(frames.oldest());
    frames.pop();
    // The thread frees the job a moment after it has said that it is done; then takes the next.
    std::promise<void> next;
    pool.post([&] { next.set_value(); });
    next.get_future().wait();
    CHECK(watched.expired());
}
