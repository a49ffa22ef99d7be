// A receiver that is killed, at whatever moment: the next session makes the destination what it
// has to be, and no partial file is ever seen there.
#include "tests/support/source_tree.hpp"

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <sys/wait.h>
#include <unistd.h>

using namespace sluice;
using namespace sluice::test;

namespace {

// The journal knows files by their inodes, and these are others in a copy.
void correct_journal(const std::string& area) {
    const auto directory =
        UniqueFd::adopt(::open(area.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    auto journal = load_journal(directory.get());
    if (!journal) {
        return;
    }
    for (PartialFile& file : journal->files) {
        for (const char* const below : {"/files/", "/old/", "/tree/"}) {
            struct stat status {};
            const bool possible = file.staged == (std::string_view(below) != "/files/");
            if (possible && ::lstat((area + below + file.stored_path).c_str(), &status) == 0) {
                file.inode = status.st_ino;
            }
        }
    }
    REQUIRE(ResumeJournal::create(directory.get(), journal->header, journal->files));
}

// The directory of another receiver that has in it what `from` has at this moment, as if the first
// had been killed now. Times stay what they are, and nothing is locked.
std::unique_ptr<StoreRoot> kill(const StoreRoot& from) {
    auto root = std::make_unique<StoreRoot>();
    const std::string command =
        "cp -a --sparse=always '" + from.directory.path() + "/.' '" + root->directory.path() + "'";
    REQUIRE(std::system(command.c_str()) == 0);
    if (root->directory.exists(".sluice")) {
        for (const std::string& name : root->directory.list(".sluice")) {
            correct_journal(root->directory.path(".sluice/" + name));
        }
    }
    return root;
}

SourceTree some_source(const std::string& top, std::uint64_t seed) {
    SourceTree source;
    source.hashed = seed % 2 == 0;
    source.large(top + "a/large", 20'000, seed);
    source.large(top + "b/other", 15'000, seed + 1);
    source.file(top + "a/small", "small");
    source.file(top + "c/d/e", "deep");
    source.link(top + "link", "a/small");
    source.dir(top + "a", 0711);
    source.dir(top + "empty", 0700);
    return source;
}

struct Case {
    std::string name;
    SessionRequest request;
    std::string top;
    bool exists; // at the destination, with something old in it
};

Case some_case() {
    const Case cases[] = {
        {"staged", {"", {"tree"}}, "tree/", false},
        {"in place", {"", {"tree"}}, "tree/", true},
        {"a new destination", {"x/new", {}}, "", false},
        {"file by file",
         {"x/new", {"tree"}, proto::kOpenPreserve | proto::kOpenPublishByFile},
         "tree/",
         false},
    };
    return cases[GENERATE(0, 1, 2, 3)];
}

// Every file that is visible is whole: of a source, or what was there before.
std::string partial_files(const StoreRoot& root, const Case& the,
                          const std::vector<SourceTree>& sources) {
    std::string wrong;
    const std::string& below = the.request.destination;
    if (!root.directory.exists(below)) {
        return wrong;
    }
    const Tree tree = describe_tree(root.directory, below);
    for (const auto& [path, found] : tree) {
        if (!S_ISREG(found.status.st_mode) || path.rfind(".sluice", 0) == 0) {
            continue;
        }
        const std::string content =
            root.directory.read_file(below.empty() ? path : below + '/' + path);
        bool whole = content == "old content";
        for (const SourceTree& source : sources) {
            const auto node = source.nodes.find(path);
            whole = whole || (node != source.nodes.end() && node->second.content == content);
        }
        wrong += whole ? "" : path + " is not whole\n";
    }
    return wrong;
}

void prepare(const StoreRoot& root, const Case& the) {
    if (the.exists) {
        root.directory.write_file("tree/a/large", "old content");
        root.directory.write_file("tree/a/small", "old content");
    }
}

} // namespace

TEST_CASE("a receiver killed after any step is gone on with, and the result is right") {
    const Case the = some_case();
    INFO(the.name);
    const std::uint64_t seed = test_seed();
    std::cout << "SLUICE_TEST_SEED=" << seed << '\n';
    std::mt19937_64 random(seed);
    const StoreRoot root;
    prepare(root, the);
    SourceTree source = some_source(the.top, seed);
    int kills = 0;
    std::uint64_t reused = 0;
    const auto check_now = [&] {
        INFO("step " << ++kills);
        const auto killed = kill(root);
        CHECK(partial_files(*killed, the, {source}) == "");
        StoreSession second(*killed, the.request);
        CHECK(source.send(second, the.request.roots));
        CHECK(second.publish().empty());
        CHECK(source.check(killed->directory, the.request.destination, !the.exists) == "");
        CHECK_FALSE(killed->directory.exists(".sluice"));
        reused += second.store().counts().reused_bytes;
        return true;
    };
    StoreSession first(root, the.request);
    CHECK(source.send(first, the.request.roots, &random, check_now));
    CHECK(first.publish().empty());
    CHECK(check_now());
    CHECK(kills > 10);
    CHECK(reused > 0);
}

TEST_CASE("a receiver killed again and again, and a source that changes meanwhile, end well") {
    const Case the = some_case();
    INFO(the.name);
    const std::uint64_t seed = test_seed();
    std::cout << "SLUICE_TEST_SEED=" << seed << '\n';
    std::mt19937_64 random(seed);
    const auto one_in = [&](std::uint64_t count) { return random() % count == 0; };
    const bool staged = !the.exists && the.name != "file by file";
    // Kinds change only where that is no conflict with what has been published already.
    const auto change = [&](SourceTree& source) {
        if (one_in(2)) {
            source.large(the.top + "a/large", 10'000 + random() % 20'000, random());
        }
        if (one_in(3)) {
            source.file(the.top + "a/small", std::to_string(random()));
        }
        if (one_in(4)) {
            source.nodes.erase(the.top + "b/other");
        }
        if (one_in(4) && staged && source.nodes.erase(the.top + "c/d/e") != 0) {
            source.large(the.top + "c/d", 12'000, random());
        }
        if (one_in(4) && staged && source.nodes.count(the.top + "b/other") == 0) {
            source.file(the.top + "b", "was a directory");
        }
    };
    for (int round = 0; round < 8; ++round) {
        auto root = std::make_unique<StoreRoot>();
        prepare(*root, the);
        SourceTree source = some_source(the.top, random());
        std::vector<SourceTree> history;
        for (int generation = 0; generation < 6; ++generation) {
            INFO("round " << round << ", generation " << generation);
            history.push_back(source);
            std::uint64_t steps = 1 + random() % 14;
            std::unique_ptr<StoreRoot> next;
            {
                StoreSession session(*root, the.request);
                source.send(session, the.request.roots, &random, [&] { return --steps != 0; });
                if (one_in(2)) {
                    next = kill(*root);
                } // else it is kept
            }
            root = next ? std::move(next) : std::move(root);
            CHECK(partial_files(*root, the, history) == "");
            change(source);
        }
        StoreSession last(*root, the.request);
        CHECK(source.send(last, the.request.roots, &random));
        CHECK(last.publish().empty());
        CHECK(source.check(root->directory, the.request.destination, staged) == "");
        CHECK_FALSE(root->directory.exists(".sluice"));
    }
}

TEST_CASE("a receiver process killed in the middle of whatever it does is gone on with") {
    const Case the = some_case();
    INFO(the.name);
    const std::uint64_t seed = test_seed();
    std::cout << "SLUICE_TEST_SEED=" << seed << '\n';
    std::mt19937_64 random(seed);
    // From the opening to the end of publishing; returns how long that took, at most `delay`.
    const auto run = [&](const StoreRoot& root, SourceTree& source,
                         std::chrono::microseconds delay) {
        const auto begin = std::chrono::steady_clock::now();
        const pid_t child = ::fork();
        if (child == 0) {
            StoreSession session(root, the.request);
            const bool done = source.send(session, the.request.roots, &random);
            ::_exit(done && session.publish().empty() ? 0 : 1);
        }
        REQUIRE(child > 0);
        int status = 0;
        while (::waitpid(child, &status, WNOHANG) == 0) {
            if (std::chrono::steady_clock::now() - begin >= delay) {
                ::kill(child, SIGKILL);
                REQUIRE(::waitpid(child, &status, 0) == child);
                break;
            }
        }
        CHECK((WIFSIGNALED(status) || WEXITSTATUS(status) == 0));
        static_cast<void>(random()); // the child's was a copy
        return std::chrono::duration_cast<std::chrono::microseconds>(
            std::chrono::steady_clock::now() - begin);
    };
    std::chrono::microseconds whole{};
    for (int round = 0; round < 10; ++round) {
        const StoreRoot root;
        prepare(root, the);
        SourceTree source = some_source(the.top, random());
        std::vector<SourceTree> history;
        if (round == 0) {
            whole = run(root, source, std::chrono::seconds(60));
        }
        for (int generation = 0; generation < 5; ++generation) {
            INFO("round " << round << ", generation " << generation);
            history.push_back(source);
            const auto longest = static_cast<std::uint64_t>(whole.count()) + 1;
            run(root, source, std::chrono::microseconds(random() % longest));
            CHECK(partial_files(root, the, history) == "");
            if (random() % 4 == 0) {
                source.large(the.top + "a/large", 10'000 + random() % 20'000, random());
                source.file(the.top + "a/small", std::to_string(random()));
            }
        }
        // As every receiver does when it starts: a work area may be there with nothing in it.
        REQUIRE(sweep_work_area(root.root, std::chrono::hours(1)));
        StoreSession last(root, the.request);
        CHECK(source.send(last, the.request.roots, &random));
        CHECK(last.publish().empty());
        CHECK(source.check(root.directory, the.request.destination, !the.exists) == "");
        CHECK_FALSE(root.directory.exists(".sluice"));
    }
}
