#include "sender/filter.hpp"

#include <catch2/catch.hpp>
#include <chrono>
#include <string>
#include <string_view>
#include <vector>

using sluice::Filter;

namespace {

struct Row {
    std::vector<std::string> rules; // "-PATTERN" excludes, "+PATTERN" includes
    std::string path;               // a slash at the end: a directory
    bool excluded = false;
};

Filter make_filter(const std::vector<std::string>& rules) {
    Filter filter;
    for (const std::string& rule : rules) {
        if (rule.front() == '+') {
            filter.include(rule.substr(1));
        } else {
            filter.exclude(rule.substr(1));
        }
    }
    return filter;
}

bool excludes(const Filter& filter, std::string_view path) {
    const bool directory = path.ends_with('/');
    path.remove_suffix(directory ? 1 : 0);
    return filter.excludes(path, directory);
}

void check(const std::vector<Row>& rows) {
    for (const Row& row : rows) {
        std::string rules;
        for (const std::string& rule : row.rules) {
            rules += rule + "  ";
        }
        INFO(rules << "on  " << row.path);
        CHECK(excludes(make_filter(row.rules), row.path) == row.excluded);
    }
}

bool matches(const std::string& pattern, std::string_view path) {
    return excludes(make_filter({"-" + pattern}), path);
}

} // namespace

// Every row of the tables below was checked against rsync 3.5.

TEST_CASE("a pattern without a slash is held against the last component", "[filter]") {
    check({
        {{R"p(-foo)p"}, "foo", true},
        {{R"p(-foo)p"}, "a/foo", true},
        {{R"p(-foo)p"}, "a/foo/", true},
        {{R"p(-foo)p"}, "afoo", false},
        {{R"p(-foo)p"}, "foob", false},
        {{R"p(-*.o)p"}, "x.o", true},
        {{R"p(-*.o)p"}, "a/b/x.o", true},
        {{R"p(-*.o)p"}, "x.o.c", false},
        {{R"p(-*.o)p"}, ".o", true},
        {{R"p(-*)p"}, ".hidden", true},
        {{R"p(-?)p"}, "ab/c", true},
        {{R"p(-?)p"}, "ab", false},
        {{R"p(-??)p"}, "a/bc", true},
    });
}

TEST_CASE("a pattern with a slash inside is held against as many last components", "[filter]") {
    check({
        {{R"p(-foo/bar)p"}, "foo/bar", true},
        {{R"p(-foo/bar)p"}, "x/y/foo/bar", true},
        {{R"p(-foo/bar)p"}, "xfoo/bar", false},
        {{R"p(-foo/bar)p"}, "foo/barz", false},
        {{R"p(-foo/bar)p"}, "bar", false},
        {{R"p(-fo*/b?r)p"}, "x/foo/bar", true},
        {{R"p(-fo*/b?r)p"}, "foo/x/bar", false},
        {{R"p(-*/*)p"}, "foo", false},
        {{R"p(-foo/*/bar)p"}, "x/foo/y/bar", true},
        {{R"p(-foo/*/bar)p"}, "foo/bar", false},
        {{R"p(-foo/*/bar)p"}, "foo/y/z/bar", false},
    });
}

TEST_CASE("a leading slash anchors at the root of the transfer", "[filter]") {
    check({
        {{R"p(-/foo)p"}, "foo", true},
        {{R"p(-/foo)p"}, "a/foo", false},
        {{R"p(-/foo/bar)p"}, "foo/bar", true},
        {{R"p(-/foo/bar)p"}, "x/foo/bar", false},
        {{R"p(-/*)p"}, "foo", true},
        {{R"p(-/*/b)p"}, "foo/b", true},
        {{R"p(-/*/b)p"}, "foo/a/b", false},
        {{R"p(-/)p"}, "foo", false},
        {{R"p(-//foo)p"}, "foo", false},
    });
}

TEST_CASE("a trailing slash matches directories only", "[filter]") {
    check({
        {{R"p(-foo/)p"}, "foo/", true},
        {{R"p(-foo/)p"}, "foo", false},
        {{R"p(-foo/)p"}, "a/foo/", true},
        {{R"p(-/foo/)p"}, "foo/", true},
        {{R"p(-/foo/)p"}, "a/foo/", false},
        {{R"p(-foo//)p"}, "foo/", false},
        {{R"p(-*/)p"}, "foo/", true},
        {{R"p(-*/)p"}, "foo", false},
    });
}

