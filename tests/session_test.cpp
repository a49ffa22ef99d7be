// A session's bookkeeping: what is verified is acknowledged, what is damaged is asked for again,
// and a connection is called lost only when all that came on it has been dealt with.
#include "tests/support/running_session.hpp"

#include <set>
#include <thread>

using namespace sluice;
using namespace sluice::test;
using proto::Fault;

namespace {

constexpr std::uint64_t kSize = 100'000;

using Ids = std::vector<std::uint64_t>;
using Numbers = std::vector<std::uint32_t>;

} // namespace

TEST_CASE("an extent is acknowledged when its digest has come and is right, in whatever order") {
    RunningSession running;
    const bool digest_first = GENERATE(true, false);
    const ExtentSource source(1, "file", kSize);
    running.join(3);
    const auto extent = running.arrive(source, 0, kSize, 3);
    const auto expected = digests(11, right(source, 0, kSize));
    if (digest_first) {
        CHECK(running.session->expect(expected) == Fault::none);
    }
    CHECK(running.session->verify(11, extent) == Fault::none);
    if (!digest_first) {
        running.expect_silence();
        CHECK(running.news.stored.empty());
        CHECK(running.session->store().end_file(1, running.directories).fault == Fault::bad_value);
        CHECK(running.session->expect(expected) == Fault::none);
    }
    running.collect([&] { return !running.news.stored.empty(); });
    CHECK(running.news.stored == Ids{11});
    CHECK(running.news.again.empty());
    const auto ended = running.session->store().end_file(1, running.directories);
    CHECK(ended.fault == Fault::none);
    CHECK((running.root.directory.read_file("file") == source.content()));
}

TEST_CASE("an extent with another digest is asked for again and does not count as received") {
    RunningSession running;
    const ExtentSource source(1, "file", kSize);
    running.join(3);
    CHECK(running.session->expect(digests(11, wrong())) == Fault::none);
    CHECK(running.session->verify(11, running.arrive(source, 0, kSize, 3)) == Fault::none);
    running.collect([&] { return !running.news.again.empty(); });
    CHECK(running.news.again[0].id == 11);
    CHECK(running.news.again[0].digest == right(source, 0, kSize));
    CHECK(running.news.stored.empty());
    CHECK_FALSE(running.session->failure());
    CHECK(running.session->store().end_file(1, running.directories).fault == Fault::bad_value);
    CHECK_FALSE(running.session->store().is_worth_keeping());

    CHECK(running.session->verify(12, running.arrive(source, 0, kSize, 3)) == Fault::none);
    CHECK(running.session->expect(digests(12, right(source, 0, kSize))) == Fault::none);
    running.collect([&] { return !running.news.stored.empty(); });
    CHECK(running.news.stored == Ids{12});
    CHECK(running.session->store().end_file(1, running.directories).fault == Fault::none);
}

TEST_CASE("a damaged extent of a file that nobody wants any more is acknowledged, not asked for") {
    RunningSession running;
    const ExtentSource source(1, "file", kSize);
    running.join(3);
    CHECK(running.session->verify(11, running.arrive(source, 0, kSize, 3)) == Fault::none);
    CHECK(running.session->store().abort_file(1) == Fault::none);
    CHECK(running.session->expect(digests(11, wrong())) == Fault::none);
    running.collect([&] { return !running.news.stored.empty(); });
    CHECK(running.news.stored == Ids{11});
    CHECK(running.news.again.empty());
    CHECK_FALSE(running.session->store().has_unfinished_files());
}

TEST_CASE("bytes that are missing from the file are another digest, too") {
    RunningSession running;
    const ExtentSource source(1, "file", kSize);
    running.join(3);
    const auto extent = running.arrive(source, 0, kSize, 3);
    REQUIRE(::ftruncate(extent.file->fd.get(), 10) == 0);
    CHECK(running.session->expect(digests(11, right(source, 0, kSize))) == Fault::none);
    CHECK(running.session->verify(11, extent) == Fault::none);
    running.collect([&] { return !running.news.again.empty() || !running.news.stored.empty(); });
    CHECK(running.news.stored.empty());
    CHECK(running.news.again.size() == 1);
}

