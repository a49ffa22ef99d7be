#include "sender/destination.hpp"

#include <catch2/catch.hpp>
#include <string>

using Catch::Matchers::Contains;
using sluice::parse_destination;

namespace {

struct Good {
    std::string text;
    std::string host;
    std::optional<std::uint16_t> port;
    std::string path;
};

void check_good(const Good& expected) {
    INFO(expected.text);
    const auto result = parse_destination(expected.text);
    if (!result) {
        FAIL_CHECK(result.error().message);
        return;
    }
    CHECK(result->host == expected.host);
    CHECK(result->port == expected.port);
    CHECK(result->path == expected.path);
}

void check_bad(const std::string& text, const std::string& advice) {
    INFO(text);
    const auto result = parse_destination(text);
    REQUIRE_FALSE(result);
    CHECK(result.error().kind == sluice::ErrorKind::usage);
    CHECK_THAT(result.error().message, Contains(advice));
    CHECK(result.error().message.find('\n') == std::string::npos);
}

} // namespace

TEST_CASE("destination takes HOST:PATH", "[destination]") {
    check_good({"host:", "host", {}, ""});
    check_good({"host:file", "host", {}, "file"});
    check_good({"host.example.org:a/b", "host.example.org", {}, "a/b"});
    check_good({"127.0.0.1:x", "127.0.0.1", {}, "x"});
    check_good({"my_host-2:7722", "my_host-2", {}, "7722"}); // a name, as scp has it
    check_good({"h:a:b", "h", {}, "a:b"});
    check_good({"h:with space\nand \xff", "h", {}, "with space\nand \xff"});
    check_good({"h:100%41", "h", {}, "100%41"}); // only URLs are decoded
    check_good({"h:a://b", "h", {}, "a:/b"});
    check_good({"h:a?b#c", "h", {}, "a?b#c"});
    check_good({"h:-x", "h", {}, "-x"});
}

TEST_CASE("destination takes IPv6 addresses in brackets", "[destination]") {
    check_good({"[::1]:x", "::1", {}, "x"});
    check_good({"[2001:db8::1]:", "2001:db8::1", {}, ""});
    check_good({"[fe80::1%eth0]:a/b/", "fe80::1%eth0", {}, "a/b/"});
    check_good({"sluice://[::1]/x", "::1", {}, "x"});
    check_good({"sluice://[::1]:99/x", "::1", 99, "x"});
    check_good({"sluice://[::1]", "::1", {}, ""});
    check_good({"sluice://[fe80::1%25eth0]:5/x", "fe80::1%eth0", 5, "x"});
    check_good({"sluice://[fe80::1%eth0]/x", "fe80::1%eth0", {}, "x"}); // as people write it
}

TEST_CASE("destination takes URLs", "[destination]") {
    check_good({"sluice://host", "host", {}, ""});
    check_good({"sluice://host/", "host", {}, ""});
    check_good({"SLUICE://host/x", "host", {}, "x"});
    check_good({"sluice://host:7723", "host", 7723, ""});
    check_good({"sluice://host:1/a/b/", "host", 1, "a/b/"});
    check_good({"sluice://host:65535/a", "host", 65535, "a"});
    check_good({"sluice://host/a%20b%0a%ff%25", "host", {}, "a b\n\xff%"});
    check_good({"sluice://host/a:b@c", "host", {}, "a:b@c"});
}

TEST_CASE("destination keeps a slash at the end and tidies the rest of the path", "[destination]") {
    check_good({"h:a/", "h", {}, "a/"});
    check_good({"h:a//", "h", {}, "a/"});
    check_good({"h:./a", "h", {}, "a"});
    check_good({"h:a//b", "h", {}, "a/b"});
    check_good({"h:a/./b/.", "h", {}, "a/b/"});
    check_good({"h:.", "h", {}, ""});
    check_good({"h:./", "h", {}, ""});
    check_good({"h:././/.", "h", {}, ""});
    check_good({"h:...", "h", {}, "..."});
    check_good({"h:./:x", "h", {}, ":x"});
    check_good({"h:..a/.b", "h", {}, "..a/.b"});
    check_good({"sluice://h/%2e/a", "h", {}, "a"});
}

TEST_CASE("destination without a host asks for one", "[destination]") {
    check_bad("", "to which host?");
    check_bad("backup", "to which host?");
    check_bad("dir/file", "to which host?");
    check_bad("./a:b", "to which host?"); // a local name with a colon
    check_bad("/a:b", "to which host?");
    check_bad(":path", "to which host?");
    check_bad("sluice://", "to which host?");
    check_bad("sluice:///path", "to which host?");
    check_bad("sluice://:80/path", "to which host?");
}

