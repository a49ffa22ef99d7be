// What a directory tree holds, so that two trees, or one tree at two moments, can be compared with
// messages that say what differs. Names may hold any bytes.
#pragma once

#include "common/text.hpp"
#include "tests/support/temp_dir.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <fmt/format.h>
#include <map>
#include <string>
#include <string_view>
#include <sys/stat.h>
#include <vector>

namespace sluice::test {

struct TreeNode {
    struct stat status {};
    std::string target;        // of a symbolic link
    std::uint64_t content = 0; // of a regular file: a hash; holes count as zeros
};
// By path; "." is the directory itself.
using Tree = std::map<std::string, TreeNode>;

namespace tree_detail {

inline std::uint64_t mix(std::uint64_t hash, std::uint64_t value) {
    hash ^= value;
    hash *= 0x9e3779b97f4a7c15ULL; // 2^64 / golden ratio: spreads every bit upwards
    return hash ^ (hash >> 29U);
}

inline std::uint64_t hash_bytes(const char* bytes, std::size_t length, std::uint64_t hash) {
    for (std::size_t at = 0; at < length; at += sizeof(std::uint64_t)) {
        std::uint64_t word = 0;
        std::memcpy(&word, bytes + at, std::min(sizeof word, length - at));
        hash = mix(hash, word);
    }
    return hash;
}

// Pages of zeros do not count, so a hole and zeros that were written are the same.
inline std::uint64_t hash_file(int file, off_t size) {
    constexpr std::size_t kPage = 4096;
    std::vector<char> buffer(64 * kPage);
    std::uint64_t hash = static_cast<std::uint64_t>(size);
    off_t at = 0;
    while (at < size && (at = ::lseek(file, at, SEEK_DATA)) >= 0) {
        at -= at % static_cast<off_t>(kPage);
        const off_t hole = ::lseek(file, at + 1, SEEK_HOLE);
        const off_t end = hole > at ? hole : size;
        while (at < end) {
            const ssize_t got = ::pread(file, buffer.data(), buffer.size(), at);
            if (got <= 0) {
                return 0;
            }
            const auto length = static_cast<std::size_t>(got);
            for (std::size_t page = 0; page < length; page += kPage) {
                const std::size_t bytes = std::min(kPage, length - page);
                const char* const start = buffer.data() + page;
                if (std::any_of(start, start + bytes, [](char c) { return c != 0; })) {
                    hash = mix(hash, static_cast<std::uint64_t>(at) + page);
                    hash = hash_bytes(start, bytes, hash);
                }
            }
            at += got;
        }
    }
    return hash;
}

inline void describe(const TempDir& root, const std::string& at, const std::string& name,
                     Tree& tree) {
    const std::string path = at.empty() ? name : name.empty() ? at : at + "/" + name;
    TreeNode node;
    node.status = root.status(path);
    const std::string key = name.empty() ? "." : name;
    if (S_ISLNK(node.status.st_mode)) {
        node.target = root.read_link(path);
    } else if (S_ISREG(node.status.st_mode)) {
        const int file = ::open(root.path(path).c_str(), O_RDONLY | O_CLOEXEC);
        if (file < 0) {
            throw std::system_error(errno, std::generic_category(), "open " + path);
        }
        node.content = hash_file(file, node.status.st_size);
        ::close(file);
    } else if (S_ISDIR(node.status.st_mode)) {
        for (const std::string& child : root.list(path)) {
            describe(root, at, name.empty() ? child : name + "/" + child, tree);
        }
    }
    tree.emplace(key, std::move(node));
}

inline char type_of(const TreeNode& node) {
    switch (node.status.st_mode & S_IFMT) {
    case S_IFREG: return 'f';
    case S_IFDIR: return 'd';
    case S_IFLNK: return 'l';
    default: return '?';
    }
}

inline bool same(const timespec& left, const timespec& right) {
    return left.tv_sec == right.tv_sec && left.tv_nsec == right.tv_nsec;
}

} // namespace tree_detail

// Everything below `name`, which is a directory in `root`.
inline Tree describe_tree(const TempDir& root, const std::string& name = {}) {
    Tree tree;
    tree_detail::describe(root, name, "", tree);
    return tree;
}

// What two trees may differ in and still be called the same.
struct TreeComparison {
    bool metadata = true;   // permission bits and mtimes
    bool root = true;       // those of "."
    bool link_times = true; // mtimes of symbolic links
};

inline std::string difference(const TreeNode& left, const TreeNode& right, bool metadata) {
    const struct stat& a = left.status;
    const struct stat& b = right.status;
    const char type = tree_detail::type_of(left);
    if (type != tree_detail::type_of(right)) {
        return fmt::format("type {} and {}", type, tree_detail::type_of(right));
    }
    if (left.target != right.target) {
        return fmt::format("target '{}' and '{}'", escape(left.target), escape(right.target));
    }
    if (type == 'f' && a.st_size != b.st_size) {
        return fmt::format("size {} and {}", a.st_size, b.st_size);
    }
    if (left.content != right.content) {
        return "content";
    }
    if (metadata && (a.st_mode & 07777U) != (b.st_mode & 07777U)) {
        return fmt::format("mode {:04o} and {:04o}", a.st_mode & 07777U, b.st_mode & 07777U);
    }
    if (metadata && !tree_detail::same(a.st_mtim, b.st_mtim)) {
        return fmt::format("mtime {}.{:09} and {}.{:09}", a.st_mtim.tv_sec, a.st_mtim.tv_nsec,
                           b.st_mtim.tv_sec, b.st_mtim.tv_nsec);
    }
    return {};
}

// A line for each path in which they differ; empty where they are the same.
inline std::string differences(const Tree& left, const Tree& right, TreeComparison how = {}) {
    std::string text;
    for (const auto& [path, node] : left) {
        const bool metadata = how.metadata && (how.root || path != ".") &&
                              (how.link_times || tree_detail::type_of(node) != 'l');
        const auto other = right.find(path);
        if (other == right.end()) {
            text += fmt::format("'{}' is missing on the right\n", escape(path));
        } else if (const auto what = difference(node, other->second, metadata); !what.empty()) {
            text += fmt::format("'{}' differs: {}\n", escape(path), what);
        }
    }
    for (const auto& [path, node] : right) {
        if (left.count(path) == 0) {
            text += fmt::format("'{}' is only on the right\n", escape(path));
        }
    }
    return text;
}

// A line for each path that was made, removed, replaced or changed between two descriptions of one
// tree, in whatever way: the inode number and the time of the last status change tell.
inline std::string touched(const Tree& before, const Tree& after) {
    std::string text;
    for (const auto& [path, node] : before) {
        const auto other = after.find(path);
        if (other == after.end()) {
            text += fmt::format("'{}' was removed\n", escape(path));
        } else if (node.status.st_ino != other->second.status.st_ino) {
            text += fmt::format("'{}' was replaced\n", escape(path));
        } else if (!tree_detail::same(node.status.st_ctim, other->second.status.st_ctim)) {
            text += fmt::format("'{}' was changed\n", escape(path));
        }
    }
    for (const auto& [path, node] : after) {
        if (before.count(path) == 0) {
            text += fmt::format("'{}' was made\n", escape(path));
        }
    }
    return text;
}

// Bytes that no compressor makes shorter, the same for the same seed.
inline std::string random_bytes(std::size_t length, std::uint64_t seed) {
    std::string bytes(length, '\0');
    std::uint64_t state = seed * 2 + 1;
    for (std::size_t at = 0; at < length; at += sizeof state) {
        state ^= state << 13U; // xorshift64 (Marsaglia)
        state ^= state >> 7U;
        state ^= state << 17U;
        std::memcpy(bytes.data() + at, &state, std::min(sizeof state, length - at));
    }
    return bytes;
}

} // namespace sluice::test
