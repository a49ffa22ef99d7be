// Pushes through networks as scripts/netlab makes them: with loss and delay, and with every segment
// by itself, which loopback never shows.
#include "tests/e2e/checks.hpp"
#include "tests/support/programs.hpp"
#include "tests/support/tree.hpp"

#include <atomic>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>

using namespace sluice::test;

namespace {

const std::string kNetlab = program_path("../../../scripts/netlab");
const std::string kLink = program_path("link/link");

std::vector<std::string> netlab(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"env", "NETLAB_LINK=" + kLink, kNetlab});
    return arguments;
}

// Down again when it goes out of scope.
class Lab {
public:
    explicit Lab(const std::vector<std::string>& options)
        : name_("test-" + std::to_string(::getpid()) + '-' + std::to_string(++made_)) {
        std::vector<std::string> up{"up", name_};
        up.insert(up.end(), options.begin(), options.end());
        const Finished made = run(netlab(up));
        INFO(made.err);
        REQUIRE(made.code == 0);
    }
    ~Lab() { run(netlab({"down", name_})); }
    Lab(const Lab&) = delete;
    Lab& operator=(const Lab&) = delete;

    [[nodiscard]] static bool possible() {
        if (::access(kNetlab.c_str(), X_OK) != 0) {
            skip("the build directory is not in the project: no scripts/netlab");
            return false;
        }
        const Finished checked = run(netlab({"check"}));
        if (checked.code != 0) {
            skip(checked.err);
        }
        return checked.code == 0;
    }

    [[nodiscard]] const std::string& name() const noexcept { return name_; }
    // A command that runs at one side.
    [[nodiscard]] std::vector<std::string> at(const std::string& side,
                                              const std::vector<std::string>& command) const {
        std::vector<std::string> words = netlab({"exec", name_, side, "--"});
        words.insert(words.end(), command.begin(), command.end());
        return words;
    }
    // One object per direction, from near to far first.
    [[nodiscard]] std::vector<nlohmann::json> stats() const {
        const Finished asked = run(netlab({"stats", name_}));
        INFO(asked.err);
        REQUIRE(asked.code == 0);
        std::vector<nlohmann::json> lines;
        std::istringstream text(asked.out);
        for (std::string line; std::getline(text, line);) {
            lines.push_back(nlohmann::json::parse(line));
        }
        REQUIRE(lines.size() == 2);
        return lines;
    }

private:
    static inline std::atomic<int> made_ = 0;
    std::string name_;
};

std::string random_content(std::size_t bytes) {
    std::mt19937 random(static_cast<std::uint32_t>(bytes));
    std::string content(bytes, '\0');
    for (char& c : content) {
        c = static_cast<char>(random());
    }
    return content;
}

