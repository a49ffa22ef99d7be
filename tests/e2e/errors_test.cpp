// What goes wrong between the real programs, what they say about it, and how they end.
#include "common/net.hpp"
#include "tests/e2e/checks.hpp"
#include "tests/support/programs.hpp"
#include "tests/support/raw_peer.hpp"
#include "tests/support/tree.hpp"

#include <catch2/catch.hpp>
#include <string>
#include <vector>

using namespace sluice;
using namespace sluice::test;

namespace {

// A port on which nobody listens: one that has just been closed.
std::string closed_port() {
    const auto listener = listen_tcp("127.0.0.1", 0);
    REQUIRE(listener);
    return std::to_string(local_port(listener->get()));
}

} // namespace

TEST_CASE("a wrong command line of the sender is answered with one line") {
    const std::vector<std::string> arguments =
        GENERATE(values<std::vector<std::string>>({{},
                                                   {"source"},
                                                   {"source", "no-colon"},
                                                   {"source", "host:/absolute"},
                                                   {"source", "host:../up"},
                                                   {"source", "user@host:"},
                                                   {"source", "http://host/"},
                                                   {"--no-such-option", "source", "host:"},
                                                   {"-P", "0", "source", "host:"},
                                                   {"-P", "65", "source", "host:"},
                                                   {"-P", "x", "source", "host:"},
                                                   {"-p", "0", "source", "host:"},
                                                   {"-p", "65536", "source", "host:"},
                                                   {"--compress=99", "source", "host:"},
                                                   {"--send-path", "teleport", "source", "host:"},
                                                   {"--publish", "never", "source", "host:"},
                                                   {"--verify", "maybe", "source", "host:"},
                                                   {"--timeout", "soon", "source", "host:"},
                                                   {"--timeout", "-1", "source", "host:"},
                                                   {"--retry-for", "", "source", "host:"},
                                                   {"-q", "-v", "source", "host:"}}));
    std::vector<std::string> command{kSendProgram};
    command.insert(command.end(), arguments.begin(), arguments.end());
    INFO(Catch::StringMaker<std::vector<std::string>>::convert(arguments));
    check_exit(run(command), 1, "sluice-send: ");
}

TEST_CASE("a wrong command line of the receiver is answered with one line") {
    const std::vector<std::string> arguments =
        GENERATE(values<std::vector<std::string>>({{},
                                                   {"one", "two"},
                                                   {"--no-such-option", "."},
                                                   {"-p", "65536", "."},
                                                   {"-p", "-1", "."},
                                                   {"--max-sessions", "0", "."},
                                                   {"--min-free", "much", "."},
                                                   {"--grace", "soon", "."},
                                                   {"--timeout", "never", "."},
                                                   {"--keep-partial", "1w", "."},
                                                   {"--digests"},
                                                   {"--receive-path", "sendfile", "."},
                                                   {"-q", "-v", "."}}));
    std::vector<std::string> command{kRecvProgram};
    command.insert(command.end(), arguments.begin(), arguments.end());
    INFO(Catch::StringMaker<std::vector<std::string>>::convert(arguments));
    check_exit(run(command), 1, "sluice-recv: ");
}

TEST_CASE("option --help and --version go to standard output") {
    const std::string program = GENERATE(kSendProgram, kRecvProgram);
    for (const char* const option : {"--help", "-h", "--version"}) {
        INFO(program << ' ' << option);
        const Finished finished = run({program, option});
        CHECK(finished.code == 0);
        CHECK_FALSE(finished.out.empty());
        CHECK(finished.err.empty());
    }
}

TEST_CASE("a port on which nobody listens is named") {
    const TempDir source;
    source.write_file("file", "x");
    const std::string port = closed_port();
    check_exit(run({kSendProgram, "-p", port, source.path("file"), "127.0.0.1:"}), 10,
               "127.0.0.1:" + port);
}

TEST_CASE("a host that does not exist is named") {
    const TempDir source;
    source.write_file("file", "x");
    check_exit(run({kSendProgram, source.path("file"), "no-such-host.invalid:"}), 10,
               "no-such-host.invalid");
}

TEST_CASE("a source that is not there is reported, and the others go") {
    const TempDir source;
    const TempDir destination;
    const ReceiverProcess receiver(destination.path());
    source.write_file("here", "x");
    const Finished sent = send(receiver, {source.path("missing\n"), source.path("here")});
    INFO(sent.err);
    CHECK(sent.code == 23);
    CHECK(contains(sent.err, "missing\\n"));
    CHECK(destination.read_file("here") == "x");
}

TEST_CASE("without any source there is no session") {
    const TempDir source;
    const TempDir destination;
    const ReceiverProcess receiver(destination.path());
    const Finished sent = send(receiver, {source.path("missing")});
    INFO(sent.err);
    CHECK(sent.code == 23);
    CHECK(contains(sent.err, source.path("missing")));
    CHECK(destination.list().empty());
}

