// Many senders at once.
#include "common/sanitized.hpp"
#include "tests/support/memory.hpp"
#include "tests/support/programs.hpp"

#include <memory>
#include <thread>

using namespace sluice;
using namespace sluice::test;

namespace {

constexpr int kSenders = kSanitized ? 40 : 200;
constexpr int kFiles = 100;
constexpr int kStreams = 2;

std::string content_of(int file) {
    return std::string(static_cast<std::size_t>(file) * 700, static_cast<char>('a' + file % 26));
}

} // namespace

TEST_CASE("two hundred senders at once are all served, in bounded memory") {
    const TempDir source(TempDir::quick_base());
    for (int file = 0; file < kFiles; ++file) {
        source.write_file("tree/d" + std::to_string(file % 8) + "/f" + std::to_string(file),
                          content_of(file));
    }
    const TempDir inbox(TempDir::quick_base());
    ReceiverProcess receiver(inbox.path());
    const std::size_t descriptors = receiver.process().open_descriptors();
    std::vector<std::unique_ptr<Process>> senders;
    for (int sender = 0; sender < kSenders; ++sender) {
        senders.push_back(std::make_unique<Process>(send_command(
            receiver, {"--quiet", "--streams", std::to_string(kStreams), source.path("tree/")},
            "from" + std::to_string(sender))));
    }
    for (int sender = 0; sender < kSenders; ++sender) {
        Process& process = *senders[static_cast<std::size_t>(sender)];
        const int code = process.wait();
        INFO("sender " << sender << ": " << process.err());
        REQUIRE(code == 0);
    }
    for (int sender = 0; sender < kSenders; ++sender) {
        for (int file = 0; file < kFiles; ++file) {
            const std::string name = "from" + std::to_string(sender) + "/d" +
                                     std::to_string(file % 8) + "/f" + std::to_string(file);
            INFO(name);
            REQUIRE((inbox.read_file(name) == content_of(file)));
        }
    }
    if (!kSanitized) {
        CHECK(peak_kib(receiver.process()) <= kMostResidentKib);
    }
    const std::size_t workers = std::max(2U, std::thread::hardware_concurrency());
    eventually("everything is closed", [&] { // /dev/null may stay open in each worker
        return receiver.process().open_descriptors() <= descriptors + workers;
    });
    CHECK_FALSE(inbox.exists(".sluice"));
    CHECK(receiver.stop() == 0);
}

TEST_CASE("senders of one and the same new tree at once leave it whole") {
    constexpr int kRivals = kSanitized ? 8 : 30;
    const TempDir source(TempDir::quick_base());
    for (int file = 0; file < kFiles; ++file) {
        source.write_file("tree/d" + std::to_string(file % 8) + "/f" + std::to_string(file),
                          content_of(file));
    }
    const TempDir inbox(TempDir::quick_base());
    ReceiverProcess receiver(inbox.path());
    std::vector<std::unique_ptr<Process>> senders;
    for (int sender = 0; sender < kRivals; ++sender) {
        senders.push_back(std::make_unique<Process>(
            send_command(receiver, {"--quiet", source.path("tree")}, "shared")));
    }
    for (const auto& sender : senders) {
        const int code = sender->wait();
        INFO(sender->err());
        CHECK(code == 0);
    }
    for (int file = 0; file < kFiles; ++file) {
        const std::string name =
            "shared/tree/d" + std::to_string(file % 8) + "/f" + std::to_string(file);
        INFO(name);
        REQUIRE((inbox.read_file(name) == content_of(file)));
    }
    eventually("nothing is left", [&] { return !inbox.exists(".sluice"); });
}
