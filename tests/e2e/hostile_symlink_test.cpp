// Symbolic links that lead out of the receiver's directory: planted there before, pushed by the
// sender itself, or swapped in while it pushes.
#include "tests/e2e/hostile.hpp"

#include <atomic>
#include <cstdio>
#include <thread>

using namespace sluice;
using namespace sluice::test;

namespace {

constexpr std::uint64_t kLargeBytes = 100'000;

proto::Bytes link_frame(std::string_view path, std::string_view target) {
    return batch_frame(proto::RecordKind::symlink, path, target, 0777);
}
proto::Bytes directory_frame(std::string_view path) {
    return batch_frame(proto::RecordKind::directory, path, "");
}

// A file as one extent.
void send_large(RawPeer& data, std::uint64_t id, std::string_view path) {
    data.send(extent_frame(extent_of(id, path, kLargeBytes)));
    data.send(proto::Bytes(kLargeBytes, std::byte{'L'}));
}

// Everything that can be stored, with `path` as its name or, ending in a slash, before its name.
// The large file has the id 1.
std::uint64_t send_everything(RawPeer& data, const std::string& path) {
    const bool below = path.ends_with('/');
    data.send(file_frame(below ? path + "f" : path, "pushed"));
    data.send(directory_frame(below ? path + "d" : path));
    data.send(link_frame(below ? path + "l" : path, "/etc/passwd"));
    send_large(data, 1, below ? path + "g" : path);
    return 2; // files
}

} // namespace

TEST_CASE("nothing is stored below a directory that is a symbolic link") {
    Sandbox sandbox;
    sandbox.outer().symlink("../outside", "inbox/dir");
    sandbox.outer().symlink(sandbox.outside(), "inbox/absolute");
    sandbox.outer().symlink("dir", "inbox/twice");
    for (const std::string parent : {"dir/", "absolute/", "twice/", "dir/deep/", "dir/new/sub/"}) {
        INFO("below " << parent);
        RawSession session(sandbox.receiver());
        DataPeer data = session.join();
        const std::uint64_t files = send_everything(data, parent);
        session.end(data, {1});
        CHECK(describe(session.finish(files)) == "Done");
        for (const char* const name : {"f", "d", "l", "g"}) {
            INFO(name);
            REQUIRE(session.failed.count(parent + name) == 1);
            CHECK(session.failed[parent + name] == proto::FileFault::refused);
        }
    }
    sandbox.check_survived();
    CHECK(sandbox.outer().read_link("inbox/dir") == "../outside");
}

TEST_CASE("an offer below a symbolic link does not tell what is there") {
    Sandbox sandbox;
    sandbox.outer().symlink("../outside/deep", "inbox/dir");
    sandbox.outer().symlink("../outside/deep/file", "inbox/file");
    const struct stat there = sandbox.outer().status("outside/deep/file");
    RawSession session(sandbox.receiver());
    proto::Offer offer;
    for (const char* const path : {"dir/file", "file"}) {
        offer.entries.push_back(
            {static_cast<std::uint64_t>(there.st_size), {there.st_mtim.tv_sec, 0}, 0600, 0, path});
    }
    REQUIRE(session.control.send_message(offer));
    Frame frame;
    const auto verdict =
        session.control.receive_message<proto::Verdict>(proto::FrameType::verdict, frame);
    CHECK(verdict.wanted[0] == std::byte{3}); // both: neither is a regular file of the receiver's
    session.control.close();
    sandbox.check_survived();
}

TEST_CASE("a destination that is a symbolic link, or below one, is refused") {
    Sandbox sandbox;
    sandbox.outer().symlink("../outside", "inbox/dir");
    sandbox.outer().symlink("nowhere", "inbox/dangling");
    const TempDir source;
    source.write_file("tree/file", "pushed");
    for (const std::string path :
         {"dir", "dir/", "dir/deep", "dir/new", "dangling", "dangling/", "dangling/x"}) {
        INFO("destination " << path);
        for (const char* const what : {"tree", "tree/"}) {
            const Finished sent = send(sandbox.receiver(), {source.path(what)}, path);
            CHECK(sent.code == 5);
            CHECK(sent.err.find("symbolic link") != std::string::npos);
        }
    }
    CHECK(sandbox.outer().read_link("inbox/dangling") == "nowhere");
    sandbox.check_survived();
}

