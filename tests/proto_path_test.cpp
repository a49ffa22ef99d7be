// Which names may appear on the wire.
#include "proto/limits.hpp"
#include "proto/path_rules.hpp"

#include <catch2/catch.hpp>
#include <string>
#include <vector>

using namespace sluice::proto;
using namespace std::string_literals;

namespace {

struct PathCase {
    std::string path;
    Fault expected;
};

// Components of the longest legal length, joined and cut to `length`.
std::string long_path(std::size_t length) {
    std::string path;
    while (path.size() < length)
        path += std::string(kMaxNameBytes, 'n') + "/";
    path.resize(length);
    if (path.back() == '/')
        path.back() = 'n'; // not reached by the lengths used below, unless the limits change
    return path;
}

} // namespace

TEST_CASE("path rules accept every name that is not special", "[proto][path]") {
    const std::vector<std::string> paths = {"a",
                                            "a/b",
                                            "a/b/c",
                                            " ",
                                            "a b",
                                            "a\nb",
                                            "\xff\xfe",
                                            "...",
                                            "..a",
                                            "a..",
                                            ".a",
                                            "-rf",
                                            "~",
                                            "*",
                                            "\\",
                                            "a/...",
                                            ".sluice2",
                                            ".sluic",
                                            ".SLUICE",
                                            "a/.sluice",
                                            "a/.sluice/b",
                                            "\x7f",
                                            "\x01",
                                            std::string(kMaxNameBytes, 'x'),
                                            std::string(kMaxNameBytes, 'x') + "/y",
                                            long_path(kMaxPathBytes)};
    for (const std::string& path : paths) {
        CAPTURE(path.substr(0, 40), path.size());
        CHECK(check_path(path) == Fault::none);
    }
}

TEST_CASE("path rules name what is wrong with a path", "[proto][path]") {
    const std::vector<PathCase> cases = {
        {"", Fault::path_empty},
        {"/", Fault::path_absolute},
        {"/a", Fault::path_absolute},
        {"//", Fault::path_absolute},
        {"/../a", Fault::path_absolute},
        {".", Fault::path_component_dot},
        {"..", Fault::path_component_dot},
        {"./a", Fault::path_component_dot},
        {"../a", Fault::path_component_dot},
        {"a/.", Fault::path_component_dot},
        {"a/..", Fault::path_component_dot},
        {"a/./b", Fault::path_component_dot},
        {"a/../b", Fault::path_component_dot},
        {"a//b", Fault::path_component_empty},
        {"a/", Fault::path_component_empty},
        {"a/b/", Fault::path_component_empty},
        {"a///b", Fault::path_component_empty},
        {"\0"s, Fault::path_has_nul},
        {"a\0b"s, Fault::path_has_nul},
        {"a\0"s, Fault::path_has_nul},
        {"a/..\0"s, Fault::path_has_nul},
        {".sluice", Fault::path_reserved},
        {".sluice/", Fault::path_reserved},
        {".sluice/a", Fault::path_reserved},
        {".sluice/../a", Fault::path_reserved},
        {std::string(kMaxNameBytes + 1, 'x'), Fault::path_component_too_long},
        {"a/" + std::string(kMaxNameBytes + 1, 'x'), Fault::path_component_too_long},
        {std::string(kMaxNameBytes + 1, 'x') + "/a", Fault::path_component_too_long},
        {long_path(kMaxPathBytes + 1), Fault::path_too_long},
        {std::string(65535, 'x'), Fault::path_too_long},
    };
    for (const PathCase& item : cases) {
        CAPTURE(item.path.substr(0, 40), item.path.size());
        CHECK(describe(check_path(item.path)) == describe(item.expected));
    }
}

TEST_CASE("every fault has a phrase of its own", "[proto]") {
    std::vector<std::string_view> phrases;
    const auto last = static_cast<unsigned>(Fault::unknown_session);
    for (unsigned value = 0; value <= last; ++value) {
        const std::string_view phrase = describe(static_cast<Fault>(value));
        CHECK(!phrase.empty());
        CHECK(phrase != "unknown fault");
        for (const std::string_view other : phrases)
            CHECK(phrase != other);
        phrases.push_back(phrase);
    }
    CHECK(describe(static_cast<Fault>(last + 1)) == "unknown fault");
}
