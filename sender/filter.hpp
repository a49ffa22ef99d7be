// --include and --exclude: rsync's pattern rules (rsync(1), "PATTERN MATCHING RULES").
//
// The first pattern that matches decides; a name that none matches is included. A pattern with a
// leading slash is anchored at the root of the transfer; one with a slash inside is matched against
// as many last components as it has itself ("foo/bar" fits "x/foo/bar"), one with "**" inside from
// the root or from behind any slash; otherwise only the last component counts. A trailing slash
// matches directories only. `*` matches within a component, `**` across slashes, `?` one byte but
// not a slash, [...] a class. "dir/***" matches the directory and everything in it. A backslash
// escapes, but only in a pattern that holds a wildcard (*, ? or [); elsewhere it stands for itself.
// What lies below an excluded directory is never looked at.
//
// A pattern is only a pattern: the prefixes "+ " and "- " and the "!" that clears the list, which
// rsync still takes for the sake of its oldest files, mean nothing here. An empty pattern is
// ignored. Const use is safe from any thread.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace sluice {

class Filter {
public:
    // Patterns are tried in the order in which they were added.
    void include(std::string_view pattern);
    void exclude(std::string_view pattern);

    [[nodiscard]] bool empty() const noexcept { return rules_.empty(); }
    // `path` is relative to the root of the transfer, without a leading slash.
    [[nodiscard]] bool excludes(std::string_view path, bool is_directory) const;

private:
    // Which part of the path a pattern is held against.
    enum class Span : unsigned char {
        name,     // the last component
        path,     // all of it
        tail,     // the last `components`
        any_tail, // all of it, or what follows any of its slashes
    };
    struct Rule {
        std::string pattern; // without the anchoring slash and the one for directories
        bool exclude = true;
        bool directories_only = false;
        bool wild = false;         // holds a wildcard
        bool slash_before = false; // "**" comes first: the path is seen as "/path", so that "**/x"
                                   // finds an "x" at the root, too
        bool slash_after = false;  // "***" comes last: a directory is seen as "path/"
        Span span = Span::name;
        std::size_t components = 1; // for Span::name and Span::tail
    };
    [[nodiscard]] static bool matches(const Rule& rule, std::string_view path, bool is_directory);
    void add(std::string_view pattern, bool exclude);

    std::vector<Rule> rules_;
};

} // namespace sluice
