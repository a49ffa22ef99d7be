// --digests: a list of all files of a session that xxhsum accepts, whether they were sent or there.
#include "receiver/digest_file.hpp"
#include "receiver/digest_list.hpp"
#include "tests/support/source_tree.hpp"

#include <cstdlib>
#include <fcntl.h>
#include <iostream>
#include <thread>

using namespace sluice;
using namespace sluice::test;

namespace {

SessionRequest listing(const std::string& destination = {}) {
    SessionRequest request{destination};
    request.policy.list_digests = true;
    return request;
}

std::string digest_text(std::string_view content) {
    return to_hex(digest_of(std::as_bytes(std::span(content))));
}

// Path to digest; a path that is listed twice gets a "!" for each time more.
std::map<std::string, std::string> list(Store& store) {
    std::map<std::string, std::string> listed;
    std::uint64_t left_out = 0;
    CHECK(store.list_files(
        [&](const ListedFile& file) {
            std::string& digest = listed[file.path];
            digest = (digest.empty() ? "" : digest + '!') + to_hex(file.digest);
        },
        left_out));
    return listed;
}

// Appends what the session lists to a file.
void append(Store& store, DigestFile& file) {
    DigestFile::Lines lines;
    std::uint64_t left_out = 0;
    CHECK(store.list_files([&](const ListedFile& one) { CHECK(lines.add(one)); }, left_out));
    CHECK(left_out == 0);
    CHECK(file.append(lines));
}

// "xxhsum -c", run in the directory; its exit status, or -1 where it is not installed.
int check_with_xxhsum(const TempDir& directory, const std::string& list_file) {
    if (std::system("command -v xxhsum >/dev/null 2>&1") != 0) {
        std::cout << "skipped: no xxhsum\n";
        return -1;
    }
    const std::string command =
        "cd '" + directory.path() + "' && xxhsum -c --strict '" + list_file + "' >/dev/null 2>&1";
    return std::system(command.c_str());
}

std::map<std::string, std::string> expected_of(const SourceTree& source, const std::string& below) {
    std::map<std::string, std::string> expected;
    for (const auto& [path, node] : source.nodes) {
        if (node.kind == proto::RecordKind::file) {
            expected[below.empty() ? path : below + '/' + path] = digest_text(node.content);
        }
    }
    return expected;
}

SourceTree some_source() {
    SourceTree source;
    source.file("tree/small", "small");
    source.file("tree/empty", "");
    source.file("tree/sub/with  spaces, *stars* and\ttab", "x");
    source.file("tree/\xff\xfe not utf-8", "y");
    source.large("tree/sub/large", 300'000, 1);
    source.link("tree/link", "small"); // is not listed
    source.dir("tree/dir");
    return source;
}

} // namespace

TEST_CASE("every file of a session is listed with its digest: small, large, and unchanged") {
    const StoreRoot root;
    const std::string destination = GENERATE("", "new/place", "there");
    root.directory.make_dir("there");
    SourceTree source = some_source();
    for (int round = 0; round < 2; ++round) { // in the second round all are unchanged
        INFO(round);
        StoreSession session(root, listing(destination));
        CHECK(source.send(session));
        CHECK(session.publish().empty());
        CHECK(session.store().counts().unchanged == (round == 0 ? 0 : 5));
        CHECK(list(session.store()) == expected_of(source, destination));
        CHECK_FALSE(root.directory.exists(".sluice"));
    }
}

TEST_CASE("files that an earlier session left are listed, too") {
    const StoreRoot root;
    SourceTree source = some_source();
    {
        StoreSession first(root, listing());
        source.send(first, {}, nullptr, [steps = 16]() mutable { return --steps > 0; });
    }
    StoreSession session(root, listing());
    CHECK(source.send(session));
    CHECK(session.publish().empty());
    CHECK(session.store().counts().reused_files > 0);
    CHECK(list(session.store()) == expected_of(source, ""));
}

TEST_CASE("a single file with a new name is listed under that") {
    const StoreRoot root;
    SessionRequest request = listing("new-name");
    request.flags |= proto::kOpenSingleFile;
    StoreSession session(root, request);
    CHECK(session.file("label", "content") == "");
    CHECK(session.publish().empty());
    CHECK(list(session.store()) ==
          std::map<std::string, std::string>{{"new-name", digest_text("content")}});
}

TEST_CASE("nobody who did not ask gets a list, nor does a dry run") {
    const StoreRoot root;
    root.directory.write_file("tree/file", "12345");
    root.directory.set_mtime("tree/file", kStoredTime);
    SessionRequest request = listing();
    const bool dry = GENERATE(true, false);
    if (dry) {
        request.flags |= proto::kOpenDryRun;
    } else {
        request.policy.list_digests = false;
    }
    StoreSession session(root, request);
    CHECK_FALSE(session.wants({5, {kStoredTime, 0}, 0644, 1, "tree/file"}));
    CHECK(session.publish().empty());
    CHECK(list(session.store()).empty());
}

TEST_CASE("a session that brought nothing lists nothing") {
    const StoreRoot root;
    StoreSession session(root, listing("new"));
    CHECK(session.publish().empty());
    CHECK(list(session.store()).empty());
}

TEST_CASE("files that were there and are gone or shorter by now are left out") {
    const StoreRoot root;
    StoreSession session(root, listing());
    ExtentSource source(1, "tree/large", 100'000);
    ExtentSource shorter(2, "tree/shorter", 100'000);
    ExtentSource gone(3, "tree/gone", 100'000);
    for (const ExtentSource* const one : {&source, &shorter, &gone}) {
        one->send_rest(session, {});
        CHECK(one->end(session) == "");
    }
    CHECK(session.publish().empty());
    root.directory.remove("tree/gone");
    REQUIRE(::truncate(root.directory.path("tree/shorter").c_str(), 99'999) == 0);
    CHECK(list(session.store()) ==
          std::map<std::string, std::string>{{"tree/large", digest_text(source.content())}});
}

TEST_CASE("a file that grew since it was noted is left out") {
    const StoreRoot root;
    StoreSession session(root, listing());
    const ExtentSource source(1, "tree/large", 100'000);
    source.send_rest(session, {});
    CHECK(source.end(session) == "");
    CHECK(session.publish().empty());
    root.directory.write_file("tree/large", source.content() + "more");
    CHECK(list(session.store()).empty());
}

TEST_CASE("a path that came twice is listed as it is in the end") {
    const StoreRoot root;
    const std::string top = GENERATE("new/", "old/");
    root.directory.make_dir("old");
    StoreSession session(root, listing());
    CHECK(session.file(top + "file", "first") == "");
    CHECK(session.file(top + "file", "second") == "");
    CHECK(session.publish().empty());
    for (const auto& [path, digest] : list(session.store())) {
        CHECK(path == top + "file");
        CHECK(digest.find(digest_text("first")) == std::string::npos);
        CHECK(digest.find(digest_text("second")) != std::string::npos);
    }
}

TEST_CASE("a small file that could not be published is not listed") {
    const StoreRoot root;
    StoreSession session(root, listing());
    CHECK(session.file("tree/conflict", "file") == "");
    CHECK(session.file("tree/fine", "file") == "");
    root.directory.write_file("tree/conflict/inner", "a directory by now");
    CHECK(session.publish().size() == 1);
    CHECK(list(session.store()) ==
          std::map<std::string, std::string>{{"tree/fine", digest_text("file")}});
}

TEST_CASE("more files than fit into memory are all listed") {
    const StoreRoot root;
    StoreSession session(root, listing("new"));
    const std::string long_name(200, 'n');
    for (int number = 0; number < 10'000; ++number) {
        REQUIRE(session.file(long_name + std::to_string(number), std::to_string(number)) == "");
    }
    CHECK(session.publish().empty());
    const auto listed = list(session.store());
    CHECK(listed.size() == 10'000);
    CHECK(listed.at("new/" + long_name + "4711") == digest_text("4711"));
}

TEST_CASE("the list of a session is what xxhsum checks") {
    const StoreRoot root;
    const TempDir place;
    auto file = DigestFile::open(place.path("digests"));
    REQUIRE(file);
    SourceTree source = some_source();
    for (const char* const destination : {"", "new/place"}) {
        StoreSession session(root, listing(destination));
        CHECK(source.send(session));
        CHECK(session.publish().empty());
        append(session.store(), *file);
    }
    const int status = check_with_xxhsum(root.directory, place.path("digests"));
    if (status >= 0) {
        CHECK(status == 0);
        root.directory.write_file("new/place/tree/small", "SMALL");
        CHECK(check_with_xxhsum(root.directory, place.path("digests")) != 0);
    }
}

TEST_CASE("names with a backslash or a carriage return are what xxhsum checks, too") {
    const StoreRoot root;
    const TempDir place;
    const std::string name = GENERATE("back\\slash", "back\\nslash", "\\begin", "cr\rinside",
                                      "cr\r", "end ", " begin", "0123456789abcdef  x");
    auto file = DigestFile::open(place.path("digests"));
    REQUIRE(file);
    StoreSession session(root, listing());
    CHECK(session.file(name, "content") == "");
    CHECK(session.publish().empty());
    DigestFile::Lines lines;
    bool added = true;
    std::uint64_t left_out = 0;
    CHECK(session.store().list_files([&](const ListedFile& one) { added = lines.add(one); },
                                     left_out));
    CHECK(file->append(lines));
    INFO("'" << name << "'");
    if (added) { // else it is left out and said so
        CHECK(check_with_xxhsum(root.directory, place.path("digests")) <= 0);
    }
}

TEST_CASE("a name with a line break is not listed, so that it cannot forge a line") {
    const TempDir place;
    auto file = DigestFile::open(place.path("digests"));
    REQUIRE(file);
    DigestFile::Lines lines;
    CHECK(lines.add({"before", 1, {}}));
    CHECK_FALSE(lines.add({"x\n00000000000000000000000000000000  forged", 1, {}}));
    CHECK_FALSE(lines.add({"\n", 1, {}}));
    CHECK(lines.add({"after", 1, {}}));
    CHECK(file->append(lines));
    const std::string zeros(32, '0');
    CHECK(place.read_file("digests") == zeros + "  before\n" + zeros + "  after\n");
}

TEST_CASE("lines are appended to what the file holds, and those of one session stay together") {
    const TempDir place;
    place.write_file("digests", "before\n");
    auto file = DigestFile::open(place.path("digests"));
    REQUIRE(file);
    std::vector<std::thread> threads;
    for (int thread = 0; thread < 4; ++thread) {
        threads.emplace_back([&, thread] {
            for (int round = 0; round < 50; ++round) {
                DigestFile::Lines lines;
                for (int number = 0; number < 20; ++number) {
                    static_cast<void>(lines.add({std::to_string(thread), 1, {}}));
                }
                static_cast<void>(file->append(lines));
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    const std::string text = place.read_file("digests");
    CHECK(text.rfind("before\n", 0) == 0);
    CHECK(text.size() == 7 + std::size_t{4} * 50 * 20 * (32 + 2 + 1 + 1));
    bool together = true;
    for (std::size_t block = 0; block < 200; ++block) {
        for (std::size_t line = 0; line < 20; ++line) {
            const std::size_t at = 7 + (block * 20 + line) * 36 + 34;
            together = together && text[at] == text[7 + block * 720 + 34];
        }
    }
    CHECK(together);
    CHECK_FALSE(DigestFile::open(place.path("missing/digests")));
}

TEST_CASE("lines are written before they fill the memory") {
    DigestFile::Lines lines;
    CHECK_FALSE(DigestFile::is_full(lines));
    std::size_t count = 0;
    for (; !DigestFile::is_full(lines) && count < 1'000'000; ++count) {
        REQUIRE(lines.add({std::string(1'000, 'n'), 1, {}}));
    }
    CHECK(count > 100);
    CHECK(count < 10'000);
    const TempDir place;
    auto file = DigestFile::open(place.path("digests"));
    REQUIRE(file);
    CHECK(file->append(lines));
    CHECK_FALSE(DigestFile::is_full(lines));
    CHECK(file->append(lines)); // adds nothing
    CHECK(static_cast<std::size_t>(place.status("digests").st_size) == count * 1'035);
}