TEST_CASE("an id or a digest that comes twice while it counts is a fault") {
    RunningSession running;
    const ExtentSource source(1, "file", kSize);
    running.join(3);
    CHECK(running.session->verify(11, running.arrive(source, 0, 10, 3)) == Fault::none);
    const auto second = running.arrive(source, 10, 10, 3);
    CHECK(running.session->verify(11, second) == Fault::bad_value);
    running.session->store().extent_lost(*second.file);
    // Both before the digest can be compared, or after: the second is nobody's then.
    proto::Digests twice{{{11, right(source, 0, 10)}, {11, right(source, 0, 10)}}};
    static_cast<void>(running.session->expect(twice));
    running.collect([&] { return !running.news.stored.empty(); });
    running.expect_silence();
    CHECK(running.news.stored == Ids{11});
}

TEST_CASE("a connection is lost only after all that came on it was dealt with and acknowledged") {
    RunningSession running;
    const ExtentSource source(1, "file", kSize);
    running.join(3);
    running.session->acknowledge(9); // a batch
    CHECK(running.session->verify(11, running.arrive(source, 0, 10, 3)) == Fault::none);
    CHECK(running.session->verify(12, running.arrive(source, 10, 10, 3)) == Fault::none);
    running.session->connection_ended(3);
    running.expect_silence();
    CHECK(running.news.lost.empty());
    CHECK(running.session->expect(digests(11, right(source, 0, 10))) == Fault::none);
    running.collect([&] { return running.news.stored.size() == 2; });
    running.expect_silence();
    CHECK(running.news.lost.empty());
    CHECK(running.session->expect(digests(12, wrong())) == Fault::none);
    running.collect([&] { return !running.news.lost.empty(); });
    CHECK(running.news.lost == Numbers{3});
    CHECK(running.news.stored == Ids{9, 11});
    CHECK(running.news.again.size() == 1); // came before the loss, or with it
    CHECK_FALSE(running.session->add_connection(3, running.link.ours.get())); // had that number
}

TEST_CASE("everything has been received when so much is acknowledged, and no other is lost") {
    RunningSession running;
    const ExtentSource source(1, "file", kSize);
    running.join(3);
    const auto received = [&](std::uint64_t acknowledged, std::uint32_t lost) {
        return running.session->has_received({0, acknowledged, lost});
    };
    CHECK(received(0, 0));
    running.session->acknowledge(9); // a batch; counts before the sender is told
    CHECK(received(1, 0));
    CHECK_FALSE(received(0, 0));
    CHECK_FALSE(received(2, 0));
    CHECK(running.session->verify(11, running.arrive(source, 0, 10, 3)) == Fault::none);
    CHECK(running.session->verify(12, running.arrive(source, 10, 10, 3)) == Fault::none);
    CHECK(running.session->expect(digests(11, wrong())) == Fault::none);
    CHECK(running.session->expect(digests(12, right(source, 10, 10))) == Fault::none);
    running.collect([&] { return running.news.stored.size() == 2; });
    running.collect([&] { return running.news.again.size() == 1; });
    CHECK(received(2, 0));                // what is wanted again is not acknowledged
    running.session->connection_ended(3); // a hashing thread may still have a word to say
    running.collect([&] { return !running.news.lost.empty(); });
    CHECK(received(2, 1));
    CHECK_FALSE(received(2, 0));
    running.session->drop_connection(5); // which never came
    CHECK(received(2, 2));
}

TEST_CASE("a connection that is given up loses its socket, and is lost when it has ended") {
    RunningSession running;
    running.join(3);
    running.session->drop_connection(3);
    CHECK(running.link.is_shut());
    running.take();
    CHECK(running.news.lost.empty());
    running.session->connection_ended(3);
    running.take();
    CHECK(running.news.lost == Numbers{3});
    running.session->drop_connection(3); // once is enough
    running.take();
    CHECK(running.news.lost == Numbers{3});
}

TEST_CASE("a connection that is given up before it has come may not come any more") {
    RunningSession running;
    running.session->drop_connection(5);
    running.session->drop_connection(5);
    running.take();
    CHECK(running.news.lost == Numbers{5});
    CHECK_FALSE(running.session->add_connection(5, running.link.ours.get()));
    CHECK(running.session->add_connection(6, running.link.ours.get()));
    running.session->connection_ended(6);
}