TEST_CASE("a double star crosses slashes, a single one does not", "[filter]") {
    check({
        {{R"p(-/a*c)p"}, "a/c", false},      {{R"p(-/a**c)p"}, "a/c", true},
        {{R"p(-/a**c)p"}, "ab/x/bc", true},  {{R"p(-/a**c)p"}, "ac", true},
        {{R"p(-a**c)p"}, "x/a/c", true},     {{R"p(-a**c)p"}, "xa/c", false},
        {{R"p(-a/**/c)p"}, "a/b/c", true},   {{R"p(-a/**/c)p"}, "a/b/b/c", true},
        {{R"p(-a/**/c)p"}, "x/a/b/c", true}, {{R"p(-a/**/c)p"}, "a/c", false},
        {{R"p(-**/c)p"}, "c", true},         {{R"p(-**/c)p"}, "a/b/c", true},
        {{R"p(-**/c)p"}, "ac", false},       {{R"p(-/**/c)p"}, "c", false},
        {{R"p(-/**/c)p"}, "a/c", true},      {{R"p(-**.o)p"}, "a/b.o", true},
        {{R"p(-a/**)p"}, "a/b", true},       {{R"p(-a/**)p"}, "a/", false},
        {{R"p(-a/**)p"}, "x/a/b", true},     {{R"p(-a****c)p"}, "a/c", true},
        {{R"p(-**)p"}, "anything", true},
    });
}

TEST_CASE("three stars at the end match the directory and what is in it", "[filter]") {
    check({
        {{R"p(-dir/***)p"}, "dir/", true},
        {{R"p(-dir/***)p"}, "dir", false},
        {{R"p(-dir/***)p"}, "x/dir/", true},
        {{R"p(-/dir/***)p"}, "x/dir/", false},
        {{R"p(-/dir/***)p"}, "dir/", true},
        {{R"p(-/d*/***)p"}, "dir/", true},
        {{R"p(+dir/)p", R"p(-dir/***)p"}, "dir/x", true},
        {{R"p(+dir/)p", R"p(+a/)p", R"p(-dir/***)p"}, "dir/a/b", true},
        {{R"p(-dir/***/)p"}, "dir/", true},
        {{R"p(+dir/)p", R"p(-dir/***/)p"}, "dir/x", false},
        {{R"p(-dir***)p"}, "dirx/", true},
    });
}

TEST_CASE("brackets match one character of a class", "[filter]") {
    check({
        {{R"p(-[abc])p"}, "b", true},         {{R"p(-[abc])p"}, "d", false},
        {{R"p(-[!abc])p"}, "b", false},       {{R"p(-[^abc])p"}, "d", true},
        {{R"p(-[a-c]x)p"}, "bx", true},       {{R"p(-[a-c]x)p"}, "dx", false},
        {{R"p(-[]x])p"}, "]", true},          {{R"p(-[!]x])p"}, "y", true},
        {{R"p(-[a-])p"}, "-", true},          {{R"p(-[-a])p"}, "-", true},
        {{R"p(-[a-c-e])p"}, "-", true},       {{R"p(-[a-c-e])p"}, "d", false},
        {{R"p(-[\]])p"}, "]", true},          {{R"p(-[a\-c])p"}, "b", false},
        {{R"p(-[a\-c])p"}, "-", true},        {{R"p(-[c-a])p"}, "b", false},
        {{R"p(-[[:digit:]x])p"}, "7", true},  {{R"p(-[[:digit:]x])p"}, "x", true},
        {{R"p(-[[:digit:]x])p"}, "d", false}, {{R"p(-[![:alpha:]])p"}, "7", true},
        {{R"p(-[[:space:]])p"}, " ", true},   {{R"p(-[[:punct:]])p"}, "!", true},
        {{R"p(-[[:xdigit:]])p"}, "f", true},  {{R"p(-[[:upper:][:lower:]])p"}, "q", true},
        {{R"p(-[[:digit:]-z])p"}, "-", true}, {{R"p(-[[:a])p"}, ":", true},
        {{R"p(-[[])p"}, "[", true},           {{R"p(-/a[/]b)p"}, "a/b", false},
        {{R"p(-/a[!x]b)p"}, "a/b", false},    {{R"p(-/a[.-0]b)p"}, "a/b", false},
    });
}

TEST_CASE("a bracket that is not closed or names no class matches nothing", "[filter]") {
    check({
        {{R"p(-[ab)p"}, "a", false},
        {{R"p(-[ab)p"}, "[ab", false},
        {{R"p(-[])p"}, "[]", false},
        {{R"p(-[!])p"}, "a", false},
        {{R"p(-[[:nosuch:]])p"}, "n", false},
        {{R"p(-[a\)p"}, "a", false},
    });
}