// Extents, and small files in batches: about 3.4 MB.
constexpr std::uint64_t kTreeBytes = 3'000'000 + 40 * 10'000;
void make_tree(const TempDir& source) {
    source.write_file("tree/large", random_content(3'000'000));
    for (int file = 0; file < 40; ++file) {
        source.write_file("tree/d" + std::to_string(file % 3) + "/f" + std::to_string(file),
                          random_content(10'000));
    }
    source.symlink("large", "tree/link");
}

// From near to far, over each protocol; returns the summary of the last push.
nlohmann::json push_both(const Lab& lab, const std::string& receive_path = "auto") {
    const TempDir source;
    const TempDir destination;
    make_tree(source);
    ReceiverProcess receiver(ReceiverProcess::Command{
        lab.at("far", {kRecvProgram, "--listen", "::", "--insecure", "--port", "0",
                       "--receive-path", receive_path, destination.path()})});
    nlohmann::json summary;
    for (const std::string host : {"10.77.0.2", "[fd77::2]"}) {
        INFO(host);
        const std::string path = host[0] == '[' ? "v6" : "v4";
        const Finished sent =
            run(lab.at("near", {kSendProgram, "--insecure", "--json", "--port", receiver.port(),
                                source.path("tree"), host + ":" + path + "/"}));
        INFO(sent.err);
        REQUIRE(sent.code == 0);
        CHECK(differences(describe_tree(source, "tree"),
                          describe_tree(destination, path + "/tree")) == "");
        const std::size_t last = sent.out.rfind('\n', sent.out.size() - 2) + 1;
        summary = nlohmann::json::parse(sent.out.substr(last));
    }
    CHECK(receiver.stop() == 0);
    return summary;
}

} // namespace

TEST_CASE("a tree arrives over a slow link that loses packets") {
    if (!Lab::possible()) {
        return;
    }
    const Lab lab({"--emulator", "tun", "--rate", "100M", "--rtt", "10ms", "--loss", "1%"});
    const nlohmann::json summary = push_both(lab);
    CHECK(summary.at("verified") == true);
    const std::vector<nlohmann::json> stats = lab.stats();
    INFO(stats[0] << stats[1]);
    CHECK(stats[0].at("from") == "near");
    CHECK(stats[1].at("from") == "far");
    CHECK(stats[0].at("bytes") > 2 * kTreeBytes);
    CHECK(stats[1].at("bytes") > 0);
    // Of some 4,800 packets 1 % are lost: none at all would be a chance of 10^-21.
    CHECK(stats[0].at("packets") > 2 * kTreeBytes / 1448);
    CHECK(stats[0].at("lost") > 0);
    for (const nlohmann::json& direction : stats) {
        CHECK(direction.at("dropped") == direction.at("lost").get<std::uint64_t>() +
                                             direction.at("overflowed").get<std::uint64_t>());
    }
}

TEST_CASE("a round trip over an emulated link takes its time") {
    if (!Lab::possible()) {
        return;
    }
    const Lab lab({"--emulator", "tun", "--rtt", "300ms"});
    const auto began = std::chrono::steady_clock::now();
    // Nobody listens: the refusal comes back after one round trip.
    const Finished sent = run(lab.at(
        "near", {kSendProgram, "--retry-for", "0", "--port", "9", kSendProgram, "10.77.0.2:"}));
    CHECK(std::chrono::steady_clock::now() - began >= std::chrono::milliseconds{300});
    CHECK(sent.code == 10);
    CHECK(contains(sent.err, "refused"));
    CHECK(lab.stats()[0].at("packets") == 1);
    CHECK(lab.stats()[1].at("packets") == 1);
}

// A pipe slot then holds one segment of 1448 bytes, and a pipe a third of what loopback puts in.
TEST_CASE("a tree arrives in segments of the size of an Ethernet frame") {
    if (!Lab::possible()) {
        return;
    }
    const Lab lab({"--mtu", "1500", "--gro", "off"});
    const char* const path = GENERATE("splice", "copy");
    INFO(path);
    const nlohmann::json summary = push_both(lab, path);
    const bool splice = std::string(path) == "splice";
    CHECK(summary.at("receiver").at("bytes").at(splice ? "splice" : "copied") == 3'000'000);
    const std::vector<nlohmann::json> stats = lab.stats();
    INFO(stats[0] << stats[1]);
    CHECK(stats[0].at("dropped") == 0);
    CHECK(stats[0].at("packets") > 2 * kTreeBytes / 1448);
    CHECK(stats[0].at("bytes") <= 1514 * stats[0].at("packets").get<std::uint64_t>());
}

TEST_CASE("a lab's name is taken until it is down, and free afterwards") {
    if (!Lab::possible()) {
        return;
    }
    const Lab lab({});
    check_exit(run(netlab({"up", lab.name()})), 1, "already");
    CHECK(contains(run(netlab({"list"})).out, lab.name() + " up"));
    Process sleeper(lab.at("far", {"sleep", "1000"}));
    eventually("it is in the namespace", [&] {
        return run({"ip", "netns", "pids", "netlab-" + lab.name() + "-far"}).out ==
               std::to_string(sleeper.pid()) + '\n';
    });
    CHECK(run(netlab({"down", lab.name()})).code == 0);
    CHECK(sleeper.wait() == 128 + SIGTERM);
    CHECK(run(netlab({"down", lab.name()})).code == 0);
    CHECK_FALSE(contains(run(netlab({"list"})).out, lab.name()));
    check_exit(run(netlab({"exec", lab.name(), "near", "true"})), 1, "no lab");
    CHECK(run(netlab({"up", lab.name()})).code == 0);
}

TEST_CASE("a lab for one command ends with it, and with a killed script at the next occasion") {
    if (!Lab::possible()) {
        return;
    }
    const std::vector<std::string> options{"run", "--emulator", "tun", "--rtt",
                                           "1ms", "--",         "sh",  "-c"};
    const auto command = [&](const std::string& script) {
        std::vector<std::string> words = options;
        words.push_back(script);
        return netlab(words);
    };
    const Finished finished = run(command("echo $NETLAB_NAME; exit 7"));
    INFO(finished.err);
    CHECK(finished.code == 7);
    const auto gone = [](const std::string& name) {
        return !contains(run(netlab({"list"})).out, name) &&
               !contains(run({"ip", "netns", "list"}).out, "netlab-" + name + '-');
    };
    const std::string first = finished.out.substr(0, finished.out.size() - 1);
    CHECK(gone(first));
    for (const int number : {SIGTERM, SIGKILL}) {
        INFO(number);
        Process running(command("echo $NETLAB_NAME; exec sleep 60"));
        eventually("the lab is up", [&] { return contains(running.out(), "\n"); });
        const std::string name = running.out().substr(0, running.out().size() - 1);
        CHECK(contains(run(netlab({"list"})).out, name + " up"));
        running.signal(number);
        CHECK(running.wait() == 128 + number);
        if (number == SIGKILL) {
            CHECK(contains(run(netlab({"list"})).out, name + " abandoned"));
            CHECK(run(command("true")).code == 0); // ends `sleep` as well
        }
        CHECK(gone(name));
    }
}

TEST_CASE("the network lab names what it cannot understand") {
    if (!Lab::possible()) {
        return;
    }
    struct Wrong {
        std::vector<std::string> arguments;
        std::string word;
    };
    const std::vector<Wrong> all{
        {{"up", "../x"}, "../x"},
        {{"up", "x", "--rate", "fast"}, "--rate fast"},
        {{"up", "x", "--rtt", "80"}, "--rtt 80"},
        {{"up", "x", "--loss", "101%"}, "--loss 101%"},
        {{"up", "x", "--mtu", "500"}, "--mtu 500"},
        {{"up", "x", "--queue", "1M"}, "--queue 1M"},
        {{"up", "x", "--rate", "1M", "--queue", "100"}, "--queue 100"},
        {{"up", "x", "--emulator", "tun", "--gro", "on"}, "--gro on"},
        {{"up", "x", "--congestion", "nonsense"}, "--congestion nonsense"},
        {{"up", "x", "--rate"}, "--rate"},
        {{"up", "x", "--fast"}, "--fast"},
        {{"exec", "x", "middle", "true"}, "no lab 'x'"},
        {{"run", "--rate", "1M"}, "COMMAND"},
        {{"destroy"}, "destroy"},
    };
    for (const Wrong& wrong : all) {
        check_exit(run(netlab(wrong.arguments)), 1, wrong.word);
    }
    CHECK_FALSE(contains(run(netlab({"list"})).out, "x "));
}
