// What has been sent and is not acknowledged.
#include "common/net.hpp"
#include "sender/in_flight.hpp"
#include "tests/support/large_sources.hpp"
#include "tests/support/tcp_pair.hpp"

#include <atomic>
#include <catch2/catch.hpp>
#include <thread>

using namespace sluice;
using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

Parcel batch_of(std::size_t entries, std::uint64_t bytes) {
    return {Work(Chunk(entries)), bytes, entries, {}};
}

Parcel extent_of(const std::shared_ptr<LargeSource>& source, std::uint64_t offset,
                 std::uint64_t length) {
    return {Work(Piece{source, offset, length}), length, 0, {}};
}

std::uint64_t must_add(InFlight& table, std::uint32_t connection, Parcel parcel) {
    const auto id = table.add(connection, parcel);
    REQUIRE(id);
    return *id;
}

InFlight::Clock::time_point at(std::chrono::milliseconds time) {
    return InFlight::Clock::time_point{} + seconds{1000} + time;
}

} // namespace

TEST_CASE("ids and connections count from 1, and an id is acknowledged once") {
    InFlight table(10);
    const std::uint32_t first = table.open_connection(-1);
    const std::uint32_t second = table.open_connection(-1);
    CHECK(first == 1);
    CHECK(second == 2);
    CHECK(must_add(table, first, batch_of(3, 30)) == 1);
    CHECK(must_add(table, second, batch_of(4, 40)) == 2);
    const auto parcel = table.acknowledge(2, at({}));
    REQUIRE(parcel);
    CHECK(parcel->files == 4);
    CHECK(parcel->work.entries.size() == 4);
    CHECK_FALSE(table.acknowledge(2, at({})));
    CHECK_FALSE(table.acknowledge(3, at({})));
    CHECK_FALSE(table.acknowledge(0, at({})));
}

TEST_CASE("what has been sent of a parcel counts once, and not at all when it is lost") {
    InFlight table(10);
    const std::uint32_t connection = table.open_connection(-1);
    const std::uint64_t whole = must_add(table, connection, batch_of(1, 100));
    table.advance(whole, 30);
    CHECK(table.bytes_done() == 30);
    table.advance(whole, 70);
    CHECK(table.bytes_done() == 70);
    SECTION("sent, then acknowledged") {
        table.sent(whole);
        CHECK(table.bytes_done() == 100);
        CHECK(table.acknowledge(whole, at({})));
        CHECK(table.bytes_done() == 100);
        table.advance(whole, 100); // too late, and harmless
        CHECK(table.bytes_done() == 100);
    }
    SECTION("acknowledged before the stream says that it is sent") {
        CHECK(table.acknowledge(whole, at({})));
        table.sent(whole);
        CHECK(table.bytes_done() == 100);
    }
    SECTION("damaged") {
        table.sent(whole);
        CHECK(table.take_damaged(whole));
        CHECK(table.bytes_done() == 0);
        CHECK(table.bytes_in_vain() == 100);
    }
    SECTION("lost in the middle") {
        CHECK(table.take_lost(connection).size() == 1);
        CHECK(table.bytes_done() == 0);
        CHECK(table.bytes_in_vain() == 0); // not sent whole
    }
}

