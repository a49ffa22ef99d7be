#include "tests/support/disk_model.hpp"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <utility>

namespace sluice::test {

namespace {

constexpr const char* kWorkArea = ".sluice";

// The arguments between the outermost parentheses, split at the commas on that level.
std::vector<std::string> split_arguments(std::string_view text) {
    std::vector<std::string> arguments(1);
    int depth = 0;
    bool quoted = false;
    for (std::size_t at = 0; at < text.size(); ++at) {
        const char c = text[at];
        if (quoted) {
            arguments.back() += c;
            if (c == '\\' && at + 1 < text.size()) {
                arguments.back() += text[++at];
            } else if (c == '"') {
                quoted = false;
            }
            continue;
        }
        quoted = c == '"';
        depth += c == '{' || c == '[' || c == '(' || c == '<' ? 1 : 0;
        depth -= c == '}' || c == ']' || c == ')' || c == '>' ? 1 : 0;
        if (c == ',' && depth == 0) {
            arguments.emplace_back();
        } else if (c != ' ' || !arguments.back().empty()) {
            arguments.back() += c;
        }
    }
    return arguments;
}

std::string unquoted(std::string_view text) {
    if (text.size() < 2 || text.front() != '"') {
        return {};
    }
    return std::string(text.substr(1, text.rfind('"') - 1));
}

} // namespace

struct DiskModel::Call {
    std::string name;
    std::vector<std::string> arguments;
    int result = -1;

