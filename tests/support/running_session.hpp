// A session of the receiver's with a store of its own, as its connections would use it.
#pragma once

#include "receiver/session.hpp"
#include "tests/support/extent_source.hpp"

#include <catch2/catch.hpp>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <sys/socket.h>
#include <thread>

namespace sluice::test {

// A socket for a data connection, and the sender's end of it.
struct SocketLink {
    SocketLink() {
        int ends[2];
        REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
        ours = UniqueFd::adopt(ends[0]);
        theirs = UniqueFd::adopt(ends[1]);
    }
    [[nodiscard]] bool is_shut() const {
        char byte = 0;
        return ::recv(theirs.get(), &byte, 1, MSG_DONTWAIT) == 0;
    }
    UniqueFd ours;
    UniqueFd theirs;
};

// With all the news it has had so far.
struct RunningSession {
    StoreRoot root;
    JobPool hashing{2};
    DirectoryCache directories{8};
    std::shared_ptr<Session> session =
        std::make_shared<Session>(7, proto::Token{}, proto::Token{}, "peer", hashing);
    Session::News news;
    std::mutex mutex;
    std::condition_variable woken;
    bool has_news = false;
    bool disposed = false;
    bool kept = false;

    explicit RunningSession(bool verify = true, const SessionRequest& request = {}) {
        StoreSession made(root, request);
        REQUIRE(made.ok());
        session->set_store(made.take_store(), verify);
        session->set_disposer([this](std::unique_ptr<Storage> store, bool keep) {
            const std::scoped_lock lock(mutex);
            disposed = true;
            kept = keep;
            if (store && !keep) {
                static_cast<void>(store->abandon());
            }
            store.reset();
            woken.notify_all();
        });
        session->set_waker([this] {
            const std::scoped_lock lock(mutex);
            has_news = true;
            woken.notify_all();
        });
    }
    // The session refers to this.
    ~RunningSession() { end(); }

    // Lets go of the session and waits until nobody has it.
    void end() {
        session.reset();
        std::unique_lock lock(mutex);
        woken.wait(lock, [this] { return disposed; });
    }
    // All that is on its way. Afterwards `news` has everything; a loss must not overtake the
    // acknowledgements of what came on the connection.
    void collect(const std::function<bool()>& enough) {
        const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
        while (!enough()) {
            {
                std::unique_lock lock(mutex);
                REQUIRE(woken.wait_until(lock, deadline, [this] { return has_news; }));
                has_news = false;
            }
            take();
        }
    }
    void take() {
        Session::News more = session->take_news();
        const auto append = [](auto& to, const auto& from) {
            to.insert(to.end(), from.begin(), from.end());
        };
        append(news.stored, more.stored);
        append(news.again, more.again);
        append(news.lost, more.lost);
    }
    // Nothing more comes for a while.
    void expect_silence() {
        std::this_thread::sleep_for(std::chrono::milliseconds(30));
        take();
    }

    [[nodiscard]] Session::ArrivedExtent arrive(const ExtentSource& source, std::uint64_t offset,
                                                std::uint64_t length, std::uint32_t connection) {
        const auto begun = source.begin(session->store(), directories, offset, length);
        REQUIRE(begun.file != nullptr);
        CHECK(StoreSession::text(begun.problem) == "");
        return {begun.file, offset, length, connection};
    }
    void join(std::uint32_t number) { REQUIRE(session->add_connection(number, link.ours.get())); }
    SocketLink link;
};

inline proto::Digests digests(std::uint64_t id, const Digest& digest) {
    return {{{id, digest}}};
}

inline Digest right(const ExtentSource& source, std::uint64_t offset, std::uint64_t length) {
    return digest_of(source.bytes(offset, length));
}

inline Digest wrong() {
    return digest_of({});
}

} // namespace sluice::test
