// Signed data connections against somebody on the way: whatever they do to the bytes, nothing is
// acknowledged or stored that the sender has not sent, and the session goes on.
#include "receiver/discarder.hpp"
#include "receiver/workers.hpp"
#include "tests/support/signed_stream.hpp"
#include "tests/support/store_session.hpp"
#include "tests/support/tcp_pair.hpp"

#include <chrono>
#include <condition_variable>
#include <mutex>

using namespace sluice;
using namespace sluice::test;

namespace {

using Ids = std::vector<std::uint64_t>;
using Bytes = proto::Bytes;

const DataKeys kKeys = keys_of(std::byte{0x21});

// A session of its own, with what its data connections need.
class Receiving {
public:
    explicit Receiving(bool discards = false) {
        REQUIRE(workers_.start(2, CopyPath::automatic, pace_));
        session_ = std::make_shared<Session>(1, proto::Token{}, proto::Token{}, "peer", hashing_);
        if (discards) {
            auto discarder = Discarder::open({});
            REQUIRE(discarder);
            session_->set_store(std::move(*discarder), true);
        } else {
            StoreSession made(root_);
            REQUIRE(made.ok());
            session_->set_store(made.take_store(), true);
        }
        session_->sign(kKeys);
        session_->set_waker([this] {
            const std::scoped_lock lock(mutex_);
            news_ = true;
            changed_.notify_all();
        });
    }
    ~Receiving() {
        workers_.stop();
        session_.reset();
    }
    Receiving(const Receiving&) = delete;
    Receiving& operator=(const Receiving&) = delete;

    struct Answers {
        Ids stored;
        Ids again;
    };

    // Brings these bytes on the connection of that number, and then its end; waits until all of it
    // has been dealt with.
    Answers bring(std::uint32_t connection, proto::ByteView bytes) {
        TcpPair pair;
        proto::FrameCode code = session_->frame_code(connection);
        static_cast<void>(code({}, {})); // the Join
        auto joined = JoinedConnection::join(session_, Channel(std::move(pair.receiver)),
                                             connection, std::move(code));
        REQUIRE(joined);
        workers_.take(std::move(*joined), 0);
        // It may have been closed in the middle.
        static_cast<void>(::send(pair.sender.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL));
        ::shutdown(pair.sender.get(), SHUT_WR);
        Answers answers;
        const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
        for (bool lost = false; !lost;) {
            std::unique_lock lock(mutex_);
            REQUIRE(changed_.wait_until(lock, deadline, [this] { return news_; }));
            news_ = false;
            lock.unlock();
            const Session::News news = session_->take_news();
            answers.stored.insert(answers.stored.end(), news.stored.begin(), news.stored.end());
            for (const proto::Again& again : news.again) {
                answers.again.push_back(again.id);
            }
            lost = !news.lost.empty();
        }
        std::ranges::sort(answers.stored);
        return answers;
    }
    Answers bring(const SignedStream& stream, proto::ByteView bytes) {
        CHECK(session_->expect(stream.digests()) == proto::Fault::none);
        return bring(stream.connection(), bytes);
    }

    // What is there now must be what the sender sent; the large file if all of it was stored.
    void judge(const SignedStream& stream, const Answers& answers) {
        CHECK_FALSE(session_->failure());
        CHECK_FALSE(session_->take_failed_file());
        const bool has_batch = !answers.stored.empty() && answers.stored[0] == stream.ids()[0];
        CHECK(root_.directory.exists(stream.small_path()) == has_batch);
        if (has_batch) {
            CHECK(root_.directory.read_file(stream.small_path()) == SignedStream::small_content());
        }
        const auto ended = session_->store().end_file(stream.file_id(), directories_);
        const bool whole = answers.stored == stream.ids();
        CHECK((ended.fault == proto::Fault::none) == whole);
        CHECK(root_.directory.exists(stream.large_path()) == whole);
        if (whole) {
            CHECK((root_.directory.read_file(stream.large_path()) == stream.large_content()));
        } else {
            CHECK(session_->store().abort_file(stream.file_id()) == proto::Fault::none);
        }
    }

