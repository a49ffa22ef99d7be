// The receiver under a service manager: a socket that it is started with, and its units.
#include "common/net.hpp"
#include "tests/e2e/checks.hpp"
#include "tests/support/programs.hpp"

#include <catch2/catch.hpp>
#include <fcntl.h>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

using namespace sluice;
using namespace sluice::test;

namespace {

// Starts a receiver with `socket` as descriptor 3, as a service manager does.
std::vector<std::string> with_socket(const UniqueFd& socket, std::vector<std::string> arguments,
                                     const std::string& count = "1") {
    REQUIRE(::fcntl(socket.get(), F_SETFD, 0) == 0); // inherited; the test has no other children
    std::vector<std::string> command{"bash", "-c",
                                     "exec 3<&" + std::to_string(socket.get()) +
                                         R"( && export LISTEN_PID=$$ LISTEN_FDS=)" + count +
                                         R"( LISTEN_FDNAMES=x && exec "$@")",
                                     "bash", kRecvProgram};
    command.insert(command.end(), arguments.begin(), arguments.end());
    return command;
}

UniqueFd listener_on(const std::string& address) {
    Result<UniqueFd> listener = listen_tcp(address, 0);
    REQUIRE(listener);
    return std::move(*listener);
}

} // namespace

TEST_CASE("a receiver serves the socket that it is started with") {
    const TempDir source;
    const TempDir destination;
    source.write_file("file", "pushed");
    const UniqueFd socket = listener_on("127.0.0.1");
    const std::string port = std::to_string(local_port(socket.get()));
    ReceiverProcess receiver(ReceiverProcess::Command{with_socket(socket, {destination.path()})});
    CHECK(receiver.port() == port);
    const Finished sent = send(receiver, {source.path("file")});
    INFO(sent.err);
    CHECK(sent.code == 0);
    CHECK(destination.read_file("file") == "pushed");
    CHECK(receiver.stop() == 0);
}

TEST_CASE("a socket on more than loopback that a receiver is started with takes --insecure") {
    const TempDir destination;
    const UniqueFd socket = listener_on("0.0.0.0");
    check_exit(run(with_socket(socket, {destination.path()})), 5, "refusing to listen on 0.0.0.0");
    ReceiverProcess receiver(
        ReceiverProcess::Command{with_socket(socket, {"--insecure", destination.path()})});
    CHECK(receiver.stop() == 0);
}

TEST_CASE("what a receiver is started with in place of a listening socket is refused") {
    const TempDir destination;
    const UniqueFd file = UniqueFd::adopt(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    check_exit(run(with_socket(file, {destination.path()})), 1, "is none");
    const UniqueFd socket = listener_on("127.0.0.1");
    check_exit(run(with_socket(socket, {destination.path()}, "2")), 1, "ListenStream");
    check_exit(run(with_socket(socket, {"--port", "0", destination.path()})), 1,
               "leave out --listen and --port");
}

TEST_CASE("a socket that is meant for another process is left alone") {
    const TempDir destination;
    ReceiverProcess receiver(ReceiverProcess::Command{
        {"env", "LISTEN_PID=1", "LISTEN_FDS=1", kRecvProgram, "--port", "0", destination.path()}});
    CHECK(receiver.stop() == 0);
}

TEST_CASE("systemd takes the receiver's units and rates them as safe") {
    if (run({"systemd-analyze", "--version"}).code != 0) {
        skip("systemd-analyze is not installed");
        return;
    }
    const std::string unit = program_path("../systemd/sluice-recv.service");
    const Finished rated = run(
        {"systemd-analyze", "security", "--no-pager", "--offline=true", "--threshold=20", unit});
    INFO(rated.out << rated.err);
    if (contains(rated.err, "unrecognized option")) {
        skip("this systemd-analyze knows no --offline");
        return;
    }
    CHECK(rated.code == 0); // an exposure above 2.0 gives 1
    CHECK(contains(rated.out, "Overall exposure level for sluice-recv.service: "));
    CHECK(rated.err.empty());
    const Finished slack =
        run({"systemd-analyze", "security", "--no-pager", "--offline=true", "--threshold=0", unit});
    CHECK(slack.code != 0); // so that the above can fail
}

TEST_CASE("the receiver's service leaves it openat2") {
    std::ostringstream unit;
    unit << std::ifstream(program_path("../systemd/sluice-recv.service")).rdbuf();
    const std::string text = unit.str();
    CHECK(contains(text, "\nUser=sluice\n"));
    CHECK_FALSE(contains(text, "\nRestrictSUIDSGID="));
    CHECK_FALSE(contains(text, "\nDynamicUser="));
}
