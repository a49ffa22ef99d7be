// One system call of one program fails, in every way that it may: the push ends, says so or
// succeeds in full, and the receiver goes on.
//
// SLUICE_FAULT_CASES=N (or "all") is how many cases of the matrix to try; SLUICE_FAULT_ONLY=TEXT
// tries those whose name contains TEXT, as the report prints them; SLUICE_FAULT_LIST=1 prints how
// each push ended.
#include "tests/e2e/fault_session.hpp"

#include <catch2/catch.hpp>
#include <random>
#include <set>

using namespace sluice;
using namespace sluice::test;

namespace {

constexpr std::size_t kCasesByDefault = 40;

// What each call is made to do; the actions are those of tests/fault/inject.cpp.
const std::map<std::string, std::vector<std::string>>& actions() {
    static const std::map<std::string, std::vector<std::string>> table{
        {"accept4", {"EMFILE", "ECONNABORTED", "EINTR", "ENOMEM"}},
        {"bind", {"EADDRINUSE", "EACCES"}},
        {"chmod", {"EPERM", "EIO"}},
        {"close", {"EIO", "ENOSPC", "EINTR"}},
        {"closedir", {"EIO"}},
        {"connect", {"ECONNREFUSED", "ETIMEDOUT", "ENETUNREACH", "EINTR"}},
        {"copy_file_range", {"EIO", "ENOSPC", "EXDEV", "SHORT"}},
        {"eventfd", {"EMFILE", "ENOMEM"}},
        {"fallocate", {"ENOSPC", "EOPNOTSUPP", "EINTR"}},
        {"fchmod", {"EPERM", "EIO"}},
        {"fcntl", {"EPERM", "EBUSY"}},
        {"fdatasync", {"EIO", "ENOSPC"}},
        {"fdopendir", {"ENOMEM"}},
        {"flock", {"EAGAIN", "ENOLCK", "EINTR"}},
        {"fstat", {"EIO", "ENOMEM"}},
        {"fstatat", {"EACCES", "ENOENT", "EIO"}},
        {"fstatvfs", {"EIO", "ENOSYS"}},
        {"fsync", {"EIO", "ENOSPC"}},
        {"ftruncate", {"ENOSPC", "EFBIG", "EIO", "EINTR"}},
        {"futimens", {"EPERM", "EIO"}},
        {"getdents64", {"EIO", "ENOENT"}},
        {"getpeername", {"ENOTCONN"}},
        {"getrandom", {"EINTR", "ENOSYS", "SHORT"}},
        {"getsockname", {"ENOBUFS"}},
        {"getsockopt", {"ENOPROTOOPT", "ENOBUFS"}},
        {"linkat", {"EIO", "EMLINK"}},
        {"listen", {"EADDRINUSE"}},
        {"lseek", {"EINVAL", "EIO"}}, // ENXIO would be: nothing but a hole follows
        {"mkdirat", {"ENOSPC", "EACCES", "EMLINK"}},
        {"open", {"EMFILE", "EACCES", "EIO", "EINTR"}},
        {"openat", {"EMFILE", "EACCES", "ENOENT", "EIO", "EINTR"}},
        {"openat2", {"EMFILE", "EACCES", "EIO", "EAGAIN", "EINTR", "ENOSYS"}},
        {"pipe2", {"EMFILE", "ENFILE"}},
        {"poll", {"EINTR", "ENOMEM"}},
        {"posix_fallocate", {"ENOSPC", "EINTR"}},
        {"pread", {"EIO", "EINTR", "SHORT"}},
        {"pthread_create", {"EAGAIN"}},
        {"pwrite", {"ENOSPC", "EDQUOT", "EIO", "EINTR", "SHORT"}},
        {"read", {"EIO", "EINTR", "SHORT"}},
        {"readdir", {"EIO", "ENOENT"}},
        {"readlinkat", {"EIO", "EACCES", "EINVAL"}},
        {"recv", {"ECONNRESET", "ETIMEDOUT", "EAGAIN", "EINTR", "SHORT"}},
        {"renameat", {"EIO", "ENOSPC", "EACCES"}},
        {"renameat2", {"EIO", "ENOSPC", "EINVAL", "EEXIST"}},
        {"send", {"ECONNRESET", "EPIPE", "ENOBUFS", "EAGAIN", "EINTR", "SHORT"}},
        {"sendfile", {"EIO", "EINVAL", "EAGAIN", "EINTR", "ECONNRESET", "EPIPE", "SHORT"}},
        {"sendmsg", {"ECONNRESET", "EAGAIN", "EINTR"}},
        {"setsockopt", {"ENOPROTOOPT", "ENOBUFS"}},
        {"shutdown", {"ENOTCONN"}},
        {"socket", {"EMFILE", "ENOBUFS"}},
        {"splice", {"EIO", "EINVAL", "ENOSPC", "EAGAIN", "EINTR", "ECONNRESET", "SHORT"}},
        {"symlinkat", {"ENOSPC", "EPERM"}},
        {"sync_file_range", {"EIO", "ENOSPC"}},
        {"syncfs", {"EIO", "ENOSPC"}},
        {"unlinkat", {"EIO", "EACCES", "EBUSY"}},
        {"utimensat", {"EPERM", "EIO"}},
        {"write", {"EIO", "ENOSPC", "EINTR", "SHORT"}},
    };
    return table;
}

// What is at the destination.
enum class Before {
    nothing,
    older,  // version
    broken, // session, which left complete files and pieces of a large one
};

struct Scenario {
    std::string name;
    std::vector<std::string> send_options;
    std::vector<std::string> receive_options;
    Before before = Before::nothing;
};

std::vector<Scenario> scenarios() {
    return {
        {"fresh", {}, {}, Before::nothing},
        {"update", {}, {}, Before::older},
        {"copy", {"--send-path", "copy"}, {"--receive-path", "copy"}, Before::nothing},
        {"compressed", {"-z"}, {}, Before::older},
        {"fsync", {"--fsync"}, {"--fsync"}, Before::older},
        {"unverified", {"--verify", "none"}, {}, Before::nothing},
        {"resumed", {}, {}, Before::broken},
    };
}

enum class Place { sender, receiver };

struct Case {
    const Scenario* scenario;
    Place place;
    std::string what; // SLUICE_INJECT
};

std::string name(const Case& one) {
    return fmt::format("{} {} SLUICE_INJECT={}", one.scenario->name,
                       one.place == Place::sender ? "sender" : "receiver", one.what);
}

// Of a run without faults.
struct Normal {
    CallCounts sender;
    CallCounts receiver;
    std::size_t kept_descriptors = 0; // that the receiver opens with its first session, for good
};

class Matrix {
public:
    Matrix() {
        write_mixed_tree(sources_, "A/tree", 'A');
        write_mixed_tree(sources_, "B/tree", 'B');
        write_mixed_tree(sources_, "C/tree", 'C');
        write_huge_file(sources_, "C/tree", 'C');
        old_ = describe_tree(sources_, "A/tree");
        new_ = describe_tree(sources_, "B/tree");
        resumed_ = describe_tree(sources_, "C/tree");
    }