TEST_CASE("sources that may not be read are reported, and the others go") {
    const TempDir source;
    const TempDir destination;
    const ReceiverProcess receiver(destination.path());
    source.write_file("tree/readable", "x");
    source.write_file("tree/secret", "x", 0);
    source.write_file("tree/locked/inside", "x");
    source.set_mode("tree/locked", 0);
    source.set_mode("", 0755);
    std::vector<std::string> command = send_command(receiver, {source.path("tree")});
    if (::geteuid() == 0) { // who may read everything
        const std::vector<std::string> as_nobody = {"setpriv", "--reuid=65534", "--regid=65534",
                                                    "--clear-groups"};
        std::vector<std::string> probe = as_nobody;
        probe.insert(probe.end(), {kSendProgram, "--version"});
        if (run(probe).code != 0) {
            skip("cannot run the sender as nobody");
            return;
        }
        command.insert(command.begin(), as_nobody.begin(), as_nobody.end());
    }
    const Finished sent = run(command);
    source.set_mode("tree/locked", 0700); // so that it can be removed
    INFO(sent.err);
    CHECK(sent.code == 23);
    CHECK(contains(sent.err, "tree/secret"));
    CHECK(contains(sent.err, "tree/locked"));
    CHECK(contains(sent.err, "2 FAILED"));
    CHECK(destination.read_file("tree/readable") == "x");
    CHECK_FALSE(destination.exists("tree/secret"));
}

TEST_CASE("option --min-free refuses when less would stay free") {
    const TempDir source;
    const TempDir destination;
    source.write_file("file", "x");
    const ReceiverProcess receiver(destination.path(), {"--min-free", "4000000T"});
    check_exit(send(receiver, {source.path("file")}), 11, "--min-free");
    CHECK(destination.list().empty());
}

TEST_CASE("listening on more than loopback takes --insecure") {
    const TempDir destination;
    const std::string address = GENERATE("0.0.0.0", "::");
    check_exit(run({kRecvProgram, "-p", "0", "--listen", address, destination.path()}), 5,
               "--insecure");
    if (address == "0.0.0.0") {
        ReceiverProcess receiver(destination.path(), {"--listen", address, "--insecure"});
        CHECK(receiver.stop() == 0);
    }
}

TEST_CASE("a receiver that cannot start says why") {
    const TempDir destination;
    check_exit(run({kRecvProgram, "-p", "0", destination.path("missing")}), 11, "missing");
    const ReceiverProcess receiver(destination.path());
    check_exit(run({kRecvProgram, "-p", receiver.port(), destination.path()}), 10,
               "127.0.0.1:" + receiver.port());
}

TEST_CASE("a sender of another version is told which one is spoken") {
    const TempDir destination;
    const ReceiverProcess receiver(destination.path());
    auto socket = connect_tcp("127.0.0.1", static_cast<std::uint16_t>(std::stoul(receiver.port())),
                              std::chrono::seconds{10}, -1);
    REQUIRE(socket);
    RawPeer peer(std::move(*socket), proto::Role::control, false);
    const auto preamble = proto::encode_preamble({999, proto::Role::control});
    REQUIRE(peer.send({preamble.begin(), preamble.end()}));
    Frame frame;
    const auto error = peer.receive_message<proto::ErrorMessage>(proto::FrameType::error, frame);
    CHECK(error.code == 2);
    CHECK(contains(std::string(error.text), "version 3"));
}

TEST_CASE("garbage at the port does the receiver no harm") {
    const TempDir source;
    const TempDir destination;
    source.write_file("file", "x");
    ReceiverProcess receiver(destination.path());
    for (const std::string& garbage :
         {std::string("GET / HTTP/1.1\r\n\r\n"), std::string(100'000, '\0'),
          random_bytes(100'000, 1), std::string("sluice"), std::string()}) {
        auto socket =
            connect_tcp("127.0.0.1", static_cast<std::uint16_t>(std::stoul(receiver.port())),
                        std::chrono::seconds{10}, -1);
        REQUIRE(socket);
        RawPeer peer(std::move(*socket), proto::Role::control, false);
        proto::Bytes bytes;
        for (const char c : garbage) {
            bytes.push_back(static_cast<std::byte>(c));
        }
        peer.send(bytes); // it may close in the middle of it
    }
    CHECK(send(receiver, {source.path("file")}).code == 0);
    CHECK(destination.read_file("file") == "x");
    CHECK(receiver.stop() == 0);
}

TEST_CASE("what a sender is told of the work area does not say where the receiver's directory is") {
    const TempDir source;
    const TempDir destination;
    source.write_file("file", "x");
    const ReceiverProcess receiver(destination.path());
    destination.write_file(".sluice", "in the way");
    const Finished sent = send(receiver, {source.path("file")});
    check_exit(sent, 11, ".sluice in the receiver's directory is not a directory: remove it");
    CHECK_FALSE(contains(sent.err, destination.path()));
    CHECK(destination.read_file(".sluice") == "in the way");
}
