// When the files of a new tree appear.
#include "tests/support/programs.hpp"
#include "tests/support/raw_peer.hpp"
#include "tests/support/tree.hpp"

#include <catch2/catch.hpp>
#include <string>
#include <vector>

using namespace sluice;
using namespace sluice::test;

TEST_CASE("option --publish decides when files of a new tree appear") {
    const TempDir destination;
    const ReceiverProcess receiver(destination.path());
    const bool by_file = GENERATE(false, true);
    RawPeer control = RawPeer::connect(receiver.port(), proto::Role::control);
    proto::Open open;
    open.flags |= by_file ? proto::kOpenPublishByFile : 0U;
    REQUIRE(control.send_message(open));
    Frame frame;
    const auto token =
        control.receive_message<proto::Welcome>(proto::FrameType::welcome, frame).token;
    RawPeer data = RawPeer::connect(receiver.port(), proto::Role::data);
    REQUIRE(data.send_message(proto::Join{token, 0}));
    for (const std::uint64_t id : {1U, 2U}) { // the second file does not come to its end
        proto::Extent extent;
        extent.file_id = id;
        extent.length = 100'000;
        extent.file_size = 100'000;
        extent.mode = 0644;
        const std::string path = "tree/" + std::to_string(id);
        extent.path = path;
        REQUIRE(data.send_message(extent));
        REQUIRE(data.send(proto::Bytes(id == 1 ? 100'000 : 50'000)));
        if (id == 1) {
            REQUIRE(data.send_message(proto::FileEnd{1}));
        }
    }
    if (by_file) {
        eventually("the first file appears", [&] { return destination.exists("tree/1"); });
    } else {
        eventually("both files are staged", [&] {
            std::error_code ignored;
            int files = 0;
            for (const auto& entry : std::filesystem::recursive_directory_iterator(
                     destination.path(".sluice"), ignored)) {
                files += entry.is_regular_file(ignored) ? 1 : 0;
            }
            return files == 2;
        });
        CHECK(destination.list() == std::vector<std::string>{".sluice"});
    }
    CHECK_FALSE(destination.exists("tree/2"));
    REQUIRE(data.send(proto::Bytes(50'000)));
    REQUIRE(data.send_message(proto::FileEnd{2}));
    proto::Bytes end;
    proto::encode_stream_end(end);
    REQUIRE(data.send(end));
    REQUIRE(control.send_message(proto::Finish{1, 2}));
    CHECK(control.receive_message<proto::Done>(proto::FrameType::done, frame).files == 2);
    CHECK(destination.status("tree/1").st_size == 100'000);
    CHECK(destination.status("tree/2").st_size == 100'000);
}

TEST_CASE("option --publish file brings the same tree") {
    const TempDir source;
    const TempDir destination;
    const ReceiverProcess receiver(destination.path());
    source.write_file("tree/dir/small", "x");
    source.write_file("tree/large", random_bytes(1'000'000, 1));
    source.symlink("large", "tree/link");
    source.make_dir("tree/empty");
    const std::string path = GENERATE("", "a/b");
    CHECK(send(receiver, {"--publish", "file", source.path("tree")}, path).code == 0);
    CHECK(differences(describe_tree(source), describe_tree(destination, path), {true, false}) ==
          "");
}