TEST_CASE("what a lost connection carried comes back in order, and nothing else") {
    test::LargeSources sources;
    const auto source = sources.make(100'000);
    InFlight table(10);
    const std::uint32_t lost = table.open_connection(-1);
    const std::uint32_t other = table.open_connection(-1);
    static_cast<void>(must_add(table, lost, batch_of(3, 30)));
    static_cast<void>(must_add(table, other, batch_of(4, 40)));
    static_cast<void>(must_add(table, lost, extent_of(source, 0, 50'000)));
    const std::uint64_t stored = must_add(table, lost, batch_of(5, 50));
    static_cast<void>(must_add(table, lost, extent_of(source, 50'000, 50'000)));
    REQUIRE(table.acknowledge(stored, at({})));

    const std::vector<Work> work = table.take_lost(lost);
    REQUIRE(work.size() == 3);
    CHECK(work[0].entries.size() == 3);
    CHECK(work[1].piece.offset == 0);
    CHECK(work[2].piece.offset == 50'000);
    CHECK(table.take_lost(lost).empty());
    Parcel late = batch_of(1, 1);
    CHECK_FALSE(table.add(lost, late));
    CHECK(late.work.entries.size() == 1); // still there
    CHECK_FALSE(table.wait_for_room(lost));
    CHECK(table.take_lost(other).size() == 1);
}

TEST_CASE("batches are counted with what is in them, however they end, and extents are not") {
    test::LargeSources sources;
    InFlight table(10);
    const std::uint32_t lost = table.open_connection(-1);
    const std::uint32_t other = table.open_connection(-1);
    const auto counts = [&] {
        const InFlight::Batches batches = table.batches();
        return std::vector<std::uint64_t>{batches.count, batches.entries, batches.files};
    };
    using Counts = std::vector<std::uint64_t>;
    Parcel with_links = batch_of(3, 30);
    with_links.files = 2;
    static_cast<void>(must_add(table, lost, std::move(with_links)));
    const std::uint64_t stored = must_add(table, other, batch_of(4, 40));
    static_cast<void>(must_add(table, other, extent_of(sources.make(1'000), 0, 1'000)));
    CHECK(counts() == Counts{2, 7, 6});
    REQUIRE(table.acknowledge(stored, at({})));
    CHECK(counts() == Counts{1, 3, 2});
    CHECK(table.take_lost(lost).size() == 1);
    CHECK(counts() == Counts{0, 0, 0});
}

TEST_CASE("bytes count once, when they were sent or acknowledged, and not when they are lost") {
    test::LargeSources sources;
    const auto source = sources.make(100'000);
    InFlight table(10);
    const std::uint32_t connection = table.open_connection(-1);
    const std::uint64_t sent = must_add(table, connection, extent_of(source, 0, 1000));
    CHECK(table.bytes_done() == 0);
    table.sent(sent);
    CHECK(table.bytes_done() == 1000);
    CHECK(table.bytes_under_way() == 1000);
    REQUIRE(table.acknowledge(sent, at({})));
    CHECK(table.bytes_done() == 1000);

    const std::uint64_t quick = must_add(table, connection, extent_of(source, 1000, 200));
    REQUIRE(table.acknowledge(quick, at({}))); // before its stream says that all was sent
    table.sent(quick);
    CHECK(table.bytes_done() == 1200);

    const std::uint64_t damaged = must_add(table, connection, extent_of(source, 2000, 30));
    table.sent(damaged);
    REQUIRE(table.take_damaged(damaged));
    CHECK(table.bytes_done() == 1200);
    CHECK(table.bytes_in_vain() == 30);

    table.sent(must_add(table, connection, extent_of(source, 3000, 4)));
    const std::uint64_t half = must_add(table, connection, extent_of(source, 4000, 5));
    CHECK(table.take_lost(connection).size() == 2);
    table.sent(half);
    CHECK(table.bytes_done() == 1200);
    CHECK(table.bytes_in_vain() == 34);
    CHECK(table.bytes_under_way() == 0);
}

TEST_CASE("a stream waits for room for another extent until one is acknowledged") {
    test::LargeSources sources;
    const auto source = sources.make(100'000);
    InFlight table(2);
    const std::uint32_t connection = table.open_connection(-1);
    const std::uint64_t first = must_add(table, connection, extent_of(source, 0, 10));
    CHECK(table.has_room());
    static_cast<void>(must_add(table, connection, extent_of(source, 10, 10)));
    CHECK_FALSE(table.has_room());
    static_cast<void>(must_add(table, connection, batch_of(1, 1))); // batches do not count
    std::atomic<bool> room{false};
    std::thread stream([&] { room = table.wait_for_room(connection); });
    REQUIRE(table.acknowledge(first, at({})));
    stream.join();
    CHECK(room);
}

TEST_CASE("who waits for room is woken when the connection is lost, broken, or all is cancelled") {
    test::LargeSources sources;
    const auto source = sources.make(100'000);
    InFlight table(1);
    const std::uint32_t full = table.open_connection(-1);
    static_cast<void>(must_add(table, full, extent_of(source, 0, 10)));
    const std::uint32_t lost = table.open_connection(-1);
    const std::uint32_t broken = table.open_connection(-1);
    std::atomic<int> woken{0};
    std::vector<std::thread> streams;
    for (const std::uint32_t connection : {lost, broken, full}) {
        streams.emplace_back(
            [&, connection] { woken += table.wait_for_room(connection) ? 100 : 1; });
    }
    CHECK(table.take_lost(lost).empty());
    CHECK(table.break_connection(broken));
    CHECK_FALSE(table.break_connection(broken)); // only the first has to tell the receiver
    CHECK_FALSE(table.break_connection(lost));
    table.cancel();
    for (std::thread& stream : streams) {
        stream.join();
    }
    CHECK(woken == 3);
    Parcel parcel = batch_of(1, 1);
    CHECK_FALSE(table.add(full, parcel));
}

TEST_CASE("a digest is kept with its extent as long as that is under way") {
    test::LargeSources sources;
    const auto source = sources.make(100'000);
    InFlight table(10);
    const std::uint32_t connection = table.open_connection(-1);
    const std::uint64_t id = must_add(table, connection, extent_of(source, 0, 10));
    proto::Digest digest{};
    digest[3] = std::byte{7};
    CHECK(table.note_digest(id, digest));
    CHECK_FALSE(table.note_digest(id + 1, digest));
    const auto parcel = table.take_damaged(id);
    REQUIRE(parcel);
    CHECK(parcel->digest == digest);
    CHECK_FALSE(table.note_digest(id, digest));
}

TEST_CASE("a connection stands still when nothing is taken and nothing acknowledged for so long") {
    test::TcpPair pair;
    InFlight table(10);
    const std::uint32_t connection = table.open_connection(pair.sender.get());
    CHECK(table.stalled(at(milliseconds{0}), seconds{10}).empty());
    const std::uint64_t first = must_add(table, connection, batch_of(1, 1));
    const std::uint64_t second = must_add(table, connection, batch_of(1, 1));
    // Not all of it sent: the stream itself sees to that.
    CHECK(table.stalled(at(seconds{4}), seconds{10}).empty());
    CHECK(table.stalled(at(seconds{8}), seconds{10}).empty());
    CHECK(table.stalled(at(seconds{12}), seconds{10}).empty());
    table.sent(first);
    table.sent(second);
    CHECK(table.stalled(at(seconds{16}), seconds{10}).empty());
    CHECK(table.stalled(at(seconds{20}), seconds{10}).empty());
    // An acknowledgement of anything starts the time anew.
    REQUIRE(table.acknowledge(first, at(seconds{20})));
    CHECK(table.stalled(at(seconds{25}), seconds{10}).empty());
    CHECK(table.stalled(at(seconds{29}), seconds{10}).empty());
    // So does what the peer's kernel takes.
    const std::uint64_t taken = tcp_progress(pair.sender.get()).acknowledged_bytes;
    REQUIRE(::send(pair.sender.get(), "x", 1, 0) == 1);
    while (tcp_progress(pair.sender.get()).acknowledged_bytes == taken) {
        std::this_thread::yield(); // the peer's kernel may take 40 ms to say so
    }
    CHECK(table.stalled(at(seconds{30}), seconds{10}).empty());
    CHECK(table.stalled(at(seconds{35}), seconds{10}).empty());
    CHECK(table.stalled(at(seconds{39}), seconds{10}).empty());
    CHECK(table.stalled(at(seconds{40}), seconds{10}) == std::vector{connection});
    // It has been shut down, and is named once.
    CHECK(table.stalled(at(seconds{41}), seconds{10}).empty());
    CHECK_FALSE(table.wait_for_room(connection));
    CHECK(::send(pair.sender.get(), "x", 1, MSG_NOSIGNAL) == -1);
    CHECK_FALSE(table.break_connection(connection));
    CHECK(table.close_connection(connection).stalled);
    CHECK(table.take_lost(connection).size() == 1);
}

TEST_CASE("nobody is to blame for the time during which nobody looked") {
    test::TcpPair pair;
    InFlight table(10);
    const std::uint32_t connection = table.open_connection(pair.sender.get());
    table.sent(must_add(table, connection, batch_of(1, 1)));
    CHECK(table.stalled(at(seconds{0}), seconds{10}).empty());
    CHECK(table.stalled(at(seconds{100}), seconds{10}).empty()); // stopped by Ctrl-Z, say
    CHECK(table.stalled(at(seconds{104}), seconds{10}).empty());
    CHECK(table.stalled(at(seconds{108}), seconds{10}).empty());
    CHECK(table.stalled(at(seconds{111}), seconds{10}) == std::vector{connection});
}

TEST_CASE("a connection that the peer has ended is found, whatever the timeout") {
    test::TcpPair pair;
    InFlight table(10);
    const std::uint32_t connection = table.open_connection(pair.sender.get());
    table.sent(must_add(table, connection, batch_of(1, 1)));
    CHECK(table.stalled(at(seconds{0}), milliseconds{0}).empty());
    pair.receiver = {};
    REQUIRE(test::wait_for(pair.sender.get(), POLLIN));
    CHECK(table.stalled(at(seconds{1}), milliseconds{0}) == std::vector{connection});
}

TEST_CASE("a connection that the receiver calls lost counts until its stream has noticed") {
    InFlight in_flight(4);
    const test::TcpPair pair;
    const std::uint32_t connection = in_flight.open_connection(pair.sender.get());
    CHECK(::send(pair.sender.get(), "12345", 5, 0) == 5);
    while (in_flight.bytes_taken() < 5) {
        std::this_thread::yield();
    }
    Parcel parcel{Work(Chunk(1)), 0, 1, {}};
    const auto id = in_flight.add(connection, parcel);
    REQUIRE(id);
    in_flight.sent(*id);
    CHECK(in_flight.acknowledge(*id, InFlight::Clock::now()).has_value());
    CHECK(in_flight.take_lost(connection).empty());
    CHECK(in_flight.bytes_taken() >= 5);
    CHECK_FALSE(in_flight.add(connection, parcel));
    CHECK(in_flight.close_connection(connection).acknowledged); // it has worked
    CHECK(in_flight.bytes_taken() >= 5);
    CHECK_FALSE(in_flight.close_connection(connection).acknowledged); // forgotten
}

TEST_CASE("the digest of a parcel is claimed once, while it is under way") {
    InFlight table(10);
    const std::uint32_t connection = table.open_connection(-1);
    const std::uint64_t first = must_add(table, connection, batch_of(1, 100));
    const std::uint64_t second = must_add(table, connection, batch_of(1, 100));
    CHECK(table.claim_digest(first));
    CHECK_FALSE(table.claim_digest(first));
    static_cast<void>(table.take_lost(connection));
    CHECK_FALSE(table.claim_digest(first));
    CHECK_FALSE(table.claim_digest(second));
    CHECK_FALSE(table.claim_digest(second + 1));
}