TEST_CASE("destination asks for brackets around an IPv6 address", "[destination]") {
    check_bad("::1", "put the address in brackets: [::1]:PATH");
    check_bad("::1:x", "put the address in brackets: [::1]:PATH");
    check_bad("fe80::1%eth0:x", "put the address in brackets: [fe80::1%eth0]:PATH");
    check_bad("1:2:3:4:5:6:7:8:dir/x", "put the address in brackets: [1:2:3:4:5:6:7:8]:PATH");
    check_bad("sluice://::1/x", "put the address in brackets: sluice://[::1]/PATH");
    check_bad("sluice://2001:db8::5:80/x", "put the address in brackets");
}

TEST_CASE("destination explains what is wrong with brackets", "[destination]") {
    check_bad("[::1", "not closed");
    check_bad("[::1]", "a colon has to follow");
    check_bad("[::1]x", "a colon has to follow");
    check_bad("[]:x", "not an IPv6 address");
    check_bad("[host]:x", "not an IPv6 address");
    check_bad("[127.0.0.1]:x", "not an IPv6 address");
    check_bad("[::1%]:x", "not an IPv6 address");
    check_bad("[::1%a\nb]:x", "not an IPv6 address");
    check_bad("sluice://[::1/x", "not closed");
    check_bad("sluice://[::1]x/y", "has to follow the bracket");
}

TEST_CASE("destination refuses paths that lead out of the receiver's directory", "[destination]") {
    check_bad("h:/etc/passwd", "the path is absolute");
    check_bad("h://x", "unknown scheme \"h\"");
    check_bad("h:../x", "\"..\" cannot be in the path");
    check_bad("h:a/..", "\"..\" cannot be in the path");
    check_bad("h:a/../b", "\"..\" cannot be in the path");
    check_bad("sluice://h//x", "the path is absolute");
    check_bad("sluice://h/a/%2e%2E/b", "\"..\" cannot be in the path");
    check_bad("sluice://h/a%2fb", "%2F cannot be in a name");
}

TEST_CASE("destination refuses paths that the protocol cannot carry", "[destination]") {
    check_bad("h:" + std::string(256, 'x'), "too long");
    std::string longest = "a";
    while (longest.size() < 4095) {
        longest += "/a";
    }
    check_good({"h:" + longest, "h", {}, longest});
    check_bad("h:" + longest + "a", "too long");
    check_bad("h:" + longest + "/", "too long");
    check_bad("h:.sluice/x", "reserved");
    check_good({"h:x/.sluice", "h", {}, "x/.sluice"});
}

TEST_CASE("destination refuses NUL bytes", "[destination]") {
    check_bad(std::string("h:a\0b", 5), "NUL");
    check_bad(std::string("h\0:b", 4), "NUL");
    check_bad("sluice://h/a%00b", "%00");
}

TEST_CASE("destination refuses bad ports", "[destination]") {
    for (const char* port :
         {"", "0", "65536", "-1", "+1", "x", "1x", " 1", "999999999999999999999", "80:80"}) {
        check_bad("sluice://h:" + std::string(port) + "/x", "is not a port");
    }
    check_bad("sluice://[::1]:/x", "is not a port");
}

TEST_CASE("destination refuses unknown schemes and says which there is", "[destination]") {
    check_bad("rsync://h/x", "unknown scheme \"rsync\"");
    check_bad("rsync://h/x", "sluice://HOST[:PORT]/PATH");
    check_bad("sluices://h/x", "unknown scheme");
    check_bad("sluic://h/x", "unknown scheme");
    check_bad("://h/x", "unknown scheme");
}

TEST_CASE("destination refuses broken percent-encoding, queries and fragments", "[destination]") {
    check_bad("sluice://h/%", "hexadecimal");
    check_bad("sluice://h/a%2", "hexadecimal");
    check_bad("sluice://h/%zz", "hexadecimal");
    check_bad("sluice://h/%+1", "hexadecimal");
    check_bad("sluice://h/a?b", "written %3F");
    check_bad("sluice://h/a#b", "written %23");
    check_bad("sluice://h?b", "written %3F");
}

TEST_CASE("destination refuses what means something to other programs only", "[destination]") {
    check_bad("user@h:x", "leave out \"user@\"");
    check_bad("sluice://user@h/x", "leave out \"user@\"");
    check_bad("sluice://user:word@h/x", "knows no users");
    check_bad("h::module/x", "no modules");
}

TEST_CASE("destination refuses bytes that no host name holds, and prints them escaped",
          "[destination]") {
    check_bad("a b:x", "\" \" cannot be in a host name");
    check_bad("a\x1b[31m:x", "\\x1b");
    check_bad("a\nb:x", "\\n");
    check_bad(std::string(256, 'h') + ":x", "longer than");
    check_good({"b\xc3\xbc"
                "cher.example:x",
                "b\xc3\xbc"
                "cher.example",
                {},
                "x"});
}
