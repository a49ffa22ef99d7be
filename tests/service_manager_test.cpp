// What a service manager hands over: environment variables, a socket, and where to report.
#include "common/net.hpp"
#include "receiver/service_manager.hpp"
#include "tests/support/temp_dir.hpp"

#include <catch2/catch.hpp>
#include <cstring>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

using namespace sluice;
using namespace sluice::test;

namespace {

constexpr pid_t kSelf = 4242;

UniqueFd make_socket(int domain, int type) {
    UniqueFd fd = UniqueFd::adopt(::socket(domain, type, 0));
    REQUIRE(fd);
    return fd;
}

std::string trouble_with(UniqueFd fd) {
    const Result<UniqueFd> adopted = adopt_listener(fd.release());
    REQUIRE_FALSE(adopted);
    CHECK(adopted.error().kind == ErrorKind::usage);
    return adopted.error().message;
}

sockaddr_un address_of(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    REQUIRE(path.size() < sizeof address.sun_path);
    std::memcpy(address.sun_path, path.data(), path.size());
    return address;
}

} // namespace

TEST_CASE("sockets count only if they are meant for this process") {
    const auto count = [](const char* pid, const char* fds) {
        const Result<int> counted = count_inherited_sockets(pid, fds, kSelf);
        return counted ? std::to_string(*counted) : counted.error().message;
    };
    CHECK(count(nullptr, nullptr) == "0");
    CHECK(count("4242", nullptr) == "0");
    CHECK(count(nullptr, "1") == "0");
    CHECK(count("4241", "1") == "0");
    CHECK(count("4242", "0") == "0");
    CHECK(count("4242", "1") == "1");
    CHECK(count("4242", "2").find("ListenStream") != std::string::npos);
    for (const char* const bad : {"", "-1", "1x", " 1", "99999999999"}) {
        INFO("'" << bad << "'");
        CHECK(count("4242", bad).find("not numbers") != std::string::npos);
        CHECK(count(bad, "1").find("not numbers") != std::string::npos);
    }
}

TEST_CASE("a listening TCP socket is taken over, others are refused with a reason") {
    Result<UniqueFd> listener = listen_tcp("127.0.0.1", 0);
    REQUIRE(listener);
    const int fd = listener->get();
    REQUIRE(::fcntl(fd, F_SETFD, 0) == 0); // as a service manager hands it over
    REQUIRE(::fcntl(fd, F_SETFL, 0) == 0);
    const Result<UniqueFd> adopted = adopt_listener(listener->release());
    REQUIRE(adopted);
    CHECK(adopted->get() == fd);
    CHECK((::fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    CHECK((::fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
    CHECK(local_host(fd) == "127.0.0.1");

    CHECK(
        trouble_with(UniqueFd::adopt(::open("/dev/null", O_RDONLY | O_CLOEXEC))).find("is none") !=
        std::string::npos);
    for (const auto& [domain, type] : {std::pair{AF_INET, SOCK_DGRAM}, {AF_UNIX, SOCK_STREAM}}) {
        CHECK(trouble_with(make_socket(domain, type)).find("not one of TCP") != std::string::npos);
    }
    CHECK(trouble_with(make_socket(AF_INET, SOCK_STREAM)).find("does not listen") !=
          std::string::npos);
}

TEST_CASE("a service manager hears that the receiver is ready") {
    const TempDir directory;
    const std::string path = directory.path("notify");
    const bool abstract = GENERATE(false, true);
    const UniqueFd manager = make_socket(AF_UNIX, SOCK_DGRAM);
    sockaddr_un address = address_of(path);
    if (abstract) {
        address.sun_path[0] = '\0';
    }
    const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size());
    REQUIRE(::bind(manager.get(), reinterpret_cast<const sockaddr*>(&address), length) == 0);
    const std::string name = abstract ? '@' + path.substr(1) : path;
    REQUIRE(::setenv("NOTIFY_SOCKET", name.c_str(), 1) == 0);
    const ServiceNotifier notifier;
    CHECK(std::getenv("NOTIFY_SOCKET") == nullptr);
    notifier.ready();
    char text[64] = {};
    REQUIRE(::recv(manager.get(), text, sizeof text - 1, MSG_DONTWAIT) > 0);
    CHECK(std::string(text) == "READY=1\n");
}

TEST_CASE("without a service manager, or with one that is gone, nothing happens") {
    const std::string where =
        GENERATE(std::string(), "relative", "/", "@", "/nonexistent/notify", std::string(200, '/'));
    REQUIRE(::setenv("NOTIFY_SOCKET", where.c_str(), 1) == 0);
    const ServiceNotifier notifier;
    notifier.ready();
    CHECK(std::getenv("NOTIFY_SOCKET") == nullptr);
}
