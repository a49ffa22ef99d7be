// Names that try to leave the receiver's directory, in every place where a name can be.
#include "tests/e2e/hostile.hpp"

using namespace sluice;
using namespace sluice::test;

namespace {

struct BadName {
    std::string name;
    std::string why; // part of what the receiver says
};

std::vector<BadName> bad_names(const Sandbox& sandbox) {
    const std::string dots = "path component is '.' or '..'";
    std::string long_path;
    while (long_path.size() < 5000) {
        long_path += "component/";
    }
    return {
        {"../x", dots},
        {"..", dots},
        {"a/../../x", dots},
        {"a/..", dots},
        {".", dots},
        {"a/./b", dots},
        {sandbox.outer().path("planted"), "path is absolute"},
        {"/", "path is absolute"},
        {"a//b", "path has an empty component"},
        {std::string("a\0b", 3), "path contains a NUL byte"},
        {std::string("a/../\0", 6), "path contains a NUL byte"},
        {std::string(300, 'n'), "too long"},
        {"a/" + std::string(300, 'n'), "too long"},
        {long_path + "x", "long"},
        {".sluice", "reserved"},
        {".sluice/x", "reserved"},
        {".sluice/../x", "reserved"},
    };
}

proto::Bytes open_frame(std::string_view destination, std::string_view root) {
    FrameBuilder open;
    open.u32(proto::kOpenPreserve).u16(1).zeros(proto::kTokenBytes + 8).string(destination);
    open.u16(1).string(root).string("test");
    return open.frame(proto::FrameType::open);
}

proto::Bytes offer_frame(std::string_view path) {
    FrameBuilder offer;
    offer.u64(1).u16(1).u64(3).u64(0).u32(0).u32(0644).u64(7).string(path);
    return offer.frame(proto::FrameType::offer);
}

Refusal after_opening_with(Sandbox& sandbox, const proto::Bytes& open) {
    RawPeer control = RawPeer::connect(sandbox.receiver().port(), proto::Role::control);
    control.send(open);
    return read_refusal(control);
}

Refusal after_control_frame(Sandbox& sandbox, const proto::Bytes& frame) {
    RawSession session(sandbox.receiver());
    session.control.send(frame);
    return read_refusal(session.control);
}

// Something good goes first: it must not stay either.
Refusal after_data_frame(Sandbox& sandbox, const proto::Bytes& frame) {
    RawSession session(sandbox.receiver());
    DataPeer data = session.join();
    data.send(file_frame("good/file", "content"));
    data.send(frame);
    const Refusal refusal = read_refusal(session.control);
    CHECK(read_refusal(data).code == -1); // is closed as well
    return refusal;
}

using Attempt = std::function<Refusal(Sandbox&, const std::string& name)>;

void check_refused_everywhere(const Attempt& attempt) {
    Sandbox sandbox;
    for (const BadName& bad : bad_names(sandbox)) {
        INFO("name '" << bad.name.substr(0, 60) << "', " << bad.name.size() << " bytes");
        const Refusal refusal = attempt(sandbox, bad.name);
        INFO("the receiver says: " << refusal.code << ' ' << refusal.text);
        CHECK((refusal.code == 5 || refusal.code == 12));
        CHECK(refusal.text.find(bad.why) != std::string::npos);
    }
    sandbox.check_outside_untouched();
    sandbox.check_nothing_left();
    CHECK(sandbox.outer().list("inbox").empty());
    sandbox.check_survived();
}

Attempt batch_attempt(proto::RecordKind kind, std::string_view content) {
    return [=](Sandbox& sandbox, const std::string& name) {
        return after_data_frame(sandbox, batch_frame(kind, name, content));
    };
}

} // namespace

TEST_CASE("a destination that is no good name is refused") {
    check_refused_everywhere([](Sandbox& sandbox, const std::string& name) {
        return after_opening_with(sandbox, open_frame(name, ""));
    });
}

TEST_CASE("a root that is no good name is refused") {
    check_refused_everywhere([](Sandbox& sandbox, const std::string& name) {
        return after_opening_with(sandbox, open_frame("", name));
    });
}

TEST_CASE("an offer of a file that has no good name is refused") {
    check_refused_everywhere([](Sandbox& sandbox, const std::string& name) {
        return after_control_frame(sandbox, offer_frame(name));
    });
}

TEST_CASE("a directory record that has no good name is refused") {
    check_refused_everywhere(batch_attempt(proto::RecordKind::directory, ""));
}

TEST_CASE("a symbolic link record that has no good name is refused") {
    check_refused_everywhere(batch_attempt(proto::RecordKind::symlink, "target"));
}

TEST_CASE("a file record that has no good name is refused") {
    check_refused_everywhere(batch_attempt(proto::RecordKind::file, "content"));
}

TEST_CASE("an extent of a file that has no good name is refused") {
    check_refused_everywhere([](Sandbox& sandbox, const std::string& name) {
        return after_data_frame(sandbox, extent_frame(extent_of(1, name, 100'000)));
    });
}

TEST_CASE("an empty name is refused for all but the destination itself") {
    Sandbox sandbox;
    for (const proto::Bytes& frame : {batch_frame(proto::RecordKind::file, "", "content"),
                                      batch_frame(proto::RecordKind::symlink, "", "target"),
                                      extent_frame(extent_of(1, "", 100'000))}) {
        const Refusal refusal = after_data_frame(sandbox, frame);
        CHECK(refusal.code == 12);
        CHECK(refusal.text.find("path is empty") != std::string::npos);
    }
    CHECK(after_control_frame(sandbox, offer_frame("")).code == 12);
    sandbox.check_survived();
}

TEST_CASE("a root of two components is refused") {
    Sandbox sandbox;
    CHECK(after_opening_with(sandbox, open_frame("", "a/b")).code == 12);
    sandbox.check_survived();
}

TEST_CASE("the sender refuses a destination outside the receiver's directory as a usage error") {
    Sandbox sandbox;
    const TempDir source;
    source.write_file("file", "content");
    const std::string absolute = sandbox.outer().path("planted");
    for (const std::string& path :
         {std::string("../x"), std::string(".."), std::string("a/../../x"), absolute,
          std::string(".sluice"), std::string(".sluice/x"), std::string("./.sluice/x"),
          std::string(300, 'n'), std::string(5000, 'n')}) {
        INFO("destination path '" << path.substr(0, 60) << "'");
        const Finished sent = send(sandbox.receiver(), {source.path("file")}, path);
        CHECK(sent.code == 1);
        CHECK(sent.err.find("destination") != std::string::npos);
        CHECK(std::count(sent.err.begin(), sent.err.end(), '\n') == 1);
    }
    CHECK(sandbox.outer().list("inbox").empty());
    sandbox.check_survived();
}

TEST_CASE("names that only look dangerous are stored as they are") {
    Sandbox sandbox;
    const std::vector<std::string> names{"...",       "..a",         "a..",
                                         ".sluices",  "sub/.sluice", "-rf",
                                         "new\nline", "\x1b[31mred", std::string(255, 'n')};
    RawSession session(sandbox.receiver());
    DataPeer data = session.join();
    for (const std::string& name : names) {
        REQUIRE(data.send(file_frame(name, "content of " + name)));
    }
    session.end(data);
    REQUIRE(describe(session.finish(names.size())) == "Done");
    for (const std::string& name : names) {
        CHECK(sandbox.outer().read_file("inbox/" + name) == "content of " + name);
    }
    sandbox.check_survived();
}
