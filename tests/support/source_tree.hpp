// A source and an honest sender: it asks before it sends, leaves out what the receiver has, and can
// be stopped after any step.
#pragma once

#include "tests/support/extent_source.hpp"
#include "tests/support/tree.hpp"

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

namespace sluice::test {

struct SourceNode {
    proto::RecordKind kind = proto::RecordKind::file;
    std::string content{}; // of a file; target of a link
    bool large = false;    // sent as extents
    std::uint32_t mode = 0644;
    proto::Timestamp mtime{kStoredTime, 7};
    std::uint64_t version = 1;
};

class SourceTree {
public:
    std::map<std::string, SourceNode> nodes; // without implied directories
    bool hashed = false;                     // extents come with their digests

    void file(const std::string& path, const std::string& content) {
        change(path, {proto::RecordKind::file, content});
    }
    void large(const std::string& path, std::size_t size, std::uint64_t seed) {
        change(path, {proto::RecordKind::file, random_bytes(size, seed), true, 0640});
    }
    void link(const std::string& path, const std::string& target) {
        change(path, {proto::RecordKind::symlink, target, false, 0777});
    }
    void dir(const std::string& path, std::uint32_t mode = 0755) {
        change(path, {proto::RecordKind::directory, "", false, mode});
    }
    // As if it had been written just now.
    void change(const std::string& path, SourceNode node) {
        ++clock_;
        node.mtime.seconds += static_cast<std::int64_t>(clock_);
        node.version = clock_;
        nodes[path] = std::move(node);
    }

    // Everything, in steps of which `random` chooses the order, if there is one. False: stopped by
    // `go_on`, which is asked after each step.
    bool send(StoreSession& session, const std::vector<std::string>& roots = {},
              std::mt19937_64* random = nullptr, const std::function<bool()>& go_on = {}) {
        std::vector<Item> items = begin(session, roots);
        while (!items.empty()) {
            const std::size_t which = random != nullptr ? (*random)() % items.size() : 0;
            if (step(session, items[which])) {
                items.erase(items.begin() + static_cast<std::ptrdiff_t>(which));
            }
            if (go_on && !go_on()) {
                return false;
            }
        }
        return true;
    }

    // What is wrong at the destination, one line each; with `exact`, also what should not be there.
    [[nodiscard]] std::string check(const TempDir& directory, const std::string& below,
                                    bool exact) const {
        const Tree tree = describe_tree(directory, below);
        std::string wrong;
        std::set<std::string> expected{"."};
        for (const auto& [path, node] : nodes) {
            for (std::size_t at = 0; at != std::string::npos;) {
                at = path.find('/', at + 1);
                expected.insert(path.substr(0, at));
            }
            const auto found = tree.find(path);
            wrong += found == tree.end() ? path + " is missing\n"
                                         : difference(directory, below, path, node, found->second);
        }
        for (const auto& [path, node] : tree) {
            if (exact && expected.count(path) == 0) {
                wrong += path + " should not be there\n";
            }
        }
        return wrong;
    }

private:
    struct Item {
        std::string path;
        const SourceNode* node = nullptr;
        bool fresh = false; // need not ask
        bool asked = false;
        std::uint64_t id = 0;
        std::vector<proto::Range> missing{}; // of a large file
    };

    static constexpr std::uint64_t kExtentBytes = 7'000;

    std::vector<Item> begin(StoreSession& session, const std::vector<std::string>& roots) {
        std::set<std::string> fresh;
        for (const std::uint16_t index : session.store().fresh_roots()) {
            fresh.insert(roots.at(index));
        }
        std::vector<Item> items;
        for (const auto& [path, node] : nodes) {
            items.push_back({path, &node, fresh.count(path.substr(0, path.find('/'))) != 0});
            items.back().id = ++last_id_;
        }
        return items;
    }

