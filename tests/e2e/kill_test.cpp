// Either program is killed at random moments of a push. Whatever happens, a name at the destination
// holds the old content, the new content, or nothing: never a part.
#include "common/sanitized.hpp"
#include "tests/support/programs.hpp"
#include "tests/support/scratch_file.hpp"

#include <algorithm>
#include <iostream>
#include <map>
#include <memory>
#include <numeric>
#include <random>
#include <utility>

using namespace sluice;
using namespace sluice::test;

namespace {

constexpr int kMoments = kSanitized ? 6 : 50;
constexpr int kSmallFiles = 300;
constexpr std::size_t kLargeBytes = std::size_t{20} << 20;

using Tree = std::map<std::string, std::string>; // name below the tree to content, or link target

// All names with their content; `letter` tells the versions apart.
Tree version(char letter) {
    Tree tree;
    for (int file = 0; file < kSmallFiles; ++file) {
        std::string name = "d";
        name.append(std::to_string(file % 7)).append("/e").append(std::to_string(file % 3));
        const auto size = static_cast<std::size_t>(file * 113 + (letter - 'A'));
        tree[name.append("/f").append(std::to_string(file))] = std::string(size, letter);
    }
    for (const char* const name : {"large", "d0/large"}) {
        tree[name] = std::string(kLargeBytes + static_cast<std::size_t>(letter), letter);
    }
    for (int link = 0; link < 10; ++link) {
        tree["links/" + std::to_string(link)] = std::string("target-") + letter;
    }
    return tree;
}

bool is_link(const std::string& name) {
    return name.starts_with("links/");
}

void write_tree(const TempDir& directory, const std::string& below, const Tree& tree) {
    for (const auto& [name, content] : tree) {
        if (is_link(name)) {
            directory.symlink(content, below + '/' + name);
        } else {
            directory.write_file(below + '/' + name, content);
        }
    }
}

enum class Victim { sender, receiver };

// What becomes of what a broken session leaves: nothing, or the next session goes on with it.
enum class Leftovers { removed, kept };

class Killing {
public:
    explicit Killing(Leftovers leftovers) : leftovers_(leftovers) {
        write_tree(sources_, "A/tree", a_);
        write_tree(sources_, "B/tree", b_);
        const std::uint64_t seed = test_seed();
        std::cerr << "SLUICE_TEST_SEED=" << seed << '\n';
        random_.seed(seed);
        std::iota(parts_.begin(), parts_.end(), 0);
        std::shuffle(parts_.begin(), parts_.end(), random_);
        start_receiver();
        measure();
    }

    // Pushes version `letter` and kills one program; both are over then. The moments are random,
    // but there is one in each of kMoments parts of a push: some always meet it.
    void kill_one(char letter, Victim victim) {
        std::uniform_real_distribution<> part(parts_.back(), parts_.back() + 1);
        parts_.pop_back();
        const std::chrono::duration<double, std::milli> moment =
            duration_ * (part(random_) / kMoments);
        Process sender(command(letter));
        if (!sender.ends_within(std::chrono::duration_cast<std::chrono::milliseconds>(moment))) {
            (victim == Victim::sender ? sender : receiver_->process()).signal(SIGKILL);
            ++killed_;
        }
        sender.wait();
        if (victim == Victim::receiver) {
            receiver_->process().signal(SIGKILL);
            receiver_->process().wait();
        }
    }

    // Undisturbed, and then nothing is left of earlier ones.
    void push(char letter) {
        const Finished sent = run(command(letter));
        INFO(sent.err);
        REQUIRE(sent.code == 0);
        eventually("nothing is left", [&] { return !inbox_.exists(".sluice"); });
    }

    void start_receiver() {
        const std::vector<std::string> options{"--keep-partial", "0"};
        receiver_ = std::make_unique<ReceiverProcess>(
            inbox_.path(), leftovers_ == Leftovers::removed ? options : std::vector<std::string>{});
    }

    // Nothing but the tree, once whoever is responsible has swept; or what one session left.
    void check_swept(Victim victim) {
        if (leftovers_ == Leftovers::kept) {
            if (victim == Victim::receiver) {
                start_receiver();
            }
            CHECK((!inbox_.exists(".sluice") || inbox_.list(".sluice").size() == 1));
            return;
        }
        if (victim == Victim::receiver) {
            start_receiver();
            CHECK_FALSE(inbox_.exists(".sluice")); // gone before it listens
        } else {
            eventually("the receiver has swept", [&] { return !inbox_.exists(".sluice"); });
        }
    }

