// Names that stand for several addresses: looking them up, and connecting to the one that answers.
#include "common/connect.hpp"
#include "common/net.hpp"
#include "tests/support/full_listener.hpp"
#include "tests/support/tcp_pair.hpp"

#include <catch2/catch.hpp>
#include <condition_variable>
#include <filesystem>
#include <iostream>
#include <iterator>
#include <memory>
#include <mutex>
#include <sys/eventfd.h>
#include <thread>

using namespace sluice;
using namespace sluice::test;
using std::chrono::milliseconds;

namespace {

using Clock = std::chrono::steady_clock;

constexpr milliseconds kLong{kWaitMs};

SocketAddress address_of(const std::string& host, std::uint16_t port) {
    const auto found = resolve(host, port, false);
    REQUIRE(found);
    REQUIRE(found->size() == 1);
    return found->front();
}

UniqueFd listen_at(const std::string& address, std::uint16_t port = 0) {
    auto listener = listen_tcp(address, port);
    REQUIRE(listener);
    return std::move(*listener);
}

// A port at which nobody listens.
std::uint16_t free_port() {
    return local_port(listen_at("127.0.0.1").get());
}

std::size_t open_descriptors() {
    return static_cast<std::size_t>(
        std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {}));
}

UniqueFd make_event() {
    return UniqueFd::adopt(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
}

// From any thread: Catch's assertions are for one at a time.
void set(const UniqueFd& event) {
    const std::uint64_t one = 1;
    require(::write(event.get(), &one, sizeof one) == sizeof one, "write to an eventfd");
}

// A resolver that says nothing until it is allowed to.
class SlowResolver {
public:
    ~SlowResolver() { answer(); }
    // What is looked up outlives this object, as a forgotten question does.
    Lookup lookup() {
        return [state = state_]() -> Result<SocketAddresses> {
            std::unique_lock lock(state->mutex);
            state->changed.wait(lock, [&] { return state->may_answer; });
            return resolve("192.0.2.7", 1, false);
        };
    }
    void answer() {
        {
            const std::scoped_lock lock(state_->mutex);
            state_->may_answer = true;
        }
        state_->changed.notify_all();
    }

private:
    struct State {
        std::mutex mutex;
        std::condition_variable changed;
        bool may_answer = false;
    };
    std::shared_ptr<State> state_ = std::make_shared<State>();
};

} // namespace

TEST_CASE("the families take turns, beginning with that of the best address") {
    const auto order = [](std::initializer_list<const char*> hosts) {
        SocketAddresses addresses;
        for (const char* const host : hosts) {
            addresses.push_back(address_of(host, 80));
        }
        std::string text;
        for (const SocketAddress& address : take_turns(addresses)) {
            text += format_address(address) + " ";
        }
        return text;
    };
    CHECK(order({"::1", "::2", "::3", "192.0.2.1"}) == "[::1]:80 192.0.2.1:80 [::2]:80 [::3]:80 ");
    CHECK(order({"192.0.2.1", "192.0.2.2", "::1", "::2", "::3"}) ==
          "192.0.2.1:80 [::1]:80 192.0.2.2:80 [::2]:80 [::3]:80 ");
    CHECK(order({"192.0.2.2", "192.0.2.1"}) == "192.0.2.2:80 192.0.2.1:80 ");
    CHECK(order({}).empty());
}

TEST_CASE("an address that does not answer holds a connection up for a quarter of a second") {
    const FullListener silent;
    const UniqueFd listener = listen_at("127.0.0.2");
    const SocketAddresses addresses{address_of("127.0.0.1", silent.port()),
                                    address_of("127.0.0.2", local_port(listener.get()))};
    const std::size_t descriptors = open_descriptors();
    const auto began = Clock::now();
    const auto connected = connect_to_any(addresses, "both", kLong, -1, "");
    const auto took = Clock::now() - began;
    REQUIRE(connected);
    CHECK(peer_address(connected->get()) == format_address(addresses[1]));
    CHECK(took >= kAttemptDelay);
    CHECK(took < kLong / 2);
    CHECK(open_descriptors() == descriptors + 1); // the other attempt is closed
}

TEST_CASE("an address that refuses does not hold a connection up") {
    const UniqueFd listener = listen_at("127.0.0.2");
    SocketAddresses addresses(20, address_of("127.0.0.1", free_port()));
    addresses.push_back(address_of("127.0.0.2", local_port(listener.get())));
    const auto began = Clock::now();
    const auto connected = connect_to_any(addresses, "many", kLong, -1, "");
    REQUIRE(connected);
    CHECK(peer_address(connected->get()) == format_address(addresses.back()));
    CHECK(Clock::now() - began < 20 * kAttemptDelay);
}