    // True: the item is done.
    bool step(StoreSession& session, Item& item) const {
        INFO(item.path);
        const SourceNode& node = *item.node;
        if (node.kind != proto::RecordKind::file) {
            CHECK(session.put(node.kind, item.path,
                              node.kind == proto::RecordKind::symlink ? node.content : "",
                              node.mode, node.mtime) == "");
            return true;
        }
        std::vector<proto::Range> present;
        if (!std::exchange(item.asked, true)) {
            if (!item.fresh && !session.wants({node.content.size(), node.mtime, node.mode,
                                               node.version, item.path},
                                              present)) {
                return true;
            }
            item.missing =
                node.large ? cut(node.content.size(), present) : std::vector<proto::Range>{};
            return false;
        }
        if (!node.large) {
            CHECK(session.put(node.kind, item.path, node.content, node.mode, node.mtime) == "");
            return true;
        }
        if (item.missing.empty()) {
            const auto ended = session.store().end_file(item.id, session.directories());
            CHECK(ended.fault == proto::Fault::none);
            CHECK(StoreSession::text(ended.problem) == "");
            return true;
        }
        send_extent(session, item, item.missing.back());
        item.missing.pop_back();
        return false;
    }

    static std::vector<proto::Range> cut(std::uint64_t size,
                                         const std::vector<proto::Range>& present) {
        std::vector<proto::Range> missing;
        std::uint64_t at = 0;
        const auto up_to = [&](std::uint64_t end) {
            for (; at < end; at += missing.back().length) {
                missing.push_back({at, std::min(kExtentBytes, end - at)});
            }
        };
        for (const proto::Range& range : present) {
            up_to(range.offset);
            at = range.offset + range.length;
        }
        up_to(size);
        if (missing.empty()) {
            missing.push_back({0, 1}); // from which the receiver learns the number of the file
        }
        return missing;
    }

    void send_extent(StoreSession& session, const Item& item, const proto::Range& range) const {
        const SourceNode& node = *item.node;
        const std::string_view bytes =
            std::string_view(node.content).substr(range.offset, range.length);
        const proto::Extent extent{range.offset + 1,     item.id,    range.offset, range.length,
                                   node.content.size(),  node.mtime, node.mode,    node.version,
                                   proto::Encoding::raw, item.path};
        const auto begun = session.store().begin_extent(extent, session.directories());
        REQUIRE(begun.fault == proto::Fault::none);
        CHECK(StoreSession::text(begun.problem) == "");
        if (!begun.file->dead) {
            REQUIRE(::pwrite(begun.file->fd.get(), bytes.data(), bytes.size(),
                             static_cast<off_t>(range.offset)) ==
                    static_cast<ssize_t>(bytes.size()));
        }
        const auto digest =
            hashed ? std::optional(digest_of(std::as_bytes(std::span(bytes)))) : std::nullopt;
        CHECK(StoreSession::text(session.store().extent_done(*begun.file, range.offset,
                                                             range.length, digest)) == "");
    }

    static std::string difference(const TempDir& directory, const std::string& below,
                                  const std::string& path, const SourceNode& node,
                                  const TreeNode& found) {
        const std::string full = below.empty() ? path : below + '/' + path;
        switch (node.kind) {
        case proto::RecordKind::symlink:
            return found.target == node.content ? "" : path + ": another target\n";
        case proto::RecordKind::directory:
            if (!S_ISDIR(found.status.st_mode)) {
                return path + ": no directory\n";
            }
            break;
        case proto::RecordKind::file:
            if (!S_ISREG(found.status.st_mode) || directory.read_file(full) != node.content) {
                return path + ": another content\n";
            }
            break;
        }
        return (found.status.st_mode & 07777U) == node.mode &&
                       found.status.st_mtim.tv_sec == node.mtime.seconds &&
                       found.status.st_mtim.tv_nsec == node.mtime.nanoseconds
                   ? ""
                   : path + ": another mode or time\n";
    }

    std::uint64_t clock_ = 0;
    std::uint64_t last_id_ = 0;
};

} // namespace sluice::test