TEST_CASE("a single file sent to the name of a symbolic link is not written through it") {
    Sandbox sandbox;
    const TempDir source;
    source.write_file("file", "pushed");
    for (const char* const target : {"../outside", "../outside/deep/file", "nowhere", "../new"}) {
        INFO("a link to " << target);
        for (const char* const path : {"link", "link/", "link/x"}) {
            sandbox.outer().remove("inbox/link");
            sandbox.outer().symlink(target, "inbox/link");
            const Finished sent = send(sandbox.receiver(), {source.path("file")}, path);
            INFO(path << ": " << sent.err);
            CHECK((sent.code == 5 || std::string_view(path) == "link"));
            CHECK((sent.code == 5 || S_ISREG(sandbox.outer().status("inbox/link").st_mode)));
            sandbox.check_outside_untouched();
        }
    }
    sandbox.check_survived();
}

TEST_CASE("a symbolic link in the place of a file is replaced, not followed") {
    Sandbox sandbox;
    for (const char* const target : {"../outside/deep/file", "../outside", "nowhere", "../new"}) {
        INFO("a link to " << target);
        sandbox.outer().symlink(target, "inbox/small");
        sandbox.outer().symlink(target, "inbox/large");
        sandbox.outer().symlink(target, "inbox/link");
        RawSession session(sandbox.receiver());
        DataPeer data = session.join();
        data.send(file_frame("small", "pushed"));
        send_large(data, 1, "large");
        data.send(link_frame("link", "elsewhere"));
        session.end(data, {1});
        CHECK(describe(session.finish(2)) == "Done");
        CHECK(session.failed.empty());
        CHECK(S_ISREG(sandbox.outer().status("inbox/small").st_mode));
        CHECK(sandbox.outer().read_file("inbox/small") == "pushed");
        CHECK(S_ISREG(sandbox.outer().status("inbox/large").st_mode));
        CHECK(sandbox.outer().status("inbox/large").st_size == kLargeBytes);
        CHECK(sandbox.outer().read_link("inbox/link") == "elsewhere");
        for (const char* const name : {"inbox/small", "inbox/large", "inbox/link"}) {
            sandbox.outer().remove(name);
        }
    }
    sandbox.check_survived();
}

TEST_CASE("a symbolic link in the place of a directory is refused, its mode and time are kept") {
    Sandbox sandbox;
    sandbox.outer().symlink("../outside", "inbox/dir");
    RawSession session(sandbox.receiver());
    DataPeer data = session.join();
    data.send(directory_frame("dir"));
    session.end(data);
    CHECK(describe(session.finish(0)) == "Done");
    CHECK(session.failed["dir"] == proto::FileFault::refused);
    sandbox.check_survived();
}

TEST_CASE("nothing is stored below a symbolic link that the sender pushed itself") {
    Sandbox sandbox;
    const std::string up = GENERATE("../outside", "../../outside", "/");
    const std::string place = GENERATE("", "new/", "old/");
    const bool two_connections = GENERATE(false, true);
    INFO("link to " << up << " in '" << place << "', on two connections: " << two_connections);
    sandbox.outer().make_dir("inbox/old");
    const std::string target = up == "/" ? sandbox.outside() : up;
    RawSession session(sandbox.receiver());
    DataPeer first = session.join(0);
    DataPeer second = session.join(1);
    first.send(link_frame(place + "sub", target));
    RawPeer& data = two_connections ? second : first;
    const std::uint64_t files = send_everything(data, place + "sub/");
    session.end(first);
    session.end(second, {1});
    CHECK(describe(session.finish(files)) == "Done");
    if (!two_connections) {
        CHECK(session.failed.size() == 4);
    } // otherwise the directory may have come first, and then the link failed
    sandbox.check_survived();
}

