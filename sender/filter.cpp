#include "sender/filter.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

namespace sluice {

namespace {

constexpr std::size_t kNowhere = std::string_view::npos;

using CharTest = bool (*)(unsigned char);

bool is_upper(unsigned char c) {
    return c >= 'A' && c <= 'Z';
}
bool is_lower(unsigned char c) {
    return c >= 'a' && c <= 'z';
}
bool is_alpha(unsigned char c) {
    return is_upper(c) || is_lower(c);
}
bool is_digit(unsigned char c) {
    return c >= '0' && c <= '9';
}
bool is_alnum(unsigned char c) {
    return is_alpha(c) || is_digit(c);
}
bool is_blank(unsigned char c) {
    return c == ' ' || c == '\t';
}
bool is_space(unsigned char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}
bool is_cntrl(unsigned char c) {
    return c < 0x20 || c == 0x7f;
}
bool is_graph(unsigned char c) {
    return c > 0x20 && c < 0x7f;
}
bool is_print(unsigned char c) {
    return c >= 0x20 && c < 0x7f;
}
bool is_punct(unsigned char c) {
    return is_graph(c) && !is_alnum(c);
}
bool is_xdigit(unsigned char c) {
    return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

struct NamedClass {
    std::string_view name;
    CharTest test;
};
// As in the C locale: what a pattern means must not depend on the environment.
constexpr std::array<NamedClass, 12> kNamedClasses = {{{"alnum", is_alnum},
                                                       {"alpha", is_alpha},
                                                       {"blank", is_blank},
                                                       {"cntrl", is_cntrl},
                                                       {"digit", is_digit},
                                                       {"graph", is_graph},
                                                       {"lower", is_lower},
                                                       {"print", is_print},
                                                       {"punct", is_punct},
                                                       {"space", is_space},
                                                       {"upper", is_upper},
                                                       {"xdigit", is_xdigit}}};

// Reads a bracket expression and tells whether it holds one character.
class ClassMatcher {
public:
    // `pattern` begins behind the opening bracket.
    ClassMatcher(std::string_view pattern, unsigned char c) : rest_(pattern), char_(c) {}

    // nullopt where the expression is not well-formed: then the pattern as a whole matches nothing.
    std::optional<bool> run() {
        const bool negated = !rest_.empty() && (rest_.front() == '!' || rest_.front() == '^');
        if (negated) {
            rest_.remove_prefix(1);
        }
        // A closing bracket that comes first stands for itself.
        for (bool first = true; first || (!rest_.empty() && rest_.front() != ']'); first = false) {
            if (!take_member()) {
                return std::nullopt;
            }
        }
        if (rest_.empty()) {
            return std::nullopt;
        }
        rest_.remove_prefix(1);
        return found_ != negated && char_ != '/';
    }

    // After run(): what follows the closing bracket.
    [[nodiscard]] std::string_view rest() const { return rest_; }

private:
    bool take_member() {
        if (rest_.starts_with("[:")) {
            const auto end = rest_.find(']', 2);
            if (end == kNowhere) {
                return false;
            }
            if (end > 2 && rest_[end - 1] == ':') {
                const std::string_view name = rest_.substr(2, end - 3);
                rest_.remove_prefix(end + 1);
                low_.reset();
                return take_named_class(name);
            }
        }
        // A hyphen makes a range unless it comes first, last or behind a range or a named class.
        const bool range = low_ && rest_.size() > 1 && rest_.front() == '-' && rest_[1] != ']';
        if (range) {
            rest_.remove_prefix(1);
        }
        const auto c = take_char();
        if (!c) {
            return false;
        }
        found_ = found_ || (range ? char_ >= *low_ && char_ <= *c : char_ == *c);
        low_ = range ? std::nullopt : c;
        return true;
    }

    bool take_named_class(std::string_view name) {
        const auto* const named =
            std::find_if(kNamedClasses.begin(), kNamedClasses.end(),
                         [name](const NamedClass& candidate) { return candidate.name == name; });
        if (named == kNamedClasses.end()) {
            return false;
        }
        found_ = found_ || named->test(char_);
        return true;
    }

    std::optional<unsigned char> take_char() {
        if (rest_.starts_with('\\')) {
            rest_.remove_prefix(1);
        }
        if (rest_.empty()) {
            return std::nullopt;
        }
        const auto c = static_cast<unsigned char>(rest_.front());
        rest_.remove_prefix(1);
        return c;
    }

    std::string_view rest_;
    unsigned char char_;
    std::optional<unsigned char> low_; // the character before, where it can begin a range
    bool found_ = false;
};

// One attempt to match all of a text with all of a pattern.
//
// Bounded: at a mismatch only the last `*` takes one more character, or where it meets a slash, the
// last `**` before it. Earlier stars never need another try: what stands between two stars matched
// as early as it could, and the later star can take whatever an earlier one would have taken (for
// two `*` because a slash between them fits one place only). So the cost is at most
// |pattern| * |text|^2, with two kinds of star in one pattern, and usually |text|.
class WildMatch {
public:
    WildMatch(std::string_view pattern, std::string_view text) : pattern_(pattern), text_(text) {}

    bool run() {
        while (true) {
            if (pattern_.starts_with('*')) {
                take_star();
                continue;
            }
            if (pattern_.empty() && text_.empty()) {
                return true;
            }
            if (!take_one() && (malformed_ || !go_back())) {
                return false;
            }
        }
    }

private:
    struct Star {
        std::string_view pattern; // behind the star
        std::string_view text;    // what the star has not taken yet
    };

    void take_star() {
        const auto count = std::min(pattern_.find_first_not_of('*'), pattern_.size());
        pattern_.remove_prefix(count);
        if (count > 1) {
            deep_ = Star{pattern_, text_};
            shallow_.reset();
        } else {
            shallow_ = Star{pattern_, text_};
        }
    }

    // Matches one element of the pattern that is no star with one character.
    bool take_one() {
        if (pattern_.empty() || text_.empty()) {
            return false;
        }
        const char c = text_.front();
        const char p = pattern_.front();
        bool matched = false;
        if (p == '[') {
            ClassMatcher set(pattern_.substr(1), static_cast<unsigned char>(c));
            const auto result = set.run();
            malformed_ = !result;
            matched = result.value_or(false);
            pattern_ = set.rest();
        } else if (p == '\\') {
            // At the end of the pattern it escapes nothing and matches nothing.
            matched = pattern_.size() > 1 && pattern_[1] == c;
            pattern_.remove_prefix(std::min<std::size_t>(2, pattern_.size()));
        } else {
            matched = p == '?' ? c != '/' : p == c;
            pattern_.remove_prefix(1);
        }
        text_.remove_prefix(1);
        return matched;
    }

    bool go_back() {
        if (shallow_ && !shallow_->text.empty() && shallow_->text.front() != '/') {
            return extend(*shallow_);
        }
        shallow_.reset();
        return deep_ && !deep_->text.empty() && extend(*deep_);
    }

    bool extend(Star& star) {
        star.text.remove_prefix(1);
        pattern_ = star.pattern;
        text_ = star.text;
        return true;
    }

    std::string_view pattern_;
    std::string_view text_;
    std::optional<Star> shallow_; // the last `*`, unless a `**` came after it
    std::optional<Star> deep_;    // the last `**`
    bool malformed_ = false;
};

// The last `count` components; nullopt if there are fewer.
std::optional<std::string_view> last_components(std::string_view path, std::size_t count) {
    std::size_t begin = path.size();
    for (; count > 0; --count) {
        if (begin == 0) {
            return std::nullopt;
        }
        const auto slash = path.rfind('/', begin - 1);
        if (slash == kNowhere) {
            return count == 1 ? std::optional(path) : std::nullopt;
        }
        begin = slash;
    }
    return path.substr(begin + 1);
}

} // namespace

void Filter::include(std::string_view pattern) {
    add(pattern, false);
}
void Filter::exclude(std::string_view pattern) {
    add(pattern, true);
}

void Filter::add(std::string_view pattern, bool exclude) {
    if (pattern.empty()) {
        return;
    }
    Rule rule;
    rule.exclude = exclude;
    rule.wild = pattern.find_first_of("*?[") != kNowhere;
    rule.slash_before = pattern.starts_with("**");
    const bool deep = pattern.find("**") != kNowhere;
    if (pattern.size() > 1 && pattern.ends_with('/')) {
        rule.directories_only = true;
        pattern.remove_suffix(1);
    }
    rule.slash_after = pattern.ends_with("***"); // "dir/***/", too
    const auto slashes = static_cast<std::size_t>(std::count(pattern.begin(), pattern.end(), '/'));
    if (pattern.starts_with('/')) {
        rule.span = Span::path;
        pattern.remove_prefix(1);
    } else if (deep) {
        rule.span = rule.slash_before ? Span::path : Span::any_tail;
    } else if (slashes > 0) {
        rule.span = Span::tail;
        rule.components = slashes + 1;
    }
    rule.pattern = pattern;
    rules_.push_back(std::move(rule));
}

bool Filter::matches(const Rule& rule, std::string_view path, bool is_directory) {
    if (rule.directories_only && !is_directory) {
        return false;
    }
    std::string extended; // only for the rare patterns that need it
    if (rule.slash_before || (rule.slash_after && is_directory)) {
        extended.append(rule.slash_before ? "/" : "").append(path);
        extended.append(rule.slash_after && is_directory ? "/" : "");
        path = extended;
    }
    if (rule.span == Span::name || rule.span == Span::tail) {
        const auto tail = last_components(path, rule.components);
        if (!tail) {
            return false;
        }
        path = *tail;
    }
    if (!rule.wild) {
        return path == rule.pattern;
    }
    if (WildMatch(rule.pattern, path).run()) {
        return true;
    }
    if (rule.span == Span::any_tail) {
        for (auto slash = path.find('/'); slash != kNowhere; slash = path.find('/', slash + 1)) {
            if (WildMatch(rule.pattern, path.substr(slash + 1)).run()) {
                return true;
            }
        }
    }
    return false;
}

bool Filter::excludes(std::string_view path, bool is_directory) const {
    for (const Rule& rule : rules_) {
        if (matches(rule, path, is_directory)) {
            return rule.exclude;
        }
    }
    return false;
}

} // namespace sluice