TEST_CASE("an earlier attempt may win while a later one is still under way") {
    // Its queue is full until something is taken from it.
    const UniqueFd slow = UniqueFd::adopt(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const SocketAddress here = address_of("127.0.0.3", 0);
    REQUIRE(::bind(slow.get(), here.get(), here.length) == 0);
    REQUIRE(::listen(slow.get(), 0) == 0);
    const SocketAddress first = address_of("127.0.0.3", local_port(slow.get()));
    const auto filler = connect_to_any({first}, "filler", kLong, -1, "");
    REQUIRE(filler);
    const FullListener silent;
    std::thread taker([&] {
        std::this_thread::sleep_for(kAttemptDelay); // or later: nothing depends on it
        while (!wait_for(slow.get(), POLLIN)) {
        }
        const auto taken = UniqueFd::adopt(::accept4(slow.get(), nullptr, nullptr, SOCK_CLOEXEC));
    });
    const auto connected =
        connect_to_any({first, address_of("127.0.0.1", silent.port())}, "both", kLong, -1, "");
    taker.join();
    REQUIRE(connected);
    CHECK(peer_address(connected->get()) == format_address(first));
}

TEST_CASE("what failed is told by the most telling error and how many addresses there were") {
    const FullListener silent;
    const SocketAddress refusing = address_of("127.0.0.1", free_port());
    const SocketAddresses addresses{address_of("192.0.2.1", 0), refusing,
                                    address_of("127.0.0.1", silent.port())};
    const auto failed = connect_to_any(addresses, "some.host", milliseconds{700}, -1, "");
    REQUIRE_FALSE(failed);
    CHECK(failed.error().kind == ErrorKind::network);
    CHECK(failed.error().error_number == ECONNREFUSED);
    CHECK(failed.error().message == "cannot connect to any of 3 addresses of some.host, such as " +
                                        format_address(refusing) + ": Connection refused");
}

TEST_CASE("the time for all addresses together is limited") {
    const FullListener silent;
    const SocketAddresses addresses(3, address_of("127.0.0.1", silent.port()));
    const auto began = Clock::now();
    const auto failed = connect_to_any(addresses, "silent", milliseconds{300}, -1, "");
    const auto took = Clock::now() - began;
    REQUIRE_FALSE(failed);
    CHECK(failed.error().kind == ErrorKind::timed_out);
    CHECK(failed.error().message.find("any of 2 addresses") != std::string::npos);
    CHECK(took >= milliseconds{300});
    CHECK(took < kLong / 2);
}

TEST_CASE("cancelling ends all attempts at once") {
    const FullListener silent;
    const UniqueFd cancel = make_event();
    const std::size_t descriptors = open_descriptors();
    std::thread later([&] { set(cancel); });
    const SocketAddresses addresses(3, address_of("127.0.0.1", silent.port()));
    const auto cancelled = connect_to_any(addresses, "silent", kLong, cancel.get(), "");
    later.join();
    REQUIRE_FALSE(cancelled);
    CHECK(cancelled.error().kind == ErrorKind::interrupted);
    CHECK(open_descriptors() == descriptors);
}

TEST_CASE("a name with an IPv6 address that is silent is reached by IPv4") {
    const auto found = resolve("localhost", 0, false);
    REQUIRE(found);
    const bool dual = found->size() >= 2 && found->front().family() == AF_INET6;
    if (!dual) {
        std::cout << "skipped: localhost does not stand for ::1 and 127.0.0.1 here\n";
        return;
    }
    const FullListener silent("::1");
    const UniqueFd listener = listen_at("127.0.0.1", silent.port());
    const auto connected = connect_tcp("localhost", silent.port(), kLong, -1);
    REQUIRE(connected);
    CHECK(peer_host(connected->get()) == "127.0.0.1");
}

TEST_CASE("a link-local address without its interface is explained") {
    const auto failed = connect_tcp("fe80::1", 7722, kLong, -1);
    REQUIRE_FALSE(failed);
    if (failed.error().error_number != EINVAL) {
        std::cout << "skipped: no IPv6 here\n";
        return;
    }
    CHECK(failed.error().message.find("ADDRESS%INTERFACE") != std::string::npos);
}

TEST_CASE("a look-up that takes long is cancelled, limited, or waited for") {
    SlowResolver resolver;
    const UniqueFd cancel = make_event();
    const auto late = resolve_within("slow.example", resolver.lookup(), milliseconds{20}, -1);
    REQUIRE_FALSE(late);
    CHECK(late.error().kind == ErrorKind::timed_out);
    CHECK(late.error().message == "cannot resolve host 'slow.example': no answer within 0.02 s");

    std::thread later([&] { set(cancel); });
    const auto cancelled = resolve_within("slow.example", resolver.lookup(), kLong, cancel.get());
    later.join();
    REQUIRE_FALSE(cancelled);
    CHECK(cancelled.error().kind == ErrorKind::interrupted);

    std::thread answer([&] { resolver.answer(); });
    const auto found = resolve_within("slow.example", resolver.lookup(), kLong, -1);
    answer.join();
    REQUIRE(found);
    CHECK(format_address(found->front()) == "192.0.2.7:1");
}

TEST_CASE("a numeric address takes no thread to look up") {
    for (const char* const host : {"192.0.2.1", "::1", "fe80::1%lo"}) {
        std::thread::id asked;
        const auto found = resolve_within(
            host,
            [&]() -> Result<SocketAddresses> {
                asked = std::this_thread::get_id();
                return SocketAddresses(1);
            },
            kLong, -1);
        REQUIRE(found);
        CHECK(asked == std::this_thread::get_id());
    }
}
