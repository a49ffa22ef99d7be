// One program is killed at the n-th of its system calls, for many n; then the push is run again.
// At no point is there a part under a final name, and the second run completes the first: it sends
// nothing again that the killed one had left whole.
//
// SLUICE_KILL_POINTS=N (or "all") is how many points to try for each program and scenario;
// SLUICE_KILL_ONLY=TEXT tries those whose name contains TEXT, as the report prints them.
#include "tests/e2e/fault_session.hpp"

#include <catch2/catch.hpp>
#include <numeric>
#include <random>

using namespace sluice;
using namespace sluice::test;

namespace {

constexpr std::size_t kPointsByDefault = 10;

enum class Victim { sender, receiver };

struct KillPoint {
    Victim victim;
    bool update; // there is an older version at the destination
    std::uint64_t call;
};

std::string name(const KillPoint& point) {
    return fmt::format("{} {} SLUICE_INJECT=any:{}:KILL", point.update ? "update" : "fresh",
                       point.victim == Victim::sender ? "sender" : "receiver", point.call);
}

class Sweep {
public:
    Sweep() {
        write_mixed_tree(sources_, "A/tree", 'A');
        write_mixed_tree(sources_, "B/tree", 'B');
        write_huge_file(sources_, "B/tree", 'B');
        old_ = describe_tree(sources_, "A/tree");
        new_ = describe_tree(sources_, "B/tree");
    }

    // The points of a program in one scenario: the calls of a run without a fault, and a few more,
    // because the number varies.
    std::vector<KillPoint> points(Victim victim, bool update) {
        FaultyReceiver receiver;
        prepare(receiver, update);
        REQUIRE(receiver.start());
        const Injection counting;
        const Sent sent = push(receiver, counting.environment());
        INFO(sent.err);
        REQUIRE(sent.code == 0);
        static_cast<void>(receiver.leaked(0)); // the session is over then
        const CallCounts counts =
            victim == Victim::sender ? counting.counts() : receiver.injection().counts();
        std::vector<KillPoint> all(counts.at(kAnyCall) + 5);
        for (std::size_t index = 0; index < all.size(); ++index) {
            all[index] = {victim, update, index + 1};
        }
        return all;
    }

    // What is wrong, or nothing.
    std::string judge(const KillPoint& point) {
        const std::string what = fmt::format("any:{}:KILL", point.call);
        const bool in_receiver = point.victim == Victim::receiver;
        FaultyReceiver receiver;
        prepare(receiver, point.update);
        std::string text;
        if (receiver.start(in_receiver ? what : "")) {
            const Injection in_sender(in_receiver ? "" : what);
            const Sent sent = push(receiver, in_sender.environment());
            const bool sender_killed = sent.code == 128 + SIGKILL && !sent.hung && !in_receiver;
            killed_ += sender_killed ? 1 : 0;
            if (!sender_killed) {
                text += judge_end(sent);
            }
            if (sent.code == 0) {
                text += judge_identical(new_, receiver.inbox());
            }
            // An alive receiver still cleans up. What it leaves is looked at when it has.
            text += receiver.leaked(0);
        }
        text += judge_whole(versions(point), receiver.inbox());
        const bool left = left_behind(receiver.inbox(), new_).anything();
        left_ += left ? 1 : 0;
        if (in_receiver) {
            text += restart(receiver);
        } else if (receiver.ended()) {
            return text + "the receiver ended with its sender: " + receiver.process().err();
        }
        return text + judge_second(receiver, left);
    }

    [[nodiscard]] std::size_t killed() const noexcept { return killed_; }
    // Runs that left something for the second.
    [[nodiscard]] std::size_t left() const noexcept { return left_; }

private:
    [[nodiscard]] std::vector<const Tree*> versions(const KillPoint& point) const {
        return {point.update ? &old_ : &new_, &new_};
    }
    static void prepare(FaultyReceiver& receiver, bool update) {
        if (update) {
            write_mixed_tree(receiver.inbox(), "tree", 'A');
        }
    }
    [[nodiscard]] Sent push(const FaultyReceiver& receiver,
                            const std::vector<std::string>& environment) const {
        // The second run is the one that goes on, not the first by itself.
        return send_with_limit(receiver.port(), {"--retry-for", "0", sources_.path("B/tree")},
                               environment);
    }

    std::string restart(FaultyReceiver& receiver) {
        if (receiver.ended()) {
            const int code = receiver.process().wait();
            if (code != 128 + SIGKILL) {
                return fmt::format("the receiver ended with {}: {}\n", code,
                                   receiver.process().err());
            }
            ++killed_;
        } else { // the point is beyond the last call
            receiver.process().signal(SIGKILL);
            receiver.process().wait();
        }
        return receiver.start() ? ""
                                : "the next receiver did not start: " + receiver.process().err();
    }

    std::string judge_second(FaultyReceiver& receiver, bool left) const {
        const Sent sent = push(receiver, {});
        if (sent.code != 0) {
            return fmt::format("the second push {} with {}: {}\n",
                               sent.hung ? "hung, was ended" : "ended", sent.code, sent.err);
        }
        if (left && sent.number("reused_bytes") == 0) {
            return "the second push reused nothing of what the first had left\n";
        }
        return judge_identical(new_, receiver.inbox()) + judge_swept(receiver.inbox());
    }

    const TempDir sources_{TempDir::quick_base()};
    Tree old_;
    Tree new_;
    std::size_t killed_ = 0;
    std::size_t left_ = 0;
};

std::vector<KillPoint> choose(std::vector<KillPoint> points, std::mt19937_64& random) {
    if (const char* const only = std::getenv("SLUICE_KILL_ONLY")) {
        points.erase(
            std::remove_if(points.begin(), points.end(),
                           [&](const KillPoint& point) { return !contains(name(point), only); }),
            points.end());
        return points;
    }
    std::shuffle(points.begin(), points.end(), random);
    points.resize(std::min(points.size(), setting("SLUICE_KILL_POINTS", kPointsByDefault)));
    return points;
}

void sweep(Victim victim) {
    if (!can_inject()) {
        return;
    }
    std::mt19937_64 random(announced_seed());
    Sweep test;
    std::size_t tried = 0;
    std::size_t violations = 0;
    for (const bool update : {false, true}) {
        const std::vector<KillPoint> all = test.points(victim, update);
        CHECK(all.size() >= 200);
        for (const KillPoint& point : choose(all, random)) {
            ++tried;
            const std::string text = test.judge(point);
            if (!text.empty()) {
                ++violations;
                FAIL_CHECK(name(point) << '\n' << text);
            }
        }
    }
    std::cerr << fmt::format("kills: {} points of the {}, {} killed, {} left something to go on "
                             "with, {} violations\n",
                             tried, victim == Victim::sender ? "sender" : "receiver", test.killed(),
                             test.left(), violations);
    CHECK((tried < kPointsByDefault || test.left() > 0));
}

} // namespace

TEST_CASE("a push whose sender is killed at any system call is completed by running it again") {
    sweep(Victim::sender);
}

TEST_CASE("a push whose receiver is killed at any system call is completed by running it again") {
    sweep(Victim::receiver);
}
