// Storage that keeps nothing holds the sender to the protocol all the same.
#include "common/socket_to_digest.hpp"
#include "receiver/discarder.hpp"
#include "tests/support/tree.hpp"

#include <catch2/catch.hpp>
#include <span>
#include <sys/socket.h>
#include <unistd.h>

using namespace sluice;
using namespace sluice::test;

namespace {

struct Discarding {
    std::unique_ptr<Storage> storage;
    DirectoryCache directories{2};

    explicit Discarding(std::uint32_t flags = proto::kOpenPreserve | proto::kOpenVerify) {
        proto::Open request;
        request.flags = flags;
        request.destination = "nowhere/at/all";
        request.roots = {"a", "b", ""};
        auto made = Discarder::open(request);
        REQUIRE(made);
        storage = std::move(*made);
    }

    [[nodiscard]] Storage::BegunExtent begin(std::uint64_t offset, std::uint64_t length,
                                             std::uint64_t size = 100) {
        proto::Extent extent;
        extent.file_id = 7;
        extent.offset = offset;
        extent.length = length;
        extent.file_size = size;
        extent.path = "a/file";
        return storage->begin_extent(extent, directories);
    }
    void receive(std::uint64_t offset, std::uint64_t length) {
        const auto begun = begin(offset, length);
        REQUIRE(begun.fault == proto::Fault::none);
        REQUIRE_FALSE(begun.problem);
        CHECK(::write(begun.file->target(), "x", 1) == 1);
        CHECK_FALSE(storage->extent_done(*begun.file, offset, length, std::nullopt));
    }
    [[nodiscard]] proto::Fault end() { return storage->end_file(7, directories).fault; }
};

} // namespace

TEST_CASE("a session that is discarded wants everything") {
    Discarding test;
    CHECK(test.storage->discards());
    CHECK(test.storage->fresh_roots() == std::vector<std::uint16_t>{0, 1, 2});
    CHECK_FALSE(test.storage->may_adopt());
    std::vector<proto::Range> present;
    CHECK(test.storage->wants({10, {1, 2}, 0644, 3, "a/file"}, test.directories, present));
    CHECK(present.empty());
}

TEST_CASE("what is discarded is counted as if it were stored") {
    Discarding test;
    for (const auto kind : {proto::RecordKind::directory, proto::RecordKind::symlink,
                            proto::RecordKind::file, proto::RecordKind::file}) {
        proto::Record record;
        record.kind = kind;
        record.path = "a";
        CHECK_FALSE(test.storage->put(record, test.directories));
    }
    test.receive(40, 60);
    test.receive(0, 40);
    CHECK(test.storage->has_unfinished_files());
    CHECK(test.end() == proto::Fault::none);
    CHECK_FALSE(test.storage->has_unfinished_files());
    const StoreCounts& counts = test.storage->counts();
    CHECK(counts.directories == 1);
    CHECK(counts.symlinks == 1);
    CHECK(counts.files == 3);
    CHECK(counts.settled == 3);
    CHECK(counts.unchanged == 0);
}

TEST_CASE("a discarded file must be whole before it ends") {
    Discarding test;
    CHECK(test.end() == proto::Fault::bad_value); // unknown
    test.receive(0, 40);
    CHECK(test.end() == proto::Fault::bad_value);
    const auto lost = test.begin(40, 60);
    CHECK(test.end() == proto::Fault::bad_value);
    test.storage->extent_lost(*lost.file);
    CHECK(test.end() == proto::Fault::bad_value);
    test.receive(40, 60);
    CHECK(test.begin(0, 1, 99).fault == proto::Fault::bad_value); // another size
    CHECK(test.end() == proto::Fault::none);
}

TEST_CASE("what comes of a discarded file after it was aborted belongs to a dead file") {
    Discarding test;
    test.receive(0, 40);
    const auto begun = test.begin(40, 60);
    CHECK(test.storage->abort_file(7) == proto::Fault::none);
    CHECK(begun.file->dead);
    CHECK_FALSE(test.storage->extent_done(*begun.file, 40, 60, std::nullopt));
    CHECK_FALSE(test.storage->has_unfinished_files());
    CHECK(test.storage->counts().files == 0);
}

TEST_CASE("who wants things on the medium is refused where they are discarded") {
    proto::Open request;
    request.flags = proto::kOpenSync;
    const auto made = Discarder::open(request);
    REQUIRE_FALSE(made);
    CHECK(made.error().kind == ErrorKind::refused);
}

TEST_CASE("bytes on their way into a digest come in any pieces") {
    std::array<int, 2> ends{};
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends.data()) == 0);
    auto writer = UniqueFd::adopt(ends[0]);
    const auto reader = UniqueFd::adopt(ends[1]);
    const std::string sent = random_bytes(50'000, 3);
    const auto bytes = std::as_bytes(std::span(sent));
    SocketToDigest receive;
    Digester digester;
    const auto send = [&](std::size_t offset, std::size_t length) {
        REQUIRE(::write(writer.get(), sent.data() + offset, length) ==
                static_cast<ssize_t>(length));
    };
    CHECK(receive.step(reader.get(), digester, 10).status == StepStatus::would_block);
    send(0, 20'000);
    Step step = receive.step(reader.get(), digester, 7);
    CHECK(step.status == StepStatus::progress);
    CHECK(step.moved == 7);
    CHECK_FALSE(step.zero_copy);
    CHECK(digester.finish() == digest_of(bytes.first(7)));
    step = receive.step(reader.get(), digester, 50'000);
    CHECK(step.status == StepStatus::would_block);
    CHECK(step.moved == 19'993);
    send(20'000, 30'000);
    writer.reset();
    step = receive.step(reader.get(), digester, 50'000);
    CHECK(step.status == StepStatus::end);
    CHECK(step.moved == 30'000);
    CHECK(digester.finish() == digest_of(bytes));
}