    // Reads what is at the destination: every name holds one version, whole.
    void check_whole() {
        const std::string root = inbox_.path();
        found_a_ = found_b_ = 0;
        namespace fs = std::filesystem;
        for (fs::recursive_directory_iterator at(root), end; at != end; ++at) {
            const std::string name = at->path().lexically_relative(root).string();
            if (name == ".sluice") {
                at.disable_recursion_pending();
            } else if (!at->is_directory() || at->is_symlink()) {
                check_name(name);
            }
        }
    }
    [[nodiscard]] std::size_t found() const noexcept { return found_a_ + found_b_; }
    [[nodiscard]] std::size_t found(char letter) const noexcept {
        return letter == 'A' ? found_a_ : found_b_;
    }
    [[nodiscard]] std::size_t names() const noexcept { return a_.size(); }
    [[nodiscard]] int killed() const noexcept { return killed_; }
    [[nodiscard]] TempDir& inbox() noexcept { return inbox_; }

private:
    [[nodiscard]] std::vector<std::string> command(char letter) const {
        return send_command(*receiver_, {"--quiet", "--retry-for", "0",
                                         sources_.path(std::string(1, letter) + "/tree")});
    }

    void measure() {
        const auto began = std::chrono::steady_clock::now();
        push('A');
        push('B');
        const auto both = std::chrono::steady_clock::now() - began;
        duration_ = std::chrono::duration_cast<std::chrono::milliseconds>(both) / 2;
    }

    void check_name(const std::string& name) {
        INFO(name);
        REQUIRE(name.starts_with("tree/"));
        const std::string inside = name.substr(5);
        REQUIRE(a_.count(inside) == 1);
        const auto [is_a, is_b] = compare(name, inside);
        INFO(inbox_.status(name).st_size << " bytes");
        CHECK((is_a || is_b));
        ++(is_a ? found_a_ : found_b_);
    }

    // Whether it holds the one or the other version. What is there is looked at once: a receiver
    // whose sender was killed may still be replacing it.
    [[nodiscard]] std::pair<bool, bool> compare(const std::string& name,
                                                const std::string& inside) {
        if (is_link(inside)) {
            const std::string target = inbox_.read_link(name);
            return {target == a_.at(inside), target == b_.at(inside)};
        }
        const auto file =
            UniqueFd::adopt(::open(inbox_.path(name).c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
        return {holds(file.get(), a_.at(inside)), holds(file.get(), b_.at(inside))};
    }

    // Piece by piece: reading all of a large file into memory takes longer than to push it.
    [[nodiscard]] bool holds(int file, const std::string& content) {
        std::string_view rest = content;
        for (;;) {
            const auto at = static_cast<off_t>(content.size() - rest.size());
            const ssize_t got = ::pread(file, piece_.data(), piece_.size(), at);
            if (got <= 0) {
                return got == 0 && rest.empty();
            }
            const std::string_view read(piece_.data(), static_cast<std::size_t>(got));
            if (!rest.starts_with(read)) {
                return false;
            }
            rest.remove_prefix(read.size());
        }
    }

    const Leftovers leftovers_;
    std::vector<char> piece_ = std::vector<char>(std::size_t{256} << 10);
    const Tree a_ = version('A');
    const Tree b_ = version('B');
    const TempDir sources_{TempDir::quick_base()};
    TempDir inbox_{TempDir::quick_base()};
    std::unique_ptr<ReceiverProcess> receiver_;
    std::mt19937_64 random_;
    std::chrono::milliseconds duration_{};
    std::vector<int> parts_ = std::vector<int>(kMoments); // of that, still to be tried
    std::size_t found_a_ = 0;
    std::size_t found_b_ = 0;
    int killed_ = 0;
};

void merge_while_killing(Victim victim) {
    Killing test(GENERATE(Leftovers::removed, Leftovers::kept));
    for (int moment = 0; moment < kMoments; ++moment) {
        const char letter = moment % 2 == 0 ? 'A' : 'B';
        test.kill_one(letter, victim);
        test.check_whole();
        CHECK(test.found() == test.names());
        test.check_swept(victim);
        if (moment % 10 == 9) {
            test.push(letter);
            test.check_whole();
            CHECK(test.found(letter) == test.names());
        }
    }
    CHECK(test.killed() > 0);
}

void create_while_killing(Victim victim) {
    Killing test(GENERATE(Leftovers::removed, Leftovers::kept));
    for (int moment = 0; moment < kMoments; ++moment) {
        test.inbox().remove("tree");
        test.kill_one('A', victim);
        test.check_whole();
        const std::size_t expected = test.inbox().exists("tree") ? test.names() : 0;
        CHECK(test.found() == expected);
        test.check_swept(victim);
        if (moment % 10 == 9) {
            test.push('A');
            test.check_whole();
            CHECK(test.found('A') == test.names());
        }
    }
    CHECK(test.killed() > 0);
}

} // namespace

TEST_CASE("a sender killed while it updates a tree leaves every file old or new") {
    merge_while_killing(Victim::sender);
}

TEST_CASE("a receiver killed while it updates a tree leaves every file old or new") {
    merge_while_killing(Victim::receiver);
}

TEST_CASE("a sender killed while it sends a new tree leaves it absent or complete") {
    create_while_killing(Victim::sender);
}

TEST_CASE("a receiver killed while it receives a new tree leaves it absent or complete") {
    create_while_killing(Victim::receiver);
}
