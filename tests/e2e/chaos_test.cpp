// Pushes through a proxy that damages connections at random: whatever it does, a push that reports
// success delivered exactly what was sent, and no part is ever under a final name.
//
// SLUICE_CHAOS_RUNS=N is how many pushes; SLUICE_CHAOS_ERRORS=1 prints what those said that failed.
#include "tests/e2e/fault_session.hpp"
#include "tests/support/chaos_proxy.hpp"

#include <catch2/catch.hpp>
#include <random>

using namespace sluice;
using namespace sluice::test;

namespace {

constexpr std::size_t kRunsByDefault = kSanitized ? 10 : 25;

// Seconds of silence that both sides bear. Shorter than elsewhere: a stall costs that.
constexpr const char* kPatience = "1";

std::uint16_t number(const std::string& port) {
    return static_cast<std::uint16_t>(std::stoul(port));
}

// Of one push. Some have a network that is merely bad, some one that hardly works.
Probabilities weather(std::mt19937_64& random) {
    std::uniform_real_distribution<double> unit(0, 1);
    const double strength = unit(random) * 0.7;
    Probabilities probabilities;
    probabilities.delay = strength;
    probabilities.split = strength / 2;
    probabilities.reset = strength;
    probabilities.truncate = strength;
    probabilities.flip = strength;
    probabilities.stall = strength / 8; // each costs the time limit
    probabilities.half_open = strength / 8;
    probabilities.span = std::uint64_t{1} << (6 + random() % 17);
    probabilities.clean_after = 3 + static_cast<unsigned>(random() % 12);
    return probabilities;
}

class Chaos {
public:
    Chaos() {
        write_mixed_tree(sources_, "A/tree", 'A');
        write_mixed_tree(sources_, "B/tree", 'B');
        old_ = describe_tree(sources_, "A/tree");
        new_ = describe_tree(sources_, "B/tree");
    }

    // What is wrong, or nothing.
    std::string judge(std::uint64_t seed) {
        std::mt19937_64 random(seed);
        const bool update = random() % 2 == 0;
        FaultyReceiver receiver({"--timeout", kPatience});
        if (update) {
            write_mixed_tree(receiver.inbox(), "tree", 'A');
        }
        REQUIRE(receiver.start());
        Sent sent;
        {
            const ChaosPlan plan = random_plan(seed, weather(random));
            const ChaosProxy proxy(number(receiver.port()), plan);
            std::vector<std::string> arguments{"--timeout", kPatience, "--retry-for", "4",
                                               sources_.path("B/tree")};
            if (random() % 3 == 0) {
                arguments.emplace_back("-z");
            }
            sent = send_with_limit(proxy.port(), arguments);
            add(proxy.counts());
            plans_.clear();
            for (unsigned index = 0; index < proxy.counts().connections; ++index) {
                plans_ += fmt::format("  connection {}: {}\n", index, describe(plan(index)));
            }
        }
        ++codes_[sent.code];
        if (std::getenv("SLUICE_CHAOS_ERRORS") != nullptr && sent.code != 0) {
            std::cerr << "SLUICE_TEST_SEED=" << seed << " exit " << sent.code << ": " << sent.err
                      << plans_;
        }
        reconnects_ += sent.number("reconnects");
        reconnected_streams_ += sent.number("reconnected_streams");
        std::string text = judge_end(sent);
        text += receiver.leaked(0);
        if (receiver.ended()) {
            return text + fmt::format("the receiver ended with {}: {}\n", receiver.process().wait(),
                                      receiver.process().err());
        }
        text += sent.code == 0 ? judge_identical(new_, receiver.inbox())
                               : judge_whole({update ? &old_ : &new_, &new_}, receiver.inbox());
        const Sent next = send_with_limit(receiver.port(), {sources_.path("B/tree")});
        if (next.code != 0) {
            return text + fmt::format("the push after it ended with {}: {}\n", next.code, next.err);
        }
        return text + judge_identical(new_, receiver.inbox()) + judge_swept(receiver.inbox());
    }

    // What was planned for the connections of the last run.
    [[nodiscard]] const std::string& plans() const noexcept { return plans_; }
    [[nodiscard]] unsigned harm() const noexcept { return harm_; }
    [[nodiscard]] std::size_t successes() const {
        const auto found = codes_.find(0);
        return found == codes_.end() ? 0 : static_cast<std::size_t>(found->second);
    }
    [[nodiscard]] std::string summary() const {
        std::string text =
            fmt::format("{} connections, {} flips, {} resets, {} truncations, "
                        "{} stalls, {} half-opens; {} sessions and {} streams reconnected;",
                        connections_, flips_, resets_, truncations_, stalls_, half_opens_,
                        reconnects_, reconnected_streams_);
        for (const auto& [code, count] : codes_) {
            text += fmt::format(" {}x exit {}", count, code);
        }
        return text;
    }

private:
    void add(const ChaosCounts& counts) {
        harm_ += counts.harm();
        connections_ += counts.connections;
        flips_ += counts.flips;
        resets_ += counts.resets;
        truncations_ += counts.truncations;
        stalls_ += counts.stalls;
        half_opens_ += counts.half_opens;
    }

    const TempDir sources_{TempDir::quick_base()};
    Tree old_;
    Tree new_;
    std::map<int, int> codes_;
    std::string plans_;
    unsigned harm_ = 0;
    unsigned connections_ = 0;
    unsigned flips_ = 0;
    unsigned resets_ = 0;
    unsigned truncations_ = 0;
    unsigned stalls_ = 0;
    unsigned half_opens_ = 0;
    std::uint64_t reconnects_ = 0;
    std::uint64_t reconnected_streams_ = 0;
};

} // namespace

TEST_CASE("a push through a network that damages it is complete or reports that it is not") {
    // SLUICE_TEST_SEED of a failure with SLUICE_CHAOS_RUNS=1 repeats that run alone.
    const std::uint64_t first = announced_seed();
    const std::size_t runs = setting("SLUICE_CHAOS_RUNS", kRunsByDefault);
    Chaos chaos;
    std::size_t violations = 0;
    for (std::size_t index = 0; index < runs; ++index) {
        const std::string text = chaos.judge(first + index);
        if (!text.empty()) {
            ++violations;
            FAIL_CHECK("SLUICE_TEST_SEED=" << first + index << '\n' << text << chaos.plans());
        }
    }
    std::cerr << fmt::format("chaos: {} runs, {} violations; {}\n", runs, violations,
                             chaos.summary());
    CHECK((runs < 10 || chaos.harm() > 0));
    // The others met a network that did not work for longer than they were told to try.
    CHECK((runs < 25 || 2 * chaos.successes() >= runs));
}
