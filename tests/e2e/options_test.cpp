// What the options of both programs do, and where things land.
#include "common/net.hpp"
#include "tests/e2e/checks.hpp"
#include "tests/e2e/events.hpp"
#include "tests/support/programs.hpp"
#include "tests/support/tree.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <iostream>
#include <string>
#include <vector>

using namespace sluice;
using namespace sluice::test;

namespace {

constexpr std::size_t kLarge = (std::size_t{3} << 20) + 17;

void require_success(const Finished& finished) {
    INFO(finished.err);
    REQUIRE(finished.code == 0);
}

std::string text_bytes(std::size_t length) {
    std::string text;
    for (int line = 0; text.size() < length; ++line) {
        text += "the line with the number " + std::to_string(line) + " says nothing new\n";
    }
    text.resize(length);
    return text;
}

// Runs a command with another current directory.
Finished run_in(const std::string& directory, const std::vector<std::string>& command) {
    std::vector<std::string> arguments = {"sh", "-c", R"(cd "$1" && shift && exec "$@")", "sh",
                                          directory};
    arguments.insert(arguments.end(), command.begin(), command.end());
    return run(arguments);
}

} // namespace

TEST_CASE("a single file gets the name that the destination says, unless that is a directory") {
    const TempDir source;
    const TempDir destination;
    const ReceiverProcess receiver(destination.path());
    const std::string content = GENERATE(std::string("small"), random_bytes(kLarge, 1));
    source.write_file("file", content, 0640);
    destination.make_dir("dir");
    const auto push_to = [&](const std::string& path) {
        require_success(send(receiver, {source.path("file")}, path));
    };
    push_to("");
    CHECK(destination.read_file("file") == content);
    push_to("renamed");
    CHECK(destination.read_file("renamed") == content);
    CHECK((destination.status("renamed").st_mode & 07777U) == 0640);
    push_to("dir");
    CHECK(destination.read_file("dir/file") == content);
    push_to("new/");
    CHECK(destination.read_file("new/file") == content);
    push_to("dir/below/renamed");
    CHECK(destination.read_file("dir/below/renamed") == content);
    source.write_file("file", "shorter");
    push_to("renamed");
    CHECK(destination.read_file("renamed") == "shorter");
}

TEST_CASE("a slash behind a source directory means its contents") {
    const TempDir source;
    const TempDir destination;
    const ReceiverProcess receiver(destination.path());
    source.write_file("tree/dir/file", "x");
    require_success(send(receiver, {source.path("tree")}, "with"));
    require_success(send(receiver, {source.path("tree/")}, "without"));
    CHECK(differences(describe_tree(source, "tree"), describe_tree(destination, "with/tree")) ==
          "");
    CHECK(differences(describe_tree(source, "tree"), describe_tree(destination, "without")) == "");
}

TEST_CASE("a destination that does not exist is made with its parents") {
    const TempDir source;
    const TempDir destination;
    const ReceiverProcess receiver(destination.path());
    source.write_file("tree/dir/file", "x");
    source.write_file("tree/large", random_bytes(kLarge, 1));
    source.set_mode("tree", 0750);
    const std::string path = GENERATE("a/b/c", "a/b/c/");
    SECTION("with a directory in it") {
        require_success(send(receiver, {source.path("tree")}, path));
        CHECK(differences(describe_tree(source, "tree"),
                          describe_tree(destination, "a/b/c/tree")) == "");
    }
    SECTION("with the contents of a directory in it") {
        require_success(send(receiver, {source.path("tree/")}, path));
        CHECK(differences(describe_tree(source, "tree"), describe_tree(destination, "a/b/c")) ==
              "");
    }
    CHECK_FALSE(destination.exists(".sluice"));
}

