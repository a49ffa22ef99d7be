// What the tests of the tree walk share: a sink that remembers, and trees that are hard to make.
#pragma once

#include "sender/walk.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <fcntl.h>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace sluice::test {

using Paths = std::vector<std::string>;

class Recorder : public WalkSink {
public:
    bool found(SourceEntry entry) override {
        entries.push_back(std::move(entry));
        return !on_found || on_found(entries.back());
    }
    void failed(Error error) override { errors.push_back(std::move(error)); }
    void skipped(std::string what) override { skips.push_back(std::move(what)); }

    [[nodiscard]] const SourceEntry* find(std::string_view wire_path) const {
        const auto entry =
            std::find_if(entries.begin(), entries.end(),
                         [wire_path](const SourceEntry& e) { return e.wire_path == wire_path; });
        return entry == entries.end() ? nullptr : &*entry;
    }
    [[nodiscard]] const SourceEntry& at(std::string_view wire_path) const {
        const SourceEntry* entry = find(wire_path);
        REQUIRE(entry != nullptr);
        return *entry;
    }
    // Sorted; directories end in a slash.
    [[nodiscard]] Paths paths() const {
        Paths result;
        for (const SourceEntry& entry : entries) {
            result.push_back(entry.wire_path + (entry.kind == EntryKind::directory ? "/" : ""));
        }
        std::sort(result.begin(), result.end());
        return result;
    }
    void check_no_trouble() const {
        for (const Error& error : errors) {
            FAIL_CHECK(error.message);
        }
        for (const std::string& skip : skips) {
            FAIL_CHECK(skip);
        }
    }

    std::vector<SourceEntry> entries;
    std::vector<Error> errors;
    std::vector<std::string> skips;
    std::function<bool(const SourceEntry&)> on_found;
};

inline std::shared_ptr<const SourceRoot> open_root(const std::string& argument) {
    auto root = open_source(argument);
    INFO(argument);
    REQUIRE(root);
    return std::make_shared<const SourceRoot>(*std::move(root));
}

inline bool walk_into(Recorder& recorder, const std::string& argument, const Filter& filter = {}) {
    return walk(open_root(argument), filter, recorder);
}

inline Recorder walk_all(const std::string& argument, const Filter& filter = {}) {
    Recorder recorder;
    CHECK(walk_into(recorder, argument, filter));
    return recorder;
}

// Builds dir/dir/dir... below `parent` and leaves a file in the last one. Longer than any path.
inline void make_chain(const std::string& parent, const std::string& name, int depth) {
    int fd = ::open(parent.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
    REQUIRE(fd >= 0);
    for (int i = 0; i < depth; ++i) {
        REQUIRE(::mkdirat(fd, name.c_str(), 0755) == 0);
        const int next = ::openat(fd, name.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
        REQUIRE(next >= 0);
        ::close(fd);
        fd = next;
    }
    const int file = ::openat(fd, "end", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    REQUIRE(file >= 0);
    ::close(file);
    ::close(fd);
}

} // namespace sluice::test
