// Which worker a data connection lives on: those that carry something are spread evenly, whichever
// of a session's they are.
#include "receiver/discarder.hpp"
#include "receiver/workers.hpp"
#include "tests/support/process.hpp"
#include "tests/support/tcp_pair.hpp"

#include <catch2/catch.hpp>
#include <cstdint>
#include <deque>
#include <vector>

using namespace sluice;
using namespace sluice::test;

namespace {

// Workers, a session of number 0, and its data connections.
class Team {
public:
    explicit Team(unsigned count) : count_(count) {
        REQUIRE(workers.start(count, CopyPath::automatic, pace_));
        auto discarder = Discarder::open({});
        REQUIRE(discarder);
        session->set_store(std::move(*discarder), true);
    }
    ~Team() { workers.stop(); }
    Team(const Team&) = delete;
    Team& operator=(const Team&) = delete;

    // Of the next number and stream.
    void join() {
        TcpPair& link = links_.emplace_back();
        const auto stream = static_cast<std::uint32_t>(links_.size() - 1);
        auto joined =
            JoinedConnection::join(session, Channel(std::move(link.receiver)), stream + 1, {});
        REQUIRE(joined);
        workers.take(std::move(*joined), stream);
    }
    // Not a whole frame.
    void carry(std::size_t stream) {
        REQUIRE(::send(links_.at(stream).sender.get(), "L", 1, MSG_NOSIGNAL) == 1);
    }
    void end(std::size_t stream) { links_.at(stream).sender.reset(); }

    // How many that carry something each worker has.
    [[nodiscard]] std::vector<unsigned> spread() {
        std::vector<unsigned> result;
        for (unsigned number = 0; number < count_; ++number) {
            result.push_back(workers.for_session(number).data_connections());
        }
        return result;
    }

private:
    const unsigned count_;
    JobPool hashing_{1};
    UnpackPace pace_;
    std::deque<TcpPair> links_;

public:
    std::shared_ptr<Session> session =
        std::make_shared<Session>(0, proto::Token{}, proto::Token{}, "peer", hashing_);
    Workers workers;
};

using Counts = std::vector<unsigned>;

} // namespace

TEST_CASE("data connections go where there are fewest") {
    Team team(3);
    CHECK(&team.workers.for_stream(0, 0) == &team.workers.for_session(1));
    CHECK(team.spread() == Counts{0, 1, 0});
    CHECK(&team.workers.for_stream(0, 0) == &team.workers.for_session(2));
    CHECK(&team.workers.for_stream(0, 0) == &team.workers.for_session(0));
    CHECK(&team.workers.for_stream(0, 1) == &team.workers.for_session(2));
    team.workers.for_session(0).data_connection_gone();
    CHECK(&team.workers.for_stream(7, 0) == &team.workers.for_session(0));
    CHECK(team.spread() == Counts{1, 1, 2});
}

TEST_CASE("only data connections that carry something are counted and spread") {
    Team team(2);
    for (int stream = 0; stream < 8; ++stream) {
        team.join();
    }
    for (const std::size_t stream : {1U, 3U, 5U, 7U}) { // these waited on one and the same worker
        team.carry(stream);
    }
    eventually("all have begun", [&] { return team.spread() == Counts{2, 2}; });
    team.end(1);
    team.end(3);
    team.end(5);
    eventually("one is left", [&] {
        const Counts counts = team.spread();
        return counts[0] + counts[1] == 1;
    });
    CHECK_FALSE(team.session->failure());
}

TEST_CASE("a data connection that ends without having carried anything is reported as any other") {
    Team team(2);
    team.join();
    team.join();
    team.end(1);
    std::vector<std::uint32_t> lost;
    eventually("its end is known", [&] {
        const Session::News news = team.session->take_news();
        lost.insert(lost.end(), news.lost.begin(), news.lost.end());
        return !lost.empty();
    });
    CHECK(lost == std::vector<std::uint32_t>{2});
    CHECK(team.spread() == Counts{0, 0});
}

TEST_CASE("connections that wait or move when the workers stop leave their session") {
    for (int round = 0; round < 50; ++round) {
        Team team(4);
        for (unsigned number = 0; number < 4; ++number) { // whoever has news tells this one
            Worker& told = team.workers.for_session(number);
            team.session->set_waker([&told] { told.post([] {}); });
        }
        for (int stream = 0; stream < 6; ++stream) {
            team.join();
            if (stream % 2 == 1) {
                team.carry(static_cast<std::size_t>(stream));
            }
        }
        team.workers.stop();
        CHECK_FALSE(team.session->failure());
    }
}