    // All cases of a scenario, and what is normal in it.
    std::vector<Case> cases(const Scenario& scenario) {
        if (scenario.before == Before::broken) {
            break_one(scenario);
        }
        Normal& normal = normal_[scenario.name];
        FaultyReceiver receiver(scenario.receive_options);
        prepare(receiver, scenario);
        REQUIRE(receiver.start());
        const Injection counting;
        const Sent sent = push(receiver, scenario, counting.environment());
        INFO(sent.err);
        REQUIRE(sent.code == 0);
        REQUIRE(judge_identical(wanted(scenario), receiver.inbox()).empty());
        REQUIRE((scenario.before != Before::broken || sent.number("reused_bytes") > 0));
        static_cast<void>(receiver.leaked(0)); // gives it time
        normal.kept_descriptors = receiver.kept();
        normal.sender = counting.counts();
        normal.receiver = receiver.injection().counts();
        std::vector<Case> all;
        for (const Place place : {Place::sender, Place::receiver}) {
            for (const auto& [call, count] :
                 place == Place::sender ? normal.sender : normal.receiver) {
                add(all, scenario, place, call, count);
            }
        }
        return all;
    }

    // What is wrong, or nothing.
    std::string judge(const Case& one) {
        const Scenario& scenario = *one.scenario;
        const bool in_receiver = one.place == Place::receiver;
        FaultyReceiver receiver(scenario.receive_options);
        prepare(receiver, scenario);
        if (!receiver.start(in_receiver ? one.what : "")) {
            ++reached_;
            return judge_no_start(receiver);
        }
        const Injection in_sender(in_receiver ? "" : one.what);
        const auto began = std::chrono::steady_clock::now();
        const Sent sent = push(receiver, scenario, in_sender.environment());
        std::string text = judge_end(sent);
        ++codes_[sent.code];
        if (std::getenv("SLUICE_FAULT_LIST") != nullptr) {
            const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
            std::cerr << fmt::format("{}: exit {} after {:.1f} s\n", name(one), sent.code,
                                     took.count());
        }
        if (sent.code == 2 || sent.code == 12) {
            text += fmt::format("the peer is blamed with {}: {}\n", sent.code, sent.err);
        }
        const bool lasting = contains(one.what, "+:");
        if (!lasting || !in_receiver) { // what fails for good may keep it from cleaning up
            text += receiver.leaked(normal_[scenario.name].kept_descriptors);
        }
        text += judge_alive(receiver);
        const Tree& now = wanted(scenario);
        if (sent.code == 0) {
            // Times of links are kept where that can be done, and no error where it cannot.
            const bool link_times = !contains(one.what, "utimensat");
            text += judge_identical(now, receiver.inbox(), {true, true, link_times});
        } else {
            const bool older = scenario.before == Before::older;
            text += judge_whole({older ? &old_ : &now, &now}, receiver.inbox());
        }
        const auto injected = in_receiver ? receiver.injection().injected() : in_sender.injected();
        reached_ += injected > 0 ? 1 : 0;
        const bool goes_on = in_receiver && (injected == 0 || lasting);
        return text + (goes_on || receiver.ended() ? "" : judge_next(receiver, scenario));
    }