TEST_CASE("several sources land beside each other, and one may be given twice") {
    const TempDir source;
    const TempDir destination;
    const ReceiverProcess receiver(destination.path());
    source.write_file("tree/small", "x");
    source.write_file("tree/large", random_bytes(kLarge, 1));
    source.write_file("file", "y");
    source.write_file("large-file", random_bytes(kLarge, 2));
    source.symlink("file", "link");
    std::vector<std::string> arguments = {source.path("tree"), source.path("file"),
                                          source.path("large-file"), source.path("link")};
    if (GENERATE(false, true)) {
        const std::vector<std::string> once = arguments;
        arguments.insert(arguments.end(), once.begin(), once.end());
    }
    const std::string path = GENERATE("", "new");
    require_success(send(receiver, arguments, path));
    CHECK(differences(describe_tree(source), describe_tree(destination, path), {true, false}) ==
          "");
}

TEST_CASE("sources may be relative to the current directory, and may be that itself") {
    const TempDir source;
    const TempDir destination;
    const ReceiverProcess receiver(destination.path());
    source.write_file("sub/dir/file", "x");
    source.write_file("sub/large", random_bytes(kLarge, 1));
    const auto push = [&](const std::string& argument, const std::string& path) {
        const Finished sent = run_in(source.path("sub"), send_command(receiver, {argument}, path));
        INFO(argument << ": " << sent.err);
        CHECK(sent.code == 0);
    };
    push(".", "dot");
    CHECK(differences(describe_tree(source, "sub"), describe_tree(destination, "dot")) == "");
    push("./", "dot-slash");
    CHECK(differences(describe_tree(source, "sub"), describe_tree(destination, "dot-slash")) == "");
    push("dir", "relative");
    CHECK(destination.read_file("relative/dir/file") == "x");
    push("../sub/dir", "up");
    CHECK(destination.read_file("up/dir/file") == "x");
    push("./dir/file", "named");
    CHECK(destination.read_file("named") == "x");
}

TEST_CASE("option --ignore-times sends files that look unchanged") {
    const TempDir source;
    const TempDir destination;
    const ReceiverProcess receiver(destination.path());
    source.write_file("tree/small", "right");
    source.write_file("tree/large", random_bytes(kLarge, 1));
    require_success(send(receiver, {source.path("tree")}));
    const timespec mtime = destination.status("tree/small").st_mtim;
    destination.write_file("tree/small", "wrong");
    destination.set_mtime("tree/small", mtime.tv_sec, mtime.tv_nsec);
    require_success(send(receiver, {source.path("tree")}));
    CHECK(destination.read_file("tree/small") == "wrong"); // size and mtime are what counts
    const Finished sent = send(receiver, {"--ignore-times", source.path("tree")});
    require_success(sent);
    CHECK(contains(sent.err, " in 2 files"));
    CHECK(differences(describe_tree(source, "tree"), describe_tree(destination, "tree")) == "");
}