TEST_CASE("a backslash escapes only in a pattern that holds a wildcard", "[filter]") {
    check({
        {{R"p(-a\b)p"}, "a\\b", true},
        {{R"p(-a\b)p"}, "ab", false},
        {{R"p(-a\b*)p"}, "ab", true},
        {{R"p(-a\b*)p"}, "a\\b", false},
        {{R"p(-a\\b*)p"}, "a\\bc", true},
        {{R"p(-\*)p"}, "*", true},
        {{R"p(-\*)p"}, "x", false},
        {{R"p(-\[x])p"}, "[x]", true},
        {{R"p(-*\)p"}, "a\\", false},
        {{R"p(-a\)p"}, "a\\", true},
        {{R"p(-\?)p"}, "?", true},
    });
}

TEST_CASE("the first pattern that matches decides", "[filter]") {
    check({
        {{R"p(+a.o)p", R"p(-*.o)p"}, "a.o", false},
        {{R"p(+a.o)p", R"p(-*.o)p"}, "b.o", true},
        {{R"p(-*.o)p", R"p(+a.o)p"}, "a.o", true},
        {{R"p(+*/)p", R"p(+*.c)p", R"p(-*)p"}, "d/x.c", false},
        {{R"p(+*/)p", R"p(+*.c)p", R"p(-*)p"}, "d/x.h", true},
        {{R"p(+*/)p", R"p(+*.c)p", R"p(-*)p"}, "d/", false},
        {{R"p(+foo/)p", R"p(+foo/bar.c)p", R"p(-*)p"}, "foo/bar.c", false},
        {{R"p(+foo/)p", R"p(+foo/bar.c)p", R"p(-*)p"}, "foo/x.c", true},
        {{R"p(+x)p"}, "y", false},
    });
}

TEST_CASE("without patterns nothing is excluded", "[filter]") {
    const Filter filter;
    CHECK(filter.empty());
    CHECK_FALSE(filter.excludes("a/b", false));
}

TEST_CASE("an empty pattern is ignored", "[filter]") {
    Filter filter;
    filter.exclude("");
    filter.include("");
    CHECK(filter.empty());
}

TEST_CASE("rsync's prefixes within a pattern have no meaning here", "[filter]") {
    CHECK(matches("- x", "- x"));
    CHECK_FALSE(matches("- x", "x"));
    CHECK(matches("+ x", "+ x"));
    CHECK(matches("!", "!"));
    CHECK(excludes(make_filter({"-x", "-!"}), "x"));
}

TEST_CASE("names are bytes: any but a slash matches a wildcard", "[filter]") {
    CHECK(matches("a?b", "a\xff"
                         "b"));
    CHECK(matches("a*b", "a\n\x80\xfe"
                         "b"));
    CHECK(matches("[\x80-\xff]", "\xc3"));
    CHECK_FALSE(matches("?", "\xc3\xa9")); // one character, but two bytes
    CHECK(matches("??", "\xc3\xa9"));
}

TEST_CASE("matching takes bounded time for patterns of many stars", "[filter]") {
    const auto begin = std::chrono::steady_clock::now();
    const std::string name(255, 'a');
    std::string path = name;
    for (int i = 0; i < 3; ++i) {
        path += '/' + name;
    }
    std::string stars;
    std::string double_stars;
    std::string mixed;
    for (int i = 0; i < 30; ++i) {
        stars += "a*";
        double_stars += "a**";
        mixed += "**a*[a-z]*";
    }
    CHECK_FALSE(matches(stars + "b", name));
    CHECK(matches(stars + "a", name));
    CHECK_FALSE(matches("/" + double_stars + "b", path));
    CHECK_FALSE(matches(double_stars + "b", path));
    CHECK_FALSE(matches(mixed + "b", path));
    CHECK(matches(mixed + "a", path));
    // Exponential matching would take longer than the universe has lasted.
    CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(20));
}

TEST_CASE("earlier stars are given another chance where it matters", "[filter]") {
    CHECK(matches("*ab*ab", "abxabab"));
    CHECK(matches("/**/a*b", "x/axc/ab"));
    CHECK(matches("/**a/*b", "a/a/xb"));
    CHECK(matches("/**a*/b", "ax/c/ay/b"));
    CHECK(matches("/*/**/*.c", "a/b/c/d.c"));
    CHECK_FALSE(matches("/*/x*y", "a/b/xy"));
    CHECK(matches("/**x*z**y", "x/xz/a/y"));
}