    explicit Call(const std::string& line) {
        const std::size_t open = line.find('(');
        const std::size_t equals = line.rfind(" = "); // behind spaces that align it
        const std::size_t close = line.find_last_not_of(' ', equals);
        const std::size_t begin = line.find_first_not_of("0123456789 ");
        if (open == std::string::npos || equals == std::string::npos || open > close ||
            line[close] != ')') {
            return;
        }
        name = line.substr(begin, open - begin);
        arguments = split_arguments(std::string_view(line).substr(open + 1, close - open - 1));
        result = std::atoi(line.c_str() + equals + 3);
    }
    [[nodiscard]] std::string_view argument(std::size_t at) const {
        return at < arguments.size() ? std::string_view(arguments[at]) : std::string_view();
    }
};

DiskModel::DiskModel(std::string root) : root_path_(std::move(root)) {
    root_->directory = true;
}

void DiskModel::apply(const std::string& line) {
    const Call call(line);
    if (call.result < 0) {
        return;
    }
    const std::string& name = call.name;
    if (name == "open" || name == "openat" || name == "openat2") {
        opened(call);
    } else if (name == "close") {
        descriptors_.erase(std::atoi(call.arguments[0].c_str()));
    } else if (name == "mkdirat") {
        made(call, true);
    } else if (name == "symlinkat") {
        made(call, false);
    } else if (name == "renameat" || name == "renameat2") {
        renamed(call);
    } else if (name == "unlinkat") {
        removed(call);
    } else if (name == "write" || name == "pwrite64" || name == "ftruncate") {
        written(call, 0);
    } else if (name == "splice") {
        written(call, 2);
    } else if (name == "fchmod" || name == "utimensat") {
        metadata_set(call);
    } else if (name == "fsync" || name == "fdatasync" || name == "syncfs") {
        synced(call);
    }
}

DiskModel::NodePtr DiskModel::node_of(std::string_view descriptor) const {
    const auto found = descriptors_.find(std::atoi(std::string(descriptor).c_str()));
    return found == descriptors_.end() ? nullptr : found->second;
}

DiskModel::NodePtr DiskModel::walk(NodePtr from, std::string_view path) const {
    while (from && !path.empty() && path != ".") {
        const std::string_view name = path.substr(0, path.find('/'));
        const auto child = from->children.find(std::string(name));
        from = child == from->children.end() ? nullptr : child->second;
        path.remove_prefix(std::min(path.size(), name.size() + 1));
    }
    return from;
}

DiskModel::Place DiskModel::place_of(const Call& call, std::size_t at) const {
    const std::string path = unquoted(call.argument(at + 1));
    const std::size_t slash = path.rfind('/');
    const NodePtr base = node_of(call.argument(at));
    return {slash == std::string::npos ? base : walk(base, path.substr(0, slash)),
            slash == std::string::npos ? path : path.substr(slash + 1)};
}

void DiskModel::opened(const Call& call) {
    const std::size_t path_at = call.name == "open" ? 0 : 1;
    const std::string path = unquoted(call.argument(path_at));
    if (path == root_path_) {
        descriptors_[call.result] = root_;
        return;
    }
    if (call.name == "open") {
        return;
    }
    NodePtr node = walk(node_of(call.argument(0)), path);
    if (!node) {
        const Place place = place_of(call, 0);
        if (!place.parent || call.argument(2).find("O_CREAT") == std::string_view::npos) {
            return; // none of ours
        }
        node = place.parent->children[place.name] = std::make_shared<Node>();
        node->synced = false;
        note_name(place, *node);
    }
    descriptors_[call.result] = node;
}

void DiskModel::made(const Call& call, bool directory) {
    const Place place = place_of(call, directory ? 0 : 1);
    if (place.parent) {
        auto node = std::make_shared<Node>();
        node->directory = directory;
        node->link = !directory;
        // A new directory, or a link, is nothing but a name and what is in the parent with it.
        node->synced = true;
        place.parent->children[place.name] = node;
    }
}

void DiskModel::renamed(const Call& call) {
    const Place from = place_of(call, 0);
    const Place to = place_of(call, 2);
    if (!from.parent || !to.parent) {
        return;
    }
    const NodePtr node = walk(from.parent, from.name);
    if (node) {
        from.parent->children.erase(from.name);
        to.parent->children[to.name] = node;
        note_name(to, *node);
    }
}

void DiskModel::removed(const Call& call) {
    if (const Place place = place_of(call, 0); place.parent) {
        place.parent->children.erase(place.name);
    }
}

void DiskModel::written(const Call& call, std::size_t argument) {
    if (const NodePtr node = node_of(call.argument(argument)); node) {
        node->synced = false;
    }
}

void DiskModel::metadata_set(const Call& call) {
    NodePtr node = node_of(call.argument(0));
    if (call.name == "utimensat" && call.argument(1) != "NULL") {
        node = walk(node, unquoted(call.argument(1)));
    }
    if (node) {
        node->synced = false;
    }
}

void DiskModel::synced(const Call& call) {
    const NodePtr node = node_of(call.argument(0));
    if (!node) {
        return;
    }
    if (call.name == "syncfs") {
        sync_all(*root_);
        return;
    }
    node->synced = true;
    node->synced_children = node->children;
}

void DiskModel::sync_all(Node& node) {
    node.synced = true;
    node.synced_children = node.children;
    for (const auto& [name, child] : node.children) {
        sync_all(*child);
    }
}

bool DiskModel::wholly_synced(const Node& node) {
    if ((!node.synced && !node.link) || node.children != node.synced_children) {
        return false;
    }
    for (const auto& [name, child] : node.children) {
        if (!wholly_synced(*child)) {
            return false;
        }
    }
    return true;
}

// Below the root, and not in the work area.
bool DiskModel::is_visible(const Node* node) const {
    std::vector<const Node*> pending{root_.get()};
    while (!pending.empty()) {
        const Node* const next = pending.back();
        pending.pop_back();
        if (next == node) {
            return true;
        }
        for (const auto& [name, child] : next->children) {
            if (next != root_.get() || name != kWorkArea) {
                pending.push_back(child.get());
            }
        }
    }
    return false;
}

// An empty directory that appears is no harm, a file that has not all of its bytes is.
void DiskModel::note_name(const Place& place, const Node& node) {
    const bool work_area = place.parent == root_ && place.name == kWorkArea;
    if (!work_area && is_visible(place.parent.get()) && !wholly_synced(node)) {
        early_.push_back(place.name);
    }
}

void DiskModel::list_unsynced(const Node& node, const std::string& path,
                              std::vector<std::string>& out) {
    if (!node.synced) {
        out.push_back(path);
    }
    for (const auto& [name, child] : node.children) {
        const std::string below = path.empty() ? name : path + "/" + name;
        if (below == kWorkArea) {
            continue;
        }
        const auto on_disk = node.synced_children.find(name);
        if (on_disk == node.synced_children.end() || on_disk->second != child) {
            out.push_back(below + " (the name)");
        }
        list_unsynced(*child, below, out);
    }
}

std::vector<std::string> DiskModel::unsynced() const {
    std::vector<std::string> out;
    list_unsynced(*root_, "", out);
    return out;
}

std::size_t DiskModel::count(const Node& node) {
    std::size_t files = 0;
    for (const auto& [name, child] : node.children) {
        files += name == kWorkArea ? 0 : child->directory ? count(*child) : 1;
    }
    return files;
}

std::size_t DiskModel::visible_files() const {
    return count(*root_);
}

std::vector<std::string> read_trace(const std::string& path) {
    std::vector<std::string> calls;
    std::map<std::string, std::string> unfinished; // by thread
    std::ifstream lines(path);
    for (std::string line; std::getline(lines, line);) {
        const std::string thread = line.substr(0, line.find(' '));
        if (const std::size_t cut = line.find(" <unfinished ...>"); cut != std::string::npos) {
            unfinished[thread] = line.substr(0, cut);
            continue;
        }
        if (const std::size_t more = line.find(" resumed>"); more != std::string::npos) {
            line = unfinished[thread] + line.substr(more + 9);
        }
        calls.push_back(line);
    }
    return calls;
}

} // namespace sluice::test