    [[nodiscard]] std::size_t reached() const noexcept { return reached_; }
    [[nodiscard]] const std::map<int, int>& codes() const noexcept { return codes_; }

private:
    static void add(std::vector<Case>& all, const Scenario& scenario, Place place,
                    const std::string& call, std::uint64_t count) {
        const auto found = actions().find(call);
        if (found == actions().end()) {
            return;
        }
        std::set<std::uint64_t> occurrences{1, 2, 3, (count + 1) / 2, count};
        for (const std::string& action : found->second) {
            for (const std::uint64_t number : occurrences) {
                if (number >= 1 && number <= count) {
                    all.push_back(
                        {&scenario, place, fmt::format("{}:{}:{}", call, number, action)});
                }
            }
            if (action != "EINTR" && action != "EAGAIN") { // those would be for ever
                const auto from = (count + 1) / 2;
                all.push_back({&scenario, place, fmt::format("{}:{}+:{}", call, from, action)});
            }
        }
    }

    void prepare(FaultyReceiver& receiver, const Scenario& scenario) const {
        if (scenario.before == Before::older) {
            write_mixed_tree(receiver.inbox(), "tree", 'A');
        }
        if (scenario.before == Before::broken) {
            copy_area(broken_, receiver.inbox());
        }
    }
    // Kills senders, later and later, until one leaves a piece of its large file.
    void break_one(const Scenario& scenario) const {
        for (std::size_t call = 3; !broken_.exists(".sluice"); ++call) {
            REQUIRE(call < 100);
            FaultyReceiver receiver;
            REQUIRE(receiver.start());
            const Injection killing(fmt::format("sendfile:{}:KILL", call));
            static_cast<void>(push(receiver, scenario, killing.environment()));
            REQUIRE(receiver.leaked(0).empty());
            if (const Left left = left_behind(receiver.inbox(), resumed_);
                left.files && left.pieces) {
                copy_area(receiver.inbox(), broken_);
            }
        }
    }
    static void copy_area(const TempDir& from, const TempDir& to) { // with all times
        REQUIRE(run({"cp", "-a", from.path(".sluice"), to.path(".sluice")}).code == 0);
    }
    [[nodiscard]] const Tree& wanted(const Scenario& scenario) const {
        return scenario.before == Before::broken ? resumed_ : new_;
    }
    [[nodiscard]] Sent push(const FaultyReceiver& receiver, const Scenario& scenario,
                            const std::vector<std::string>& environment) const {
        std::vector<std::string> arguments = scenario.send_options;
        arguments.insert(arguments.end(), {"--retry-for", "1"});
        arguments.push_back(sources_.path(scenario.before == Before::broken ? "C/tree" : "B/tree"));
        return send_with_limit(receiver.port(), arguments, environment);
    }

