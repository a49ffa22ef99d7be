// Everything at once: thousands of strangers who are silent or slow, sessions that unpack to
// thousands of times their length, and honest senders in between. scripts/attack measures what
// that costs them.
#include "common/sanitized.hpp"
#include "tests/e2e/checks.hpp"
#include "tests/e2e/events.hpp"
#include "tests/support/memory.hpp"
#include "tests/support/programs.hpp"
#include "tests/support/tree.hpp"

#include <sys/resource.h>

using namespace sluice;
using namespace sluice::test;

namespace {

constexpr int kIdle = 2'000;
constexpr int kTricklers = 500;
const std::string kAttackProgram = program_path("attack/attack");

bool possible() {
    rlimit limit{};
    REQUIRE(::getrlimit(RLIMIT_NOFILE, &limit) == 0);
    constexpr rlim_t kNeeded = kIdle + kTricklers + 200;
    if (limit.rlim_max < kNeeded) {
        skip("this needs " + std::to_string(kNeeded) + " descriptors in one process");
        return false;
    }
    return true;
}

} // namespace

TEST_CASE("2000 silent and 500 slow strangers and a bomb do not hinder a push, and are gone soon") {
    if (!possible()) {
        return;
    }
    const TempDir inbox;
    ReceiverProcess receiver(inbox.path(), {"--handshake-timeout", "2"});
    const std::size_t before = receiver.process().open_descriptors();
    Process attack({kAttackProgram, receiver.port(), "--idle", std::to_string(kIdle), "--trickle",
                    std::to_string(kTricklers), "--bombs", "1", "--seconds", "100"});
    eventually("all attackers are there", [&] { return contains(attack.err(), "attacking"); });

    const TempDir source;
    for (int file = 0; file < 300; ++file) {
        source.write_file("tree/" + std::to_string(file),
                          random_bytes(3'000, static_cast<std::uint64_t>(file)));
    }
    source.write_file("tree/large", random_bytes(std::size_t{24} << 20, 1));
    const Tree tree = describe_tree(source, "tree");
    for (const std::string where : {"first/", "second/"}) {
        const Finished sent = send(receiver, {source.path("tree")}, where);
        INFO(sent.err);
        CHECK(sent.code == 0);
        CHECK(differences(tree, describe_tree(inbox, where + "tree")).empty());
    }

    eventually("all strangers have been sent away",
               [&] { return contains(attack.err(), "all strangers are gone"); });
    // What is left is the bomb's.
    eventually("the receiver has closed their descriptors",
               [&] { return receiver.process().open_descriptors() < before + 20; });
    attack.signal(SIGTERM);
    REQUIRE(attack.wait() == 0);
    const Json counts = Json::parse(attack.out());
    INFO(counts.dump());
    CHECK(counts.at("idle_opened") == kIdle);
    CHECK(counts.at("idle_gone") == kIdle);
    CHECK(counts.at("tricklers_opened") == kTricklers);
    CHECK(counts.at("tricklers_gone") == kTricklers);
    CHECK(counts.at("bomb_sessions_refused") > 0);
    CHECK(counts.at("unpacked_bytes") > 0);
    if (!kSanitized) {
        CHECK(peak_kib(receiver.process()) < kMostResidentKib);
    }

    CHECK(send(receiver, {source.path("tree")}, "third/").code == 0);
    std::vector<std::string> names = inbox.list();
    std::erase(names, ".sluice"); // what broke off is kept for a while
    std::sort(names.begin(), names.end());
    CHECK(names == std::vector<std::string>{"first", "second", "third"});
    CHECK(receiver.stop() == 0);
}
