// What the fault tests share: a small tree of everything, both programs with a fault in one of
// them, and what must hold afterwards whatever the fault was. Violations are returned as text, a
// line each, so that one run of hundreds of cases names them all.
#pragma once

#include "receiver/resume_journal.hpp"
#include "receiver/work_area.hpp"
#include "tests/e2e/checks.hpp"
#include "tests/support/inject.hpp"
#include "tests/support/scratch_file.hpp"
#include "tests/support/tree.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <fmt/ranges.h>
#include <functional>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace sluice::test {

// No push here takes a second by itself; with one fault it must still end in this time.
inline constexpr std::chrono::seconds kCaseLimit{20};
// --timeout of both programs, in seconds: several times as long as anything here is silent.
inline constexpr const char* kTimeout = "4";

// Directories (one empty, one private), links, small files, a large file and one with holes.
// `letter` tells versions apart: every file differs between them in its first bytes and its size.
inline void write_mixed_tree(const TempDir& root, const std::string& tree, char letter) {
    const auto version = static_cast<std::size_t>(letter - 'A');
    constexpr std::size_t kMiB = std::size_t{1} << 20;
    for (std::size_t file = 0; file < 12; ++file) {
        const std::string name =
            tree + "/d" + std::to_string(file % 3) + "/small" + std::to_string(file);
        root.write_file(name, letter + random_bytes(file * 700 + version, file),
                        file % 2 == 0 ? 0644 : 0600);
        root.set_mtime(name, 1'600'000'000 + static_cast<time_t>(file * 10 + version), 123'456'789);
    }
    root.write_file(tree + "/empty-file", letter == 'A' ? "" : "no longer");
    root.set_mtime(tree + "/empty-file", 1'500'000'000 + static_cast<time_t>(version));
    root.write_file(tree + "/deep/er/large", letter + random_bytes(3 * kMiB + version, 77));
    root.set_mtime(tree + "/deep/er/large", 1'400'000'000 + static_cast<time_t>(version), 1);
    root.make_hole(tree + "/sparse", static_cast<off_t>(4 * kMiB + version));
    {
        const std::string bytes = letter + random_bytes(70'000, 78);
        const auto file =
            UniqueFd::adopt(::open(root.path(tree + "/sparse").c_str(), O_WRONLY | O_CLOEXEC));
        REQUIRE(::pwrite(file.get(), bytes.data(), bytes.size(), 1'000'000) ==
                static_cast<ssize_t>(bytes.size()));
    }
    root.set_mtime(tree + "/sparse", 1'300'000'000 + static_cast<time_t>(version));
    root.symlink(std::string("target-") + letter, tree + "/link");
    root.symlink("../dangling", tree + "/d0/link");
    root.make_dir(tree + "/empty");
    root.make_dir(tree + "/private");
    root.write_file(tree + "/private/file", std::string(2'000 + version, letter), 0400);
    root.set_mode(tree + "/private", 0700);
    for (const char* const directory : {"/empty", "/private", "/deep/er", "/d0", ""}) {
        root.set_mtime(tree + directory, 1'200'000'000 + static_cast<time_t>(version));
    }
}

// Adds a file of several extents, of which a part may be there when a push breaks.
inline void write_huge_file(const TempDir& root, const std::string& tree, char letter) {
    constexpr std::size_t kBytes = std::size_t{25} << 20;
    root.write_file(tree + "/huge",
                    letter + random_bytes(kBytes, static_cast<std::uint64_t>(letter)));
    root.set_mtime(tree + "/huge", 1'100'000'000);
    root.set_mtime(tree, 1'200'000'000 + (letter - 'A')); // as it was
}

// True as soon as `condition` holds, false if it does not within `limit`. Polls: what is waited for
// gives no sign.
inline bool within(std::chrono::milliseconds limit, const std::function<bool()>& condition) {
    const auto deadline = std::chrono::steady_clock::now() + limit;
    while (!condition()) {
        if (std::chrono::steady_clock::now() > deadline) {
            return false;
        }
        ::usleep(1'000);
    }
    return true;
}

// A receiver that may fail to start, and may be started again on the same directory.
class FaultyReceiver {
public:
    explicit FaultyReceiver(std::vector<std::string> options = {}) : options_(std::move(options)) {}

    // Whether it listens; otherwise it has ended. `what`: as in SLUICE_INJECT, or empty.
    bool start(const std::string& what = {}, const std::string& port = "0") {
        injection_ = std::make_unique<Injection>(what);
        std::vector<std::string> command{kRecvProgram, "--port", port, "--timeout", kTimeout};
        command.insert(command.end(), options_.begin(), options_.end());
        command.push_back(inbox_.path());
        process_ = std::make_unique<Process>(std::move(command), injection_->environment());
        const bool decided = within(kCaseLimit, [this] {
            return listens() || process_->ends_within(std::chrono::milliseconds{0});
        });
        REQUIRE(decided);
        idle_descriptors_ = ended() ? std::vector<std::string>{} : descriptors();
        return !ended();
    }
    [[nodiscard]] bool ended() const { return process_->ends_within(std::chrono::milliseconds{0}); }
    // What it has open beyond what it began with, once it has got rid of what it can: a line, or
    // nothing where that is no more than `allowed`.
    [[nodiscard]] std::string leaked(std::size_t allowed) const {
        std::vector<std::string> extra;
        within(std::chrono::seconds{2}, [&] {
            extra = ended() ? std::vector<std::string>{} : extra_descriptors();
            return extra.size() <= allowed;
        });
        return extra.size() <= allowed
                   ? ""
                   : fmt::format("the receiver keeps open: {}\n", fmt::join(extra, ", "));
    }
    [[nodiscard]] std::size_t kept() const { return ended() ? 0 : extra_descriptors().size(); }

    [[nodiscard]] Process& process() noexcept { return *process_; }
    [[nodiscard]] const Injection& injection() const noexcept { return *injection_; }
    [[nodiscard]] const std::string& port() const noexcept { return port_; }
    [[nodiscard]] const TempDir& inbox() const noexcept { return inbox_; }

private:
    bool listens() {
        const std::string text = process_->err();
        const std::size_t at = text.find("listening on ");
        const std::size_t end = at == std::string::npos ? at : text.find('\n', at);
        if (end == std::string::npos) {
            return false;
        }
        const std::string address = text.substr(at, end - at);
        port_ = address.substr(address.rfind(':') + 1);
        return true;
    }
    // By what they lead to, without the inode numbers that differ for each. None for anybody but
    // root, from whom the receiver does not hide them.
    [[nodiscard]] std::vector<std::string> descriptors() const {
        std::vector<std::string> targets;
        namespace fs = std::filesystem;
        std::error_code unreadable;
        for (const auto& entry : fs::directory_iterator(
                 "/proc/" + std::to_string(process_->pid()) + "/fd", unreadable)) {
            std::error_code gone;
            const std::string target = fs::read_symlink(entry.path(), gone).string();
            if (target != "/dev/null") { // where what nobody wants goes: opened when first needed
                targets.push_back(target.substr(0, target.find(":[")));
            }
        }
        std::sort(targets.begin(), targets.end());
        return targets;
    }
    [[nodiscard]] std::vector<std::string> extra_descriptors() const {
        const std::vector<std::string> now = descriptors();
        std::vector<std::string> extra;
        std::set_difference(now.begin(), now.end(), idle_descriptors_.begin(),
                            idle_descriptors_.end(), std::back_inserter(extra));
        // A worker keeps its pipe, but may have to make it anew.
        constexpr std::ptrdiff_t kPipeEnds = 8;
        const auto pipes = std::equal_range(extra.begin(), extra.end(), "pipe");
        extra.erase(pipes.first, pipes.first + std::min(kPipeEnds, pipes.second - pipes.first));
        return extra;
    }

    std::vector<std::string> options_;
    TempDir inbox_{TempDir::quick_base()};
    std::unique_ptr<Injection> injection_;
    std::unique_ptr<Process> process_; // ends before its directory goes
    std::string port_;
    std::vector<std::string> idle_descriptors_;
};

// A sender that has run, or was ended because it took too long.
struct Sent {
    int code = -1;
    bool hung = false;
    std::string err;
    nlohmann::json summary; // the event; null where it did not get so far

    [[nodiscard]] std::uint64_t number(const char* name) const {
        return summary.is_object() ? summary.at(name).get<std::uint64_t>() : 0;
    }
};
inline nlohmann::json last_event(const std::string& lines) {
    const std::size_t end = lines.find_last_not_of('\n');
    if (end == std::string::npos) {
        return nullptr;
    }
    const std::size_t before = lines.rfind('\n', end);
    const std::size_t begin = before == std::string::npos ? 0 : before + 1;
    return nlohmann::json::parse(lines.substr(begin, end + 1 - begin), nullptr, false);
}
// Of options given twice the last counts, so `arguments` may say otherwise.
inline std::vector<std::string> send_command(const std::string& port,
                                             const std::vector<std::string>& arguments) {
    std::vector<std::string> command{kSendProgram, "--port", port,          "--quiet", "--json",
                                     "--timeout",  kTimeout, "--retry-for", "2"};
    command.insert(command.end(), arguments.begin(), arguments.end());
    command.push_back("127.0.0.1:");
    return command;
}
inline Sent finish(Process& process, std::chrono::milliseconds limit = kCaseLimit) {
    Sent sent;
    sent.hung = !process.ends_within(limit);
    if (sent.hung) {
        process.signal(SIGKILL);
    }
    sent.code = process.wait();
    sent.err = process.err();
    sent.summary = last_event(process.out());
    return sent;
}
inline Sent send_with_limit(const std::string& port, const std::vector<std::string>& arguments,
                            const std::vector<std::string>& environment = {}) {
    Process process(send_command(port, arguments), environment);
    return finish(process);
}

inline bool is_documented(int code) {
    constexpr std::array kCodes{0, 1, 2, 5, 10, 11, 12, 20, 23, 24, 30};
    return std::find(kCodes.begin(), kCodes.end(), code) != kCodes.end();
}

// What must hold of a push that ended, whatever happened to it.
inline std::string judge_end(const Sent& sent) {
    if (sent.hung) {
        return "the sender did not end in time\n";
    }
    if (!is_documented(sent.code)) {
        return fmt::format("the sender ended with {}: {}\n", sent.code, sent.err);
    }
    if (sent.code != 0 && sent.err.empty()) {
        return fmt::format("the sender ended with {} and said nothing\n", sent.code);
    }
    return {};
}

// Success: the destination is what the source is.
inline std::string judge_identical(const Tree& source, const TempDir& inbox,
                                   TreeComparison how = {}) {
    const std::string text = inbox.exists("tree")
                                 ? differences(source, describe_tree(inbox, "tree"), how)
                                 : "'tree' is missing\n";
    return text.empty() ? text : "success, but " + text;
}

// After success nothing is left to go on with.
inline std::string judge_swept(const TempDir& inbox) {
    return within(std::chrono::seconds{5}, [&] { return !inbox.exists(".sluice"); })
               ? ""
               : "the work area is still there after success\n";
}

// What the next session of the same request must find of one that broke.
struct Left {
    bool files = false;  // complete, in a staged tree
    bool pieces = false; // of large files
    [[nodiscard]] bool anything() const noexcept { return files || pieces; }
};
inline Left left_behind(const TempDir& inbox, const Tree& source) {
    Left left;
    if (!inbox.exists(".sluice")) {
        return left;
    }
    for (const std::string& name : inbox.list(".sluice")) {
        const std::string area = ".sluice/" + name;
        const auto directory =
            UniqueFd::adopt(::open(inbox.path(area).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        const auto journal =
            name.size() == kKeyLength && directory ? load_journal(directory.get()) : std::nullopt;
        if (!journal) {
            continue;
        }
        for (const PartialFile& file : journal->files) {
            left.pieces = left.pieces || !file.pieces.empty();
        }
        const std::string staged = area + '/' + SessionArea::kTreeName + "/tree";
        const Tree tree = inbox.exists(staged) ? describe_tree(inbox, staged) : Tree{};
        for (const auto& [path, node] : tree) {
            const auto found = source.find(path);
            left.files = left.files ||
                         (found != source.end() && S_ISREG(node.status.st_mode) &&
                          node.status.st_size > 0 && difference(found->second, node, true).empty());
        }
    }
    return left;
}

// Anything else: every name holds one of the versions, whole.
inline std::string judge_whole(const std::vector<const Tree*>& versions, const TempDir& inbox) {
    std::string text;
    for (const std::string& name : inbox.list()) {
        if (name != "tree" && name != ".sluice") {
            text += fmt::format("'{}' is no name that was sent\n", escape(name));
        }
    }
    if (!inbox.exists("tree")) {
        return text;
    }
    for (const auto& [path, node] : describe_tree(inbox, "tree")) {
        std::string what = "is no name that was sent";
        for (const Tree* const version : versions) {
            if (const auto found = version->find(path); found != version->end()) {
                what = difference(found->second, node, false);
                if (what.empty()) {
                    break;
                }
            }
        }
        text += what.empty() ? what : fmt::format("'{}' is a part: {}\n", escape(path), what);
    }
    return text;
}

// A number from the environment.
inline std::size_t setting(const char* name, std::size_t otherwise) {
    const char* const text = std::getenv(name);
    if (text == nullptr) {
        return otherwise;
    }
    return std::string_view(text) == "all" ? ~std::size_t{0} : std::strtoull(text, nullptr, 10);
}

inline std::uint64_t announced_seed() {
    const std::uint64_t seed = test_seed();
    std::cerr << "SLUICE_TEST_SEED=" << seed << '\n';
    return seed;
}

} // namespace sluice::test
