// A receiver that works for its peer and against its owner: what its sandbox keeps it from, and
// that it would do it without.
#include "receiver/landlock.hpp"
#include "tests/e2e/checks.hpp"
#include "tests/support/inject.hpp"
#include "tests/support/programs.hpp"
#include "tests/support/unprivileged.hpp"

#include <catch2/catch.hpp>
#include <pwd.h>
#include <string>
#include <vector>

using namespace sluice;
using namespace sluice::test;

namespace {

bool can_plant() {
    if (!can_inject()) {
        return false;
    }
    if (landlock_version() < kMinLandlockVersion) {
        skip("this kernel's Landlock is missing or too old");
        return false;
    }
    return true;
}

// A receiver of outer/inbox with something planted in it.
struct Planted {
    TempDir outer;
    TempDir source;

    Planted() {
        outer.make_dir("inbox/tree");
        outer.write_file("outside/file", "somebody's");
        outer.symlink("../../outside", "inbox/tree/link");
        source.write_file("tree/well", "behaved");
        source.write_file("tree/link/small", "pushed");
        source.write_file("tree/link/large", std::string(100'000, 'L'));
    }
    [[nodiscard]] std::string inbox() const { return outer.path("inbox"); }

    // What the sender has to say.
    [[nodiscard]] Finished push(const std::string& what, const std::string& sandbox,
                                std::string* receiver_said = nullptr) const {
        ReceiverProcess receiver(ReceiverProcess::Command{
            {"env", "LD_PRELOAD=" + program_path("fault/libsluice_planted.so"),
             "SLUICE_PLANTED=" + what, "SLUICE_PLANTED_FILE=" + outer.path("outside/file"),
             kRecvProgram, "--port", "0", "--sandbox", sandbox, inbox()}});
        Finished sent = send(receiver, {"--retry-for", "0", source.path("tree")});
        if (what == "RUN" && sandbox == "off") { // another program by now, which is to have its say
            CHECK(receiver.process().ends_within(std::chrono::seconds(30)));
        }
        receiver.stop();
        if (receiver_said != nullptr) {
            *receiver_said = receiver.process().err() + receiver.process().out();
        }
        return sent;
    }
};

// A key of root's, and a directory for nobody to receive into, named inbox. The key's file.
std::string key_beside_inbox(const TempDir& outer) {
    outer.set_mode("", 0755);
    outer.make_dir("inbox");
    REQUIRE(::chown(outer.path("inbox").c_str(), kNobody, kNobody) == 0);
    std::string key = outer.path("key");
    REQUIRE(run({kRecvProgram, "--generate-key", key}).code == 0);
    return key;
}

} // namespace

TEST_CASE("a receiver that forgets to stay beneath its directory is kept in it by the sandbox") {
    if (!can_plant()) {
        return;
    }
    const Planted planted;
    const Finished sent = planted.push("FOLLOW", "require");
    INFO(sent.err);
    CHECK(sent.code == 23); // what lies beyond the link
    CHECK(planted.outer.list("outside") == std::vector<std::string>{"file"});
    CHECK(planted.outer.read_file("outside/file") == "somebody's");
    CHECK(planted.outer.read_file("inbox/tree/well") == "behaved");
}

TEST_CASE("a receiver that forgets to stay beneath its directory escapes without the sandbox") {
    if (!can_plant()) {
        return;
    }
    const Planted planted;
    const Finished sent = planted.push("FOLLOW", "off");
    INFO(sent.err);
    CHECK(planted.outer.read_file("outside/small") == "pushed");
    CHECK(planted.outer.read_file("outside/large") == std::string(100'000, 'L'));
}

TEST_CASE("planted code in a receiver can read, write, connect and execute nothing") {
    if (!can_plant()) {
        return;
    }
    const Planted planted;
    std::string said;
    const Finished sent = planted.push("RUN", "auto", &said);
    INFO(sent.err << said);
    CHECK(contains(said, "planted: read EACCES, write EACCES, socket EPERM\n"));
    CHECK(contains(said, "planted: execute EPERM\n"));
    CHECK(sent.code == 23); // what the link is in the way of; the rest went on as ever
    CHECK(planted.outer.read_file("inbox/tree/well") == "behaved");
}

TEST_CASE("planted code in a receiver without a sandbox can do all of it") {
    if (!can_plant()) {
        return;
    }
    const Planted planted;
    std::string said;
    const Finished sent = planted.push("RUN", "off", &said);
    INFO(sent.err << said);
    CHECK(contains(said, "planted: read done, write done, socket done\n"));
    CHECK(contains(said, "planted: executed\n"));
}

TEST_CASE("a receiver says with -v what its sandbox is made of") {
    const TempDir directory;
    const std::string mode = GENERATE("auto", "off");
    ReceiverProcess receiver(directory.path(), {"-v", "--sandbox", mode});
    CHECK(receiver.stop() == 0);
    INFO(receiver.process().err());
    CHECK(contains(receiver.process().err(), "sandbox: ") == (mode == "auto"));
    CHECK((landlock_version() < kMinLandlockVersion || mode == "off" ||
           contains(receiver.process().err(), "Landlock")));
}

TEST_CASE("what --sandbox and --user cannot make sense of is a usage error") {
    const TempDir directory;
    check_exit(run({kRecvProgram, "-p", "0", "--sandbox", "on", directory.path()}), 1, "'on'");
    check_exit(run({kRecvProgram, "-p", "0", "--user", "", directory.path()}), 1, "--user");
    check_exit(run({kRecvProgram, "-p", "0", "--user", "no\nbody", directory.path()}), 1,
               "'no\\nbody'");
}

TEST_CASE("only root can start a receiver for another user") {
    std::vector<std::string> command{kRecvProgram, "-p", "0", "--user", "root", "/"};
    if (::geteuid() == 0) {
        const std::vector<std::string> as_nobody{"setpriv", "--reuid=65534", "--regid=65534",
                                                 "--clear-groups"};
        std::vector<std::string> probe = as_nobody;
        probe.insert(probe.end(), {kRecvProgram, "--version"});
        if (run(probe).code != 0) {
            skip("cannot run the receiver as nobody");
            return;
        }
        command.insert(command.begin(), as_nobody.begin(), as_nobody.end());
    }
    check_exit(run(command), 1, "only root can become 'root'");
}

TEST_CASE("option --user stores as that user, with its rights and no others") {
    if (::geteuid() != 0) {
        skip("needs root");
        return;
    }
    const TempDir outer;
    const TempDir source;
    outer.set_mode("", 0755);
    outer.make_dir("inbox/roots");
    outer.set_mode("inbox/roots", 0755);
    REQUIRE(::chown(outer.path("inbox").c_str(), kNobody, kNobody) == 0);
    source.write_file("tree/small", "pushed");
    source.write_file("tree/large", std::string(100'000, 'L'));
    ReceiverProcess receiver(outer.path("inbox"), {"--user", "nobody"});
    CHECK_FALSE(contains(receiver.process().err(), "running as root"));
    const Finished sent = send(receiver, {source.path("tree")});
    INFO(sent.err);
    CHECK(sent.code == 0);
    CHECK(outer.status("inbox/tree/small").st_uid == kNobody);
    CHECK(outer.status("inbox/tree/large").st_gid == ::getpwnam("nobody")->pw_gid);
    CHECK(send(receiver, {source.path("tree")}, "roots/").code != 0);
    CHECK(outer.list("inbox/roots").empty());
    CHECK(receiver.stop() == 0);
}

TEST_CASE("a key file in the place of another is read again inside the sandbox") {
    const TempDir outer;
    outer.make_dir("inbox");
    outer.make_dir("keys");
    const auto make_key = [&](const char* name) {
        REQUIRE(run({kRecvProgram, "--generate-key", outer.path(name)}).code == 0);
    };
    make_key("keys/key");
    ReceiverProcess receiver(outer.path("inbox"), {"--key-file", outer.path("keys/key")});
    make_key("keys/new");
    outer.rename("keys/new", "keys/key");
    receiver.process().signal(SIGHUP);
    eventually("the keys are read again",
               [&] { return contains(receiver.process().err(), "1 key(s) read again from "); });
    CHECK(receiver.stop() == 0);
}

TEST_CASE("a key file that a sender could replace is refused") {
    const TempDir outer;
    outer.make_dir("inbox/sub");
    const std::string key = outer.path("inbox/sub/key");
    REQUIRE(run({kRecvProgram, "--generate-key", key}).code == 0);
    outer.symlink("inbox/sub/key", "link");
    const std::string sandbox = GENERATE("auto", "off");
    outer.write_file("keys/key", outer.read_file("inbox/sub/key"), 0600);
    outer.symlink("../keys/key", "inbox/key");
    outer.symlink("../keys", "inbox/keys");
    outer.symlink("inbox/key", "through");
    for (const std::string& file :
         {key, outer.path("link"), outer.path("inbox/key"), outer.path("inbox/keys/key"),
          outer.path("through"), outer.path("inbox/sub/../../keys/key")}) {
        INFO(file);
        check_exit(run({kRecvProgram, "--port", "0", "--sandbox", sandbox, "--key-file", file,
                        outer.path("inbox")}),
                   5, "move it elsewhere");
    }
}

TEST_CASE("a key file that no sender could replace is taken, whatever its path passes") {
    const TempDir outer;
    outer.make_dir("inbox");
    outer.make_dir("inbox.keys");
    REQUIRE(run({kRecvProgram, "--generate-key", outer.path("inbox.keys/key")}).code == 0);
    outer.symlink("inbox", "way");
    for (const char* const file :
         {"inbox.keys/key", "inbox/../inbox.keys/key", "way/../inbox.keys/./key"}) {
        ReceiverProcess receiver(outer.path("inbox"), {"--key-file", outer.path(file)});
        CHECK(receiver.stop() == 0);
    }
}

TEST_CASE("keys that a user cannot read again are complained of at the start") {
    if (::geteuid() != 0) {
        skip("needs root");
        return;
    }
    const TempDir outer;
    const std::string key = key_beside_inbox(outer);
    const std::string complaint = "revoking one takes a restart: cannot open the key file " + key;
    {
        ReceiverProcess receiver(outer.path("inbox"), {"--user", "nobody", "--key-file", key});
        CHECK(contains(receiver.process().err(), complaint));
        CHECK(receiver.stop() == 0);
    }
    {
        ReceiverProcess receiver(outer.path("inbox"), {"--key-file", key});
        CHECK_FALSE(contains(receiver.process().err(), "takes a restart"));
        CHECK(receiver.stop() == 0);
    }
    if (landlock_version() >= kMinLandlockVersion) {
        check_exit(run({kRecvProgram, "--port", "0", "--user", "nobody", "--sandbox", "require",
                        "--key-file", key, outer.path("inbox")}),
                   5, complaint);
    }
}

TEST_CASE("keys that root lends a user's group are read again as that user") {
    if (::geteuid() != 0) {
        skip("needs root");
        return;
    }
    const TempDir outer;
    const std::string key = key_beside_inbox(outer);
    REQUIRE(::chown(key.c_str(), 0, kNobody) == 0);
    outer.set_mode("key", 0640);
    ReceiverProcess receiver(outer.path("inbox"), {"--user", "nobody", "--key-file", key});
    CHECK_FALSE(contains(receiver.process().err(), "takes a restart"));
    receiver.process().signal(SIGHUP);
    eventually("the keys are read again",
               [&] { return contains(receiver.process().err(), "1 key(s) read again from "); });
    CHECK(receiver.stop() == 0);
    // Who stays root, or becomes another, finds the file open to a group that has no business
    // there.
    check_exit(run({kRecvProgram, "--port", "0", "--key-file", key, outer.path("inbox")}), 1,
               "others can read the key file");
}

TEST_CASE("a receiver that stays root says so") {
    if (::geteuid() != 0) {
        skip("needs root");
        return;
    }
    const TempDir directory;
    const bool asked = GENERATE(false, true);
    ReceiverProcess receiver(directory.path(), asked ? std::vector<std::string>{"--user", "root"}
                                                     : std::vector<std::string>{});
    CHECK(contains(receiver.process().err(), "running as root") != asked);
    CHECK(receiver.stop() == 0);
}