    [[nodiscard]] Session& session() noexcept { return *session_; }

private:
    StoreRoot root_;
    JobPool hashing_{1};
    DirectoryCache directories_{8};
    std::mutex mutex_;
    std::condition_variable changed_;
    bool news_ = false;
    std::shared_ptr<Session> session_;
    UnpackPace pace_;
    Workers workers_;
};

// Those of the stream's batches and extents that came whole before `at`.
Ids before(const SignedStream& stream, std::size_t at) {
    Ids ids = stream.ids();
    for (const SignedStream::Part& part : stream.parts()) {
        if (at < part.end) {
            std::erase_if(ids, [&](std::uint64_t id) { return id >= part.id; });
            break;
        }
    }
    return ids;
}

const SignedStream::Part& payload_of(const SignedStream& stream) {
    const auto found = std::ranges::find(stream.parts(), true, &SignedStream::Part::payload);
    REQUIRE(found != stream.parts().end());
    return *found;
}

} // namespace

TEST_CASE("what a signed connection brings is stored", "[signed]") {
    Receiving receiving;
    for (const std::uint32_t connection : {1U, 2U, 0xffffffffU}) {
        const SignedStream stream(kKeys, connection);
        const auto answers = receiving.bring(stream, stream.bytes());
        CHECK(answers.stored == stream.ids());
        CHECK(answers.again.empty());
        receiving.judge(stream, answers);
    }
    CHECK(receiving.session().report().damaged == 0);
}

