// Options about keys and levels, as far as they need no other end.
#include "tests/e2e/checks.hpp"
#include "tests/support/programs.hpp"
#include "tests/support/temp_dir.hpp"

#include <catch2/catch.hpp>
#include <string>
#include <vector>

namespace sluice::test {
namespace {

Finished run_with(const std::vector<std::string>& environment,
                  const std::vector<std::string>& command) {
    Process process(command, environment);
    const int code = process.wait();
    return {code, process.out(), process.err()};
}

std::string make_key(const TempDir& directory, const std::string& name) {
    REQUIRE(run({kRecvProgram, "--generate-key", directory.path(name)}).code == 0);
    return directory.path(name);
}

} // namespace

TEST_CASE("option --generate-key makes a key, and says what to do with it") {
    const TempDir directory;
    const std::string file = directory.path("key");
    const Finished made = run({kRecvProgram, "--generate-key", file});
    INFO(made.err);
    REQUIRE(made.code == 0);
    CHECK(contains(made.out, "SHA256:"));
    CHECK(contains(made.out, "--key-file " + file));
    CHECK_FALSE(contains(made.out, "sluice-key-"));
    CHECK((directory.status("key").st_mode & 07777) == 0600);
    const std::string content = directory.read_file("key");
    check_exit(run({kRecvProgram, "--generate-key", file}), 1, file);
    CHECK(directory.read_file("key") == content);
    check_exit(run({kRecvProgram, "--generate-key", directory.path("no/key")}), 11, "no/key");
    check_exit(run({kRecvProgram, "--generate-key", "-"}), 1, "--generate-key");
    check_exit(run({kRecvProgram, "--generate-key", directory.path("k"), "/"}), 1, "DIRECTORY");
    CHECK_FALSE(directory.exists("k"));
}

TEST_CASE("levels above none need a key") {
    const TempDir directory;
    const std::string level = GENERATE("tls", "signed");
    check_exit(run({kSendProgram, "--security", level, "/", "localhost:"}), 1, "--key-file");
    check_exit(run({kRecvProgram, "--security", level, directory.path()}), 1, "--key-file");
    check_exit(run({kSendProgram, "--security", "most", "/", "localhost:"}), 1, "'most'");
    check_exit(run({kRecvProgram, "--security", "most", directory.path()}), 1, "'most'");
    check_exit(run({kSendProgram, "--security", "none", "--key-file", "x", "/", "localhost:"}), 1,
               "--key-file");
    check_exit(run({kSendProgram, "--key-file", "", "/", "localhost:"}), 1, "--key-file");
    check_exit(run({kRecvProgram, "--key-file", "", directory.path()}), 1, "--key-file");
}

TEST_CASE("a key file that cannot be used ends the program before anything happens") {
    const TempDir directory;
    directory.make_dir("stored");
    const std::string key = make_key(directory, "key");
    const std::vector<std::string> receive{kRecvProgram, "--key-file", key,
                                           directory.path("stored")};
    const std::vector<std::string> send{kSendProgram, "--key-file", key, key, "localhost:"};
    directory.set_mode("key", 0640);
    check_exit(run(receive), 1, "chmod 600 " + key);
    check_exit(run(send), 1, "chmod 600 " + key);
    directory.write_file("key", "alice sluice-key-secret\n", 0600);
    for (const auto& command : {receive, send}) {
        const Finished ended = run(command);
        check_exit(ended, 1, key + ":1: ");
        CHECK_FALSE(contains(ended.err, "secret"));
    }
    directory.remove("key");
    check_exit(run(receive), 11, key);
    check_exit(run(send), 11, key);
}

TEST_CASE("the environment names the key file, and empty means none") {
    const TempDir directory;
    directory.make_dir("stored");
    const std::string missing = directory.path("missing");
    const std::vector<std::string> send{kSendProgram, "-p", "9", "/", "localhost:"};
    check_exit(run_with({"SLUICE_KEY_FILE=" + missing}, send), 11, missing);
    check_exit(run_with({"SLUICE_KEY_FILE=" + missing}, {kRecvProgram, directory.path("stored")}),
               11, missing);
    // The default would be found here: a directory, which is no key.
    directory.make_dir("config/sluice/key");
    const std::string config = "XDG_CONFIG_HOME=" + directory.path("config");
    CHECK(run_with({config, "SLUICE_KEY_FILE="}, send).code == 10);
    check_exit(run_with({config, "SLUICE_KEY_FILE=" + missing}, send), 11, missing);
}

TEST_CASE("option -v says which key file is used") {
    const TempDir directory;
    directory.make_dir("stored");
    const std::string key = make_key(directory, "key");
    ReceiverProcess receiver(directory.path("stored"), {"-v", "--key-file", key});
    CHECK(contains(receiver.process().err(), "1 key(s) from " + key + " (--key-file)"));
    const Finished sent =
        run_with({"SLUICE_KEY_FILE=" + key}, {kSendProgram, "-v", "-p", "9", "/", "localhost:"});
    CHECK(contains(sent.err, "from " + key + " (SLUICE_KEY_FILE)"));
}

TEST_CASE("with a key the receiver listens on any address") {
    const TempDir directory;
    directory.make_dir("stored");
    const std::string key = make_key(directory, "key");
    ReceiverProcess receiver(directory.path("stored"), {"--listen", "0.0.0.0", "--key-file", key});
    CHECK(receiver.stop() == 0);
    check_exit(run({kRecvProgram, "--listen", "0.0.0.0", "-p", "0", "--key-file", key, "--security",
                    "none", directory.path("stored")}),
               5, "--insecure");
}

} // namespace sluice::test