    static std::string judge_no_start(FaultyReceiver& receiver) {
        const int code = receiver.process().wait();
        if (code == 0 || !is_documented(code)) {
            return fmt::format("the receiver ended with {} before it listened: {}\n", code,
                               receiver.process().err());
        }
        return receiver.process().err().empty() ? "the receiver did not start nor say why\n" : "";
    }
    static std::string judge_alive(FaultyReceiver& receiver) {
        if (!receiver.ended()) {
            return {};
        }
        return fmt::format("the receiver ended with {}: {}\n", receiver.process().wait(),
                           receiver.process().err());
    }
    std::string judge_next(FaultyReceiver& receiver, const Scenario& scenario) const {
        const auto injected = receiver.injection().injected();
        const Sent sent = push(receiver, scenario, {});
        if (receiver.injection().injected() != injected) {
            return {}; // it was about this push after all
        }
        if (sent.code != 0) {
            return fmt::format("the push after it {} with {}: {}\n",
                               sent.hung ? "hung, was ended" : "ended", sent.code, sent.err);
        }
        return judge_identical(wanted(scenario), receiver.inbox());
    }

    const TempDir sources_{TempDir::quick_base()};
    const TempDir broken_{TempDir::quick_base()};
    Tree old_;
    Tree new_;
    Tree resumed_;
    std::map<std::string, Normal> normal_;
    std::map<int, int> codes_;
    std::size_t reached_ = 0;
};

std::vector<Case> choose(std::vector<Case> all) {
    if (const char* const only = std::getenv("SLUICE_FAULT_ONLY")) {
        all.erase(std::remove_if(all.begin(), all.end(),
                                 [&](const Case& one) { return !contains(name(one), only); }),
                  all.end());
        return all;
    }
    std::mt19937_64 random(announced_seed());
    std::shuffle(all.begin(), all.end(), random);
    all.resize(std::min(all.size(), setting("SLUICE_FAULT_CASES", kCasesByDefault)));
    return all;
}

} // namespace

TEST_CASE("a push with a failing system call ends well or says why, and the receiver goes on") {
    if (!can_inject()) {
        return;
    }
    const std::vector<Scenario> all_scenarios = scenarios();
    Matrix matrix;
    std::vector<Case> all;
    for (const Scenario& scenario : all_scenarios) {
        const std::vector<Case> more = matrix.cases(scenario);
        all.insert(all.end(), more.begin(), more.end());
    }
    CHECK(all.size() >= 300);
    const std::vector<Case> chosen = choose(all);
    std::size_t violations = 0;
    for (const Case& one : chosen) {
        const std::string text = matrix.judge(one);
        if (!text.empty()) {
            ++violations;
            FAIL_CHECK(name(one) << '\n' << text);
        }
    }
    std::string codes;
    for (const auto& [code, count] : matrix.codes()) {
        codes += fmt::format(" {}x exit {}", count, code);
    }
    std::cerr << fmt::format("faults: {} of {} cases, {} reached, {} violations;{}\n",
                             chosen.size(), all.size(), matrix.reached(), violations, codes);
    CHECK(matrix.reached() > 0);
}
