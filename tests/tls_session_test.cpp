// Whole sessions under TLS: what arrives, and who is turned away.
#include "tests/support/engines.hpp"
#include "tests/support/tls_support.hpp"
#include "tests/support/tree.hpp"

#include <catch2/catch.hpp>
#include <cstdint>
#include <future>
#include <string>

using namespace sluice;
using namespace sluice::test;

namespace {

// A tree with files of all the ways in which one can travel.
void make_source(const TempDir& at) {
    for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{65'536},
                                   std::size_t{65'537}, std::size_t{20'000'001}}) {
        at.write_file("tree/sizes/" + std::to_string(size), random_bytes(size, size));
    }
    for (int number = 0; number < 300; ++number) {
        at.write_file("tree/many/" + std::to_string(number), random_bytes(3'000, 7));
    }
    at.make_hole("tree/hole", 3'000'000);
    at.symlink("sizes/1", "tree/link");
}

struct Place {
    TempDir source;
    TempDir destination;
    SharedKey key = make_key(1);

    Place() { make_source(source); }

    [[nodiscard]] ReceiverOptions receiver() const {
        ReceiverOptions options;
        options.directory = destination.path();
        options.tls = receiver_context({key});
        options.least_security = Security::tls;
        return options;
    }

    [[nodiscard]] SenderOptions sender() const {
        SenderOptions options;
        options.sources = {source.path("tree")};
        options.security = Security::tls;
        options.tls = sender_context(key);
        return options;
    }
};

} // namespace

TEST_CASE("TLS session: a tree arrives, and is not sent again") {
    const Place place;
    EngineReceiver receiver(place.receiver());
    for (const std::uint16_t streams : {std::uint16_t{1}, std::uint16_t{3}}) {
        SenderOptions options = place.sender();
        options.streams = streams;
        options.ignore_times = streams == 3;
        const SenderReport sent = QuietSender::send(options, receiver.port());
        INFO((sent.failure ? sent.failure->message : ""));
        REQUIRE(sent.exit_code == ExitCode::done);
        CHECK(sent.bytes.zero_copy == 0);
        CHECK(sent.bytes.copied >= 20'000'001);
        CHECK(sent.resent_bytes == 0);
        CHECK(sent.verified);
        CHECK(differences(describe_tree(place.source, "tree"),
                          describe_tree(place.destination, "tree"))
                  .empty());
    }
    const SenderReport again = QuietSender::send(place.sender(), receiver.port());
    CHECK(again.exit_code == ExitCode::done);
    CHECK(again.files_sent == 0);
}

TEST_CASE("TLS session: compressed, limited and discarded") {
    const Place place;
    ReceiverOptions receives = place.receiver();
    receives.discard = true;
    EngineReceiver receiver(receives);
    SenderOptions options = place.sender();
    options.compress = Compress::always;
    options.compression_level = 1;
    options.bandwidth_limit = std::uint64_t{100} << 20;
    const SenderReport sent = QuietSender::send(options, receiver.port());
    INFO((sent.failure ? sent.failure->message : ""));
    CHECK(sent.exit_code == ExitCode::done);
    CHECK(sent.discarded);
    CHECK(sent.bytes.total() >= 20'000'001);
}

TEST_CASE("TLS session: a connection that has carried enough is replaced, and nothing is lost") {
    const Place place;
    EngineReceiver receiver(place.receiver());
    SenderOptions options = place.sender();
    options.streams = 2;
    options.most_tls_bytes = 1'000'000;
    const SenderReport sent = QuietSender::send(options, receiver.port());
    INFO((sent.failure ? sent.failure->message : ""));
    REQUIRE(sent.exit_code == ExitCode::done);
    CHECK(sent.reconnected_streams == 0); // none broke
    CHECK(differences(describe_tree(place.source, "tree"), describe_tree(place.destination, "tree"))
              .empty());
}

TEST_CASE("TLS session: several at a time") {
    const Place place;
    EngineReceiver receiver(place.receiver());
    std::vector<std::future<SenderReport>> running;
    for (int number = 0; number < 6; ++number) {
        SenderOptions options = place.sender();
        options.destination.path = "copy " + std::to_string(number) + "/";
        running.push_back(std::async(std::launch::async, [options, &receiver] {
            return QuietSender::send(options, receiver.port());
        }));
    }
    for (auto& one : running) {
        const SenderReport sent = one.get();
        INFO((sent.failure ? sent.failure->message : ""));
        CHECK(sent.exit_code == ExitCode::done);
    }
    for (int number = 0; number < 6; ++number) {
        CHECK(differences(
                  describe_tree(place.source, "tree"),
                  describe_tree(place.destination, "copy " + std::to_string(number) + "/tree"))
                  .empty());
    }
}

TEST_CASE("TLS session: whoever has no key, or another, is turned away at once") {
    const Place place;
    EngineReceiver receiver(place.receiver());
    for (const bool in_clear : {true, false}) {
        SenderOptions options = place.sender();
        options.security = in_clear ? Security::none : Security::tls;
        options.tls = in_clear ? nullptr : sender_context(make_key(2));
        options.retry_for = std::chrono::milliseconds{60'000};
        const SenderReport sent = QuietSender::send(options, receiver.port());
        REQUIRE(sent.failure);
        INFO(sent.failure->message);
        CHECK(sent.exit_code == ExitCode::refused);
        CHECK(sent.failure->message.find("not authorised") != std::string::npos);
    }
    CHECK(receiver.reports().empty());
    CHECK(place.destination.list().empty());
}

TEST_CASE("TLS session: a receiver without keys is told apart from one that has another") {
    const Place place;
    ReceiverOptions receives = place.receiver();
    receives.tls = nullptr;
    receives.least_security = Security::none;
    EngineReceiver receiver(receives);
    const SenderReport sent = QuietSender::send(place.sender(), receiver.port());
    REQUIRE(sent.failure);
    CHECK(sent.exit_code == ExitCode::refused);
    CHECK(sent.failure->message.find("has no keys") != std::string::npos);
}