TEST_CASE("a pushed symbolic link may be replaced by a file but not by a directory") {
    Sandbox sandbox;
    const std::string place = GENERATE("", "new/", "old/");
    sandbox.outer().make_dir("inbox/old");
    RawSession session(sandbox.receiver());
    DataPeer data = session.join();
    data.send(link_frame(place + "a", "../../outside/deep/file"));
    data.send(file_frame(place + "a", "pushed"));
    data.send(link_frame(place + "b", "../../outside"));
    data.send(directory_frame(place + "b"));
    session.end(data);
    CHECK(describe(session.finish(1)) == "Done");
    CHECK(sandbox.outer().read_file("inbox/" + place + "a") == "pushed");
    CHECK(sandbox.outer().read_link("inbox/" + place + "b") == "../../outside");
    CHECK(session.failed[place + "b"] == proto::FileFault::refused);
    sandbox.check_survived();
}

TEST_CASE("a planted symbolic link in the place of the work area is not followed") {
    Sandbox sandbox;
    sandbox.outer().symlink("../outside", "inbox/.sluice");
    const TempDir source;
    source.write_file("tree/file", "pushed");
    const Finished sent = send(sandbox.receiver(), {source.path("tree")});
    CHECK(sent.code != 0);
    CHECK(sent.err.find(".sluice") != std::string::npos);
    sandbox.check_outside_untouched();
    CHECK(sandbox.outer().read_link("inbox/.sluice") == "../outside");
    sandbox.outer().remove("inbox/.sluice");
    sandbox.check_survived();

    sandbox.outer().symlink("../outside", "inbox/.sluice");
    const Finished second = run({kRecvProgram, "--port", "0", "--once", sandbox.inbox()});
    CHECK(second.code == 5);
    CHECK(second.err.find(".sluice") != std::string::npos);
    sandbox.check_outside_untouched();
}

TEST_CASE("symbolic links that are swapped in while files arrive lead nothing outside") {
    constexpr int kPushes = 40;
    Sandbox sandbox;
    const TempDir source;
    for (int directory = 0; directory < 20; ++directory) {
        const std::string parent = "tree/dir/" + std::to_string(directory) + '/';
        source.write_file(parent + "small", "pushed");
        source.write_file(parent + "large", std::string(kLargeBytes, 'L'));
        source.symlink("small", parent + "link");
    }
    sandbox.outer().make_dir("inbox/tree/dir");
    sandbox.outer().make_dir("inbox/spare");
    sandbox.outer().symlink(sandbox.outside(), "inbox/to-outside");
    const std::string to_outside = sandbox.inbox("to-outside");
    const std::vector<std::string> victims{sandbox.inbox("tree"), sandbox.inbox("tree/dir"),
                                           sandbox.inbox(".sluice")};
    std::atomic<bool> stop{false};
    std::atomic<std::uint64_t> swaps{0};
    // Catch2's assertions belong to the main thread.
    std::thread swapper([&] {
        const auto exchange = [&](const std::string& victim) {
            return ::renameat2(AT_FDCWD, to_outside.c_str(), AT_FDCWD, victim.c_str(),
                               RENAME_EXCHANGE) == 0;
        };
        for (std::size_t turn = 0; !stop; ++turn) {
            const std::string& victim = victims[turn % victims.size()];
            if (exchange(victim)) {
                ++swaps;
                while (!exchange(victim) && !stop) { // it is a directory again
                }
            }
        }
    });
    for (int push = 0; push < kPushes; ++push) {
        static_cast<void>(send(sandbox.receiver(), {"--ignore-times", source.path("tree")},
                               push % 2 == 0 ? "" : "tree/dir/"));
    }
    stop = true;
    swapper.join();
    CHECK(swaps > 0);
    sandbox.check_outside_untouched();
    // What the swaps left behind is nobody's; with it out of the way everything works again.
    sandbox.outer().remove("inbox");
    sandbox.check_outside_untouched();
}
