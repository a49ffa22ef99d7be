// When the files of a new tree appear.
#include "tests/e2e/hostile.hpp"
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
    proto::Open open = fresh_open();
    open.flags |= by_file ? proto::kOpenPublishByFile : 0U;
    RawSession session(receiver, open);
    DataPeer data = session.join();
    const std::vector<std::string> paths{"tree/1", "tree/2"};
    for (const std::uint64_t id : {1U, 2U}) { // the second file does not come to its end
        const proto::Extent extent = extent_of(id, paths[id - 1], 100'000);
        REQUIRE(data.send(extent_frame(extent)));
        REQUIRE(data.send(proto::Bytes(id == 1 ? 100'000 : 50'000)));
        if (id == 1) {
            session.await_ack(extent.id);
            REQUIRE(session.control.send_message(proto::FileEnd{1}));
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
                const std::string name = entry.path().filename();
                files += name == "1" || name == "2" ? 1 : 0;
            }
            return files == 2;
        });
        CHECK(destination.list() == std::vector<std::string>{".sluice"});
    }
    CHECK_FALSE(destination.exists("tree/2"));
    REQUIRE(data.send(proto::Bytes(50'000)));
    session.end(data, {2});
    CHECK(describe(session.finish(2)) == "Done");
    CHECK(destination.status("tree/1").st_size == 100'000);
    CHECK(destination.status("tree/2").st_size == 100'000);
    eventually("nothing is left", [&] { return !destination.exists(".sluice"); });
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