TEST_CASE("no more connections join than may be there at a time, nor any once the end has begun") {
    RunningSession running;
    for (std::uint32_t number = 0; number < proto::kMaxStreams; ++number) {
        running.join(number);
    }
    CHECK_FALSE(running.session->add_connection(1'000, running.link.ours.get()));
    running.session->connection_ended(0);
    CHECK(running.session->add_connection(1'000, running.link.ours.get()));
    running.session->connection_ended(1);
    const std::string what = GENERATE("closed", "ended", "failed");
    if (what == "closed") {
        running.session->close_to_connections();
    } else if (what == "ended") {
        running.session->end();
        CHECK(running.link.is_shut());
    } else {
        running.session->fail({ErrorKind::network, "gone"});
    }
    CHECK_FALSE(running.session->add_connection(1'001, running.link.ours.get()));
}

TEST_CASE("a session that has had too many connections fails, and does not leave any unanswered") {
    RunningSession running;
    constexpr std::uint32_t kMost = 65'536;
    for (std::uint32_t number = 0; number < kMost; ++number) {
        running.session->drop_connection(number);
    }
    running.session->drop_connection(0);                                              // it is lost
    CHECK_FALSE(running.session->add_connection(kMost - 1, running.link.ours.get())); // as well
    running.take();
    CHECK(running.news.lost.size() == kMost);
    CHECK_FALSE(running.session->failure());
    if (GENERATE(true, false)) {
        CHECK_FALSE(running.session->add_connection(kMost, running.link.ours.get()));
    } else {
        running.session->drop_connection(kMost);
    }
    const auto failure = running.session->failure();
    REQUIRE(failure);
    CHECK(failure->kind == ErrorKind::refused);
    CHECK(failure->message == "too many data connections in one session");
}

TEST_CASE("a dry run takes no connections") {
    RunningSession running(true, {"", {}, proto::kOpenPreserve | proto::kOpenDryRun});
    CHECK_FALSE(running.session->add_connection(1, running.link.ours.get()));
}

TEST_CASE("no more extents wait for their digests than the limit") {
    RunningSession running;
    const ExtentSource source(1, "file", kSize);
    running.join(3);
    Fault fault = Fault::none;
    std::uint64_t id = 0;
    for (; id < 10'000 && fault == Fault::none; ++id) {
        const auto extent = running.arrive(source, id % 1'000, 1, 3);
        fault = running.session->verify(id, extent);
        if (fault != Fault::none) {
            running.session->store().extent_lost(*extent.file);
        }
    }
    CHECK(fault == Fault::limit_exceeded);
    CHECK(id == proto::kMaxUnacknowledged + 1);
}

TEST_CASE("digests that nobody asks for are forgotten, the oldest first") {
    RunningSession running;
    const ExtentSource source(1, "file", kSize);
    running.join(3);
    for (std::uint64_t id = 1; id <= 3 * proto::kMaxUnacknowledged; ++id) {
        REQUIRE(running.session->expect(digests(id, right(source, 0, 10))) == Fault::none);
    }
    CHECK(running.session->verify(1, running.arrive(source, 0, 10, 3)) == Fault::none);
    CHECK(running.session->verify(3 * proto::kMaxUnacknowledged,
                                  running.arrive(source, 0, 10, 3)) == Fault::none);
    running.collect([&] { return !running.news.stored.empty(); });
    running.expect_silence();
    CHECK(running.news.stored == Ids{3 * proto::kMaxUnacknowledged});
}

TEST_CASE("a sender that does not listen fails the session before its news fill the memory") {
    RunningSession running;
    for (std::uint64_t id = 0; id < (std::uint64_t{1} << 21) && !running.session->failure(); ++id) {
        running.session->acknowledge(id);
    }
    REQUIRE(running.session->failure());
    CHECK(running.session->failure()->kind == ErrorKind::protocol);
}

TEST_CASE("failed files wait in their order, as many as there is memory for; the number is right") {
    RunningSession running;
    const std::string text(1'000, 't');
    for (int number = 0; number < 10'000; ++number) {
        running.session->file_failed(std::to_string(number), make_conflict(text));
    }
    std::uint64_t taken = 0;
    while (const auto failed = running.session->take_failed_file()) {
        CHECK(failed->path == std::to_string(taken));
        ++taken;
    }
    CHECK(taken > 1'000);
    CHECK(taken < 10'000);
    CHECK(running.session->report().failed == 10'000);
    CHECK_FALSE(running.session->failure());
    running.session->file_failed("fatal", make_problem(ENOSPC));
    REQUIRE(running.session->failure());
    CHECK(running.session->failure()->kind == ErrorKind::file_io);
}

TEST_CASE("only what broke off is kept, and only if something is there") {
    const auto kind = GENERATE(ErrorKind::network, ErrorKind::timed_out, ErrorKind::interrupted,
                               ErrorKind::file_io, ErrorKind::protocol, ErrorKind::refused);
    const bool stored = GENERATE(true, false);
    RunningSession running;
    const ExtentSource source(1, "tree/file", kSize);
    if (stored) {
        const auto extent = running.arrive(source, 0, 10'000, 3);
        CHECK_FALSE(running.session->store().extent_done(*extent.file, 0, 10'000, {}));
    }
    running.session->fail({kind, "the reason"});
    running.session->fail({ErrorKind::network, "too late"});
    CHECK(running.session->failure()->kind == kind);
    running.end();
    const bool broke_off = kind == ErrorKind::network || kind == ErrorKind::timed_out ||
                           kind == ErrorKind::interrupted;
    CHECK(running.kept == (broke_off && stored));
    CHECK(running.root.directory.exists(".sluice") == running.kept);
    StoreSession next(running.root);
    std::vector<proto::Range> present;
    CHECK(next.wants(source.offer(), present));
    CHECK(present.size() == (running.kept ? 1 : 0));
    next.abandon();
}

TEST_CASE("a session that ends without a failure keeps nothing") {
    RunningSession running;
    const ExtentSource source(1, "tree/file", kSize);
    const auto extent = running.arrive(source, 0, 10'000, 3);
    CHECK_FALSE(running.session->store().extent_done(*extent.file, 0, 10'000, {}));
    running.session->end();
    running.session->fail({ErrorKind::network, "after the end"});
    running.end();
    CHECK_FALSE(running.kept);
}

TEST_CASE("a session whose extents are still being hashed goes on to exist until they are") {
    RunningSession running;
    const ExtentSource source(1, "tree/file", kSize);
    running.join(3);
    for (std::uint64_t id = 0; id < 200; ++id) {
        REQUIRE(running.session->expect(digests(id, right(source, 0, kSize))) == Fault::none);
        REQUIRE(running.session->verify(id, running.arrive(source, 0, kSize, 3)) == Fault::none);
    }
    running.session->connection_ended(3);
    running.session->fail({ErrorKind::network, "gone"});
    running.session->end();
    running.end();
}

TEST_CASE("connections, digests and losses of many threads end with every extent accounted for") {
    RunningSession running;
    constexpr std::uint64_t kExtents = 400;
    constexpr std::uint64_t kLength = kSize / kExtents;
    constexpr std::uint32_t kThreads = 4;
    const ExtentSource source(1, "file", kSize);
    std::atomic<std::uint64_t> next{0};
    std::atomic<int> faults{0};
    std::mutex told_mutex;
    std::vector<std::uint64_t> told; // ids whose digests are to be announced
    std::vector<std::thread> threads;
    for (std::uint32_t thread = 0; thread < kThreads; ++thread) {
        running.join(thread);
    }
    for (std::uint32_t thread = 0; thread < kThreads; ++thread) {
        threads.emplace_back([&, thread] {
            DirectoryCache cache(4);
            for (std::uint64_t id = next++; id < kExtents; id = next++) {
                const auto begun =
                    source.begin(running.session->store(), cache, id * kLength, kLength);
                faults += begun.fault == Fault::none && !begun.problem ? 0 : 1;
                {
                    const std::scoped_lock lock(told_mutex);
                    told.push_back(id);
                }
                faults += running.session->verify(
                              id, {begun.file, id * kLength, kLength, thread}) == Fault::none
                              ? 0
                              : 1;
            }
            running.session->connection_ended(thread);
        });
    }
    std::thread control([&] {
        for (std::uint64_t done = 0; done < kExtents;) {
            std::vector<std::uint64_t> ids;
            {
                const std::scoped_lock lock(told_mutex);
                ids.swap(told);
            }
            for (const std::uint64_t id : ids) {
                const bool damaged = id % 7 == 0;
                faults += running.session->expect(digests(
                              id, damaged ? wrong() : right(source, id * kLength, kLength))) ==
                                  Fault::none
                              ? 0
                              : 1;
            }
            done += ids.size();
            std::this_thread::yield();
        }
    });
    running.collect([&] { return running.news.lost.size() == kThreads; });
    for (std::thread& thread : threads) {
        thread.join();
    }
    control.join();
    CHECK(faults == 0);
    CHECK(running.news.stored.size() + running.news.again.size() == kExtents);
    std::set<std::uint64_t> ids(running.news.stored.begin(), running.news.stored.end());
    for (const proto::Again& again : running.news.again) {
        CHECK(again.id % 7 == 0);
        CHECK(ids.insert(again.id).second);
    }
    CHECK(ids.size() == kExtents);
}
