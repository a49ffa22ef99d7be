// What the sender gets over by itself: data connections that break again and again cost little, and
// a receiver that is killed and started again is gone on with.
//
// SLUICE_RESET_MIB=N is the size of the file whose connections break; SLUICE_RESTART_TREE=PATH what
// is pushed to the receiver that is killed, instead of generated files.
#include "tests/e2e/fault_session.hpp"
#include "tests/support/chaos_proxy.hpp"

#include <catch2/catch.hpp>
#include <random>

using namespace sluice;
using namespace sluice::test;

namespace {

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
constexpr unsigned kResets = 20;
constexpr unsigned kStreams = 2;
constexpr std::uint64_t kExtentBytes = 8 * kMiB;
constexpr std::chrono::minutes kLongLimit{10};

void write_in_pieces(const TempDir& root, const std::string& name, std::uint64_t bytes) {
    constexpr std::uint64_t kPiece = 8 * kMiB;
    root.write_file(name, "");
    const auto file =
        UniqueFd::adopt(::open(root.path(name).c_str(), O_WRONLY | O_APPEND | O_CLOEXEC));
    for (std::uint64_t at = 0; at < bytes; at += kPiece) {
        const std::string piece = random_bytes(std::min(kPiece, bytes - at), at + 1);
        REQUIRE(::write(file.get(), piece.data(), piece.size()) ==
                static_cast<ssize_t>(piece.size()));
    }
}

// The first connection is the control connection and stays; those that follow break, before the
// file of `bytes` bytes has gone through kResets of them. There is one more for each stream but
// one: when the others have broken they may be idle.
ChaosPlan resets_of_data(std::uint64_t seed, std::uint64_t bytes) {
    return [seed, bytes](unsigned index) {
        ConnectionPlan plan;
        if (index >= 1 && index < kResets + kStreams) {
            std::mt19937_64 random(seed + index);
            const std::uint64_t mean = bytes / (kResets + kStreams + 5);
            ProxyFault reset{FaultKind::reset};
            reset.offset = mean / 2 + random() % mean;
            plan.faults.push_back(reset);
        }
        return plan;
    };
}

std::size_t regular_files(const Tree& tree) {
    return static_cast<std::size_t>(std::count_if(tree.begin(), tree.end(), [](const auto& entry) {
        return S_ISREG(entry.second.status.st_mode) && entry.second.status.st_size > 0;
    }));
}

} // namespace

TEST_CASE("data connections that break again and again cost little of what was sent") {
    // Enough for most connections to bring an extent over before they break: a stream that gets
    // nothing through for as long as --retry-for gives up, and the session with it.
    const std::uint64_t bytes = setting("SLUICE_RESET_MIB", 256) * kMiB;
    const std::uint64_t seed = announced_seed();
    const TempDir sources{TempDir::quick_base()};
    write_in_pieces(sources, "tree/huge", bytes);
    FaultyReceiver receiver;
    REQUIRE(receiver.start());
    const ChaosProxy proxy(static_cast<std::uint16_t>(std::stoul(receiver.port())),
                           resets_of_data(seed, bytes));
    Process sender(send_command(proxy.port(), {"--retry-for", "60", "--streams",
                                               std::to_string(kStreams), sources.path("tree")}));
    const Sent sent = finish(sender, kLongLimit);
    // As the network has seen it: what the summary counts leaves out extents that broke off.
    const std::uint64_t sent_again = proxy.counts().to_server - bytes;
    std::cerr << fmt::format("resets: {} MiB, {} resets, exit {}, {:.1f} MiB sent again\n",
                             bytes / kMiB, proxy.counts().resets.load(), sent.code,
                             static_cast<double>(sent_again) / kMiB);
    INFO(sent.err);
    REQUIRE(sent.code == 0);
    CHECK(judge_identical(describe_tree(sources, "tree"), receiver.inbox()).empty());
    CHECK(judge_swept(receiver.inbox()).empty());
    const unsigned resets = proxy.counts().resets;
    CHECK(resets >= kResets);
    CHECK(resets < kResets + kStreams);
    CHECK(sent.number("reconnects") == 0);
    CHECK(sent.number("reconnected_streams") >= kResets - kStreams); // at the end nobody has to
    CHECK(sent_again < kResets * kExtentBytes * kStreams);
}

TEST_CASE("a receiver killed amid many small files and started again is gone on with") {
    if (!can_inject()) {
        return;
    }
    const TempDir sources{TempDir::quick_base()};
    std::string name = "tree";
    const char* const given = std::getenv("SLUICE_RESTART_TREE");
    if (given != nullptr) {
        name = std::filesystem::path(given).filename().string();
        sources.symlink(given, "given");
    } else {
        for (std::size_t file = 0; file < 5'000; ++file) {
            sources.write_file(fmt::format("tree/d{}/f{}", file % 50, file),
                               random_bytes(1 + file, file));
        }
    }
    const Tree tree = describe_tree(sources, given != nullptr ? "given/." : "tree");
    const std::size_t files = regular_files(tree);
    REQUIRE(files >= 100);

    FaultyReceiver receiver;
    REQUIRE(receiver.start(fmt::format("openat:{}:KILL", files / 2)));
    const std::string source = given != nullptr ? given : sources.path("tree");
    Process sender(send_command(receiver.port(), {"--retry-for", "30", source}));
    REQUIRE(receiver.process().wait() == 128 + SIGKILL);
    REQUIRE(receiver.start({}, receiver.port()));
    const Sent sent = finish(sender, kLongLimit);
    std::cerr << fmt::format("restart: {} files, {} reused, {} reconnects, exit {}\n", files,
                             sent.number("reused_files"), sent.number("reconnects"), sent.code);
    INFO(sent.err);
    REQUIRE(sent.code == 0);
    CHECK(differences(tree, describe_tree(receiver.inbox(), name)) == "");
    CHECK(judge_swept(receiver.inbox()).empty());
    CHECK(sent.number("reconnects") >= 1);
    CHECK(sent.number("reused_files") >= files / 4);
}