TEST_CASE("option --no-preserve leaves modes to the umask and times to the clock") {
    const TempDir source;
    const TempDir destination;
    const ReceiverProcess receiver(destination.path());
    source.write_file("tree/small", "x", 0600);
    source.write_file("tree/large", random_bytes(kLarge, 1), 0777);
    source.make_dir("tree/dir");
    source.set_mode("tree/dir", 0700);
    for (const char* const name : {"tree/small", "tree/large", "tree/dir", "tree"}) {
        source.set_mtime(name, 1'000'000'000);
    }
    require_success(send(receiver, {"--no-preserve", source.path("tree")}));
    const Tree tree = describe_tree(destination, "tree");
    CHECK(differences(describe_tree(source, "tree"), tree, {false, false}) == "");
    const mode_t mask = ::umask(0);
    ::umask(mask);
    for (const auto& [path, node] : tree) {
        INFO(path);
        const mode_t base = S_ISDIR(node.status.st_mode) ? 0777 : 0666;
        CHECK((node.status.st_mode & 07777U) == (base & ~mask));
        CHECK(node.status.st_mtim.tv_sec > 1'500'000'000);
    }
}

TEST_CASE("the first matching --include or --exclude decides") {
    const TempDir source;
    const TempDir destination;
    const ReceiverProcess receiver(destination.path());
    for (const char* const name : {"a.o", "keep.o", "a.c", "dir/b.o", "dir/b.c", "out/c.c"}) {
        source.write_file(std::string("tree/") + name, name);
    }
    require_success(send(receiver, {"--include", "keep.o", "--exclude", "*.o", "--exclude=out/",
                                    source.path("tree")}));
    const Tree tree = describe_tree(destination, "tree");
    std::vector<std::string> paths;
    for (const auto& [path, node] : tree) {
        paths.push_back(path);
    }
    CHECK(paths == std::vector<std::string>{".", "a.c", "dir", "dir/b.c", "keep.o"});
}

TEST_CASE("option --dry-run lists what would be sent and changes nothing") {
    const TempDir source;
    const TempDir destination;
    const ReceiverProcess receiver(destination.path());
    source.write_file("tree/new file", "x");
    source.write_file("tree/newer\nfile", random_bytes(kLarge, 1));
    source.write_file("tree/same", "same");
    source.symlink("same", "tree/link");
    source.set_mode("tree", 0700);
    std::string unchanged = "0";
    std::vector<std::string> expected = {"tree/new file", "tree/newer\\nfile", "tree/same"};
    SECTION("at a destination that does not exist") {}
    SECTION("at one that does") {
        destination.make_dir("into/tree");
        require_success(send(receiver, {source.path("tree/same")}, "into/tree"));
        source.set_mode("tree/same", 0600); // a mode would be put right otherwise
        expected.pop_back();
        unchanged = "1";
    }
    const Tree before = describe_tree(destination);
    const std::string path = "into/";
    const Finished sent = send(receiver, {"--dry-run", source.path("tree")}, path);
    require_success(sent);
    std::vector<std::string> listed = lines_of(sent.out);
    std::sort(listed.begin(), listed.end());
    CHECK(listed == expected);
    CHECK(contains(sent.err, "dry run"));
    CHECK(contains(sent.err, unchanged + " files unchanged"));
    CHECK(touched(before, describe_tree(destination)) == "");
}

TEST_CASE("option -z compresses text and leaves random data alone") {
    const TempDir source;
    const TempDir destination;
    const ReceiverProcess receiver(destination.path());
    const std::string level = GENERATE("-z", "--compress=19", "--compress=1");
    source.write_file("text/large", text_bytes(kLarge));
    source.write_file("text/small", text_bytes(20'000));
    source.write_file("random/large", random_bytes(kLarge, 1));
    source.write_file("random/small", random_bytes(20'000, 2));

    const Finished text = send(receiver, {level, "-J", source.path("text")});
    require_success(text);
    const Json of_text = last_event(text.out, "summary");
    CHECK(of_text["sender"]["bytes"]["zstd"] == kLarge + 20'000);
    CHECK(of_text["receiver"]["bytes"]["zstd"] == kLarge + 20'000);
    CHECK(of_text["sender"]["zstd_bytes_on_wire"].get<std::size_t>() < kLarge / 4);

    const Finished random = send(receiver, {level, "-J", source.path("random")});
    require_success(random);
    const Json of_random = last_event(random.out, "summary");
    CHECK(of_random["sender"]["bytes"]["zstd"] == 0);
    CHECK(of_random["sender"]["bytes"]["inline"] == 20'000);
    CHECK(of_random["sender"]["zstd_bytes_on_wire"] == 0);

    const Finished again = send(receiver, {level, "--ignore-times", source.path("random")});
    require_success(again);
    CHECK_FALSE(contains(again.err, "zstd"));
    CHECK(differences(describe_tree(source), describe_tree(destination), {true, false}) == "");
}

TEST_CASE("every pair of paths carries the same bytes, and the accounts say which it was") {
    const std::string send_path = GENERATE("auto", "sendfile", "copy");
    const std::string receive_path = GENERATE("auto", "splice", "copy");
    const TempDir source;
    const TempDir destination;
    ReceiverProcess receiver(destination.path(), {"--receive-path", receive_path, "-J"});
    INFO(send_path << " to " << receive_path);
    source.write_file("tree/large", random_bytes(kLarge, 1));
    source.write_file("tree/small", "four");
    const Finished sent = send(receiver, {"--send-path", send_path, "-J", source.path("tree")});
    require_success(sent);
    CHECK(differences(describe_tree(source, "tree"), describe_tree(destination, "tree")) == "");

    const Json summary = last_event(sent.out, "summary");
    const Json& from = summary["sender"]["bytes"];
    const Json& to = summary["receiver"]["bytes"];
    CHECK(from["inline"] == 4);
    CHECK(to["inline"] == 4);
    CHECK(from["sendfile"].get<std::size_t>() + from["copied"].get<std::size_t>() == kLarge);
    CHECK(to["splice"].get<std::size_t>() + to["copied"].get<std::size_t>() == kLarge);
    if (send_path != "auto") {
        CHECK(from[send_path == "copy" ? "copied" : "sendfile"] == kLarge);
    }
    if (receive_path != "auto") {
        CHECK(to[receive_path == "copy" ? "copied" : "splice"] == kLarge);
    }
    CHECK(receiver.stop() == 0);
    const Json ended = last_event(receiver.process().out(), "session_ended");
    CHECK(ended["bytes"]["spliced"] == to["splice"]);
    CHECK(ended["bytes"]["copied"] == to["copied"]);
}

TEST_CASE("the summary for people names the paths as well") {
    const TempDir source;
    const TempDir destination;
    const ReceiverProcess receiver(destination.path(), {"--receive-path", "splice"});
    source.write_file("large", random_bytes(kLarge, 1));
    const Finished sent = send(receiver, {"--send-path", "sendfile", source.path("large")});
    require_success(sent);
    CHECK(sent.out.empty());
    CHECK(contains(sent.err, "sent 3.15 MB in 1 files"));
    CHECK(contains(sent.err, "sendfile 3.15 MB"));
    CHECK(contains(sent.err, "splice 3.15 MB"));
}

TEST_CASE("option --quiet prints nothing when all goes well") {
    const TempDir source;
    const TempDir destination;
    const ReceiverProcess receiver(destination.path());
    source.write_file("file", "x");
    const Finished sent = send(receiver, {"-q", source.path("file")});
    CHECK(sent.code == 0);
    CHECK(sent.out.empty());
    CHECK(sent.err.empty());
}

TEST_CASE("events tell of files that failed, and of what a dry run would send") {
    const TempDir source;
    const TempDir destination;
    const ReceiverProcess receiver(destination.path());
    source.write_file("tree/file", "x");
    const Finished dry = send(receiver, {"-J", "-n", source.path("tree")});
    require_success(dry);
    const std::vector<Json> would = events_of(dry.out);
    REQUIRE(would.size() == 2);
    CHECK(would[0]["event"] == "would_send");
    CHECK(would[0]["path"] == "tree/file");
    CHECK(would[0]["bytes"] == 1);
    CHECK(would[1]["would_send_files"] == 1);
    CHECK(would[1]["would_send_bytes"] == 1);

    destination.write_file("tree/file/in-the-way", "x");
    const Finished failed = send(receiver, {"-J", source.path("tree")});
    CHECK(failed.code == 23);
    const std::vector<Json> events = events_of(failed.out);
    REQUIRE(events.size() == 2);
    CHECK(events[0]["event"] == "file_failed");
    CHECK(contains(events[0]["message"], "tree/file"));
    CHECK(events[1]["event"] == "summary");
    CHECK(events[1]["exit_code"] == 23);
    CHECK(events[1]["failed"] == 1);
}

TEST_CASE("transfers work over IPv6") {
    if (!listen_tcp("::1", 0)) {
        std::cout << "skipped: no IPv6 loopback\n";
        return;
    }
    const TempDir source;
    const TempDir destination;
    source.write_file("file", random_bytes(1'000'000, 1));
    const ReceiverProcess receiver(destination.path(), {"--listen", "::1"});
    CHECK(run({kSendProgram, "-p", receiver.port(), source.path("file"), "[::1]:dir/"}).code == 0);
    CHECK(run({kSendProgram, source.path("file"), "sluice://[::1]:" + receiver.port() + "/url"})
              .code == 0);
    CHECK(destination.read_file("dir/file") == source.read_file("file"));
    CHECK(destination.read_file("url") == source.read_file("file"));
}