TEST_CASE("a flipped bit of any frame ends a signed connection, and of a payload spoils it",
          "[signed]") {
    Receiving receiving;
    std::uint32_t connection = 0;
    const std::size_t bits = 8 * SignedStream(kKeys, 1).bytes().size();
    for (std::size_t bit = 0; bit < bits; ++bit) {
        const SignedStream stream(kKeys, ++connection);
        const SignedStream::Part& payload = payload_of(stream);
        const bool in_payload = bit / 8 >= payload.begin && bit / 8 < payload.end;
        const bool edge = bit / 8 == payload.begin || bit / 8 == payload.end - 1;
        if (bit / 8 >= stream.bytes().size() || (in_payload && !edge && bit % 97 != 0)) {
            continue;
        }
        INFO("bit " << bit);
        Bytes bytes = stream.bytes();
        bytes[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
        const auto answers = receiving.bring(stream, bytes);
        Ids expected = before(stream, bit / 8);
        if (in_payload) {
            expected = stream.ids();
            std::erase(expected, payload.id);
        }
        CHECK(answers.stored == expected);
        CHECK(answers.again == (in_payload ? Ids{payload.id} : Ids{}));
        receiving.judge(stream, answers);
    }
    CHECK(receiving.session().report().damaged > 0);
}

TEST_CASE("a signed connection that is cut brings what came whole before", "[signed]") {
    Receiving receiving;
    const std::size_t length = SignedStream(kKeys, 1).bytes().size();
    for (std::uint32_t at = 0; at < length; at += 7) {
        INFO("cut to " << at);
        const SignedStream stream(kKeys, at + 1);
        const auto bytes = proto::ByteView(stream.bytes());
        const auto answers =
            receiving.bring(stream, bytes.first(std::min<std::size_t>(at, bytes.size())));
        CHECK(answers.stored == before(stream, at));
        CHECK(answers.again.empty());
        receiving.judge(stream, answers);
    }
    CHECK(receiving.session().report().damaged == 0);
}

TEST_CASE("a signed connection that lost or gained a byte brings what came whole before",
          "[signed]") {
    Receiving receiving;
    const std::size_t length = SignedStream(kKeys, 1).bytes().size();
    std::uint32_t connection = 0;
    for (std::size_t at = 0; at < length; at += 5) {
        for (const bool lost : {true, false}) {
            INFO((lost ? "lost " : "gained ") << at);
            const SignedStream stream(kKeys, ++connection);
            Bytes bytes = stream.bytes();
            if (at >= bytes.size()) {
                continue;
            }
            const auto place = bytes.begin() + static_cast<std::ptrdiff_t>(at);
            if (lost) {
                bytes.erase(place);
            } else {
                bytes.insert(place, ~*place);
            }
            const auto answers = receiving.bring(stream, bytes);
            CHECK(answers.stored == before(stream, at));
            receiving.judge(stream, answers);
        }
    }
}

TEST_CASE("payloads that were exchanged between two signed connections are noticed", "[signed]") {
    Receiving receiving;
    const SignedStream first(kKeys, 1);
    const SignedStream second(kKeys, 2);
    for (const auto& [stream, other] : {std::pair{&first, &second}, std::pair{&second, &first}}) {
        const SignedStream::Part& here = payload_of(*stream);
        const SignedStream::Part& there = payload_of(*other);
        Bytes bytes = stream->bytes();
        std::copy_n(other->bytes().begin() + static_cast<std::ptrdiff_t>(there.begin),
                    there.end - there.begin,
                    bytes.begin() + static_cast<std::ptrdiff_t>(here.begin));
        const auto answers = receiving.bring(*stream, bytes);
        CHECK(answers.stored.size() == 3);
        CHECK(answers.again == Ids{here.id});
        receiving.judge(*stream, answers);
    }
}

TEST_CASE("two signed connections that were exchanged at any frame bring what came before",
          "[signed]") {
    Receiving receiving;
    std::uint32_t connection = 0;
    for (std::size_t part = 0; part < SignedStream(kKeys, 1).parts().size(); ++part) {
        INFO("part " << part);
        const SignedStream first(kKeys, ++connection);
        const SignedStream second(kKeys, ++connection);
        for (const auto& [stream, other] :
             {std::pair{&first, &second}, std::pair{&second, &first}}) {
            const std::size_t at = stream->parts()[part].begin;
            const std::size_t from = other->parts()[part].begin;
            Bytes bytes(stream->bytes().begin(),
                        stream->bytes().begin() + static_cast<std::ptrdiff_t>(at));
            bytes.insert(bytes.end(), other->bytes().begin() + static_cast<std::ptrdiff_t>(from),
                         other->bytes().end());
            const auto answers = receiving.bring(*stream, bytes);
            CHECK(answers.stored == before(*stream, at));
            receiving.judge(*stream, answers);
        }
    }
}

TEST_CASE("a recorded signed connection brings nothing in another place or session", "[signed]") {
    Receiving receiving;
    const SignedStream recorded(kKeys, 1);
    REQUIRE(receiving.bring(recorded, recorded.bytes()).stored == recorded.ids());
    // As another connection of the session, which its Join would not have let in.
    CHECK(receiving.bring(2, recorded.bytes()).stored.empty());
    // Of a session with other keys.
    const SignedStream foreign(keys_of(std::byte{0x22}), 3);
    CHECK(receiving.bring(3, foreign.bytes()).stored.empty());
    CHECK_FALSE(receiving.session().failure());
    CHECK(receiving.session().report().damaged == 2);
    // Under its own number it gets nowhere.
    CHECK_FALSE(receiving.session().add_connection(1, -1));
}

TEST_CASE("a receiver that discards notices a flipped bit of a signed payload", "[signed]") {
    Receiving receiving(true);
    for (const bool flipped : {false, true}) {
        const SignedStream stream(kKeys, flipped ? 2 : 1);
        const SignedStream::Part& payload = payload_of(stream);
        Bytes bytes = stream.bytes();
        bytes[payload.begin] ^= flipped ? std::byte{1} : std::byte{0};
        const auto answers = receiving.bring(stream, bytes);
        CHECK(answers.stored.size() == (flipped ? 3 : 4));
        CHECK(answers.again == (flipped ? Ids{payload.id} : Ids{}));
    }
}

TEST_CASE("a session has codes only where it was signed", "[signed]") {
    JobPool hashing(1);
    Session session(1, {}, {}, "peer", hashing);
    CHECK_FALSE(session.is_signed());
    CHECK_FALSE(session.frame_code(1));
    CHECK_FALSE(session.payload_key());
    session.sign(kKeys);
    CHECK(session.is_signed());
    CHECK(session.frame_code(1));
    CHECK(session.payload_key());
}
