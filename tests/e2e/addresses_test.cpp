// Pushes over IPv6.
#include "tests/e2e/checks.hpp"
#include "tests/support/programs.hpp"
#include "tests/support/tree.hpp"

#include <arpa/inet.h>
#include <array>
#include <catch2/catch.hpp>
#include <cstring>
#include <ifaddrs.h>
#include <memory>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <optional>
#include <string>
#include <vector>

using namespace sluice::test;

namespace {

constexpr std::size_t kLarge = (std::size_t{3} << 20) + 17;

// An IPv6 address of this machine, with its interface where it is link-local; nothing: there is
// none of that kind.
std::optional<std::string> own_address(bool link_local) {
    ifaddrs* found = nullptr;
    REQUIRE(::getifaddrs(&found) == 0);
    const std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> list(found, &::freeifaddrs);
    for (const ifaddrs* one = list.get(); one != nullptr; one = one->ifa_next) {
        const bool usable = one->ifa_addr != nullptr && one->ifa_addr->sa_family == AF_INET6 &&
                            (one->ifa_flags & IFF_UP) != 0;
        if (!usable) {
            continue;
        }
        sockaddr_in6 address{};
        std::memcpy(&address, one->ifa_addr, sizeof address);
        const bool fits = link_local ? IN6_IS_ADDR_LINKLOCAL(&address.sin6_addr)
                                     : IN6_IS_ADDR_LOOPBACK(&address.sin6_addr);
        std::array<char, NI_MAXHOST> text{};
        if (fits && ::getnameinfo(one->ifa_addr, sizeof address, text.data(), text.size(), nullptr,
                                  0, NI_NUMERICHOST) == 0) {
            return std::string(text.data());
        }
    }
    return std::nullopt;
}

// A large file and a small one to `[address]:` over two data connections.
void push_to(const std::string& address, const std::vector<std::string>& options = {}) {
    const TempDir source;
    const TempDir destination;
    source.write_file("tree/large", random_bytes(kLarge, 1));
    source.write_file("tree/small", "small");
    const ReceiverProcess receiver(destination.path(), {"--listen", address, "--insecure"});
    for (const std::string& host :
         {"[" + address + "]:", "sluice://[" + address + "]:" + receiver.port() + "/again/"}) {
        std::vector<std::string> command{kSendProgram, "-v", "-p", receiver.port()};
        command.insert(command.end(), options.begin(), options.end());
        command.insert(command.end(), {source.path("tree"), host});
        const Finished sent = run(command);
        INFO(sent.err);
        REQUIRE(sent.code == 0);
        CHECK(contains(sent.err, "connected to [" + address + "]:" + receiver.port()));
    }
    for (const std::string top : {"tree/", "again/tree/"}) {
        CHECK(destination.read_file(top + "large") == source.read_file("tree/large"));
        CHECK(destination.read_file(top + "small") == "small");
    }
}

} // namespace

TEST_CASE("a tree is pushed to [::1]") {
    const auto address = own_address(false);
    if (!address) {
        skip("this machine has no ::1");
        return;
    }
    push_to(*address);
}

TEST_CASE("a tree is pushed to a link-local address, data connections included") {
    const auto address = own_address(true);
    if (!address) {
        skip("this machine has no link-local IPv6 address");
        return;
    }
    push_to(*address, {"--insecure"});
}

TEST_CASE("nothing is sent in clear to another address than loopback, unless that is asked for") {
    const auto address = own_address(true);
    if (!address) {
        skip("this machine has no link-local IPv6 address");
        return;
    }
    const TempDir source;
    const TempDir destination;
    source.write_file("file", "x");
    ReceiverProcess receiver(destination.path(), {"--listen", *address, "--insecure", "-v"});
    check_exit(
        run({kSendProgram, "-p", receiver.port(), source.path("file"), "[" + *address + "]:"}), 1,
        "--insecure");
    CHECK(receiver.stop() == 0);
    CHECK_FALSE(contains(receiver.process().err(), "session"));
    CHECK(destination.list().empty());
}
