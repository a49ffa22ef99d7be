// What would be on the disk if the machine died: a model of a file system that is fed with the
// system calls of a traced program (strace -f -y), and forgets whatever was not synced.
//
// Deliberately strict: data and metadata of a file are on the disk once it was synced (fsync,
// fdatasync, syncfs), and a name once its directory was; what real file systems commit beyond that
// is not relied upon. A name, on the other hand, may get to the disk at any time after the call
// that made it, so whatever it leads to must be there before.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::test {

class DiskModel {
public:
    // `root`: the directory that is watched, as the traced program opens it. Whatever is in it is
    // taken for being on the disk.
    explicit DiskModel(std::string root);

    // One call, complete: "openat(3</x>, \"name\", O_RDWR) = 7</x/name>". Calls that failed, and
    // those that are none of its business, are ignored.
    void apply(const std::string& line);

    // Names outside of the hidden work area that came to lead to something that was not wholly on
    // the disk by then.
    [[nodiscard]] const std::vector<std::string>& early_names() const noexcept { return early_; }
    // What is not on the disk now: paths below the root, those in the work area left out.
    [[nodiscard]] std::vector<std::string> unsynced() const;
    // Regular files and links outside of the work area.
    [[nodiscard]] std::size_t visible_files() const;

private:
    struct Node {
        bool directory = false;
        bool link = false;  // made whole by one call; only its time can be missing
        bool synced = true; // data and metadata; of a directory: its metadata
        std::map<std::string, std::shared_ptr<Node>> children;
        std::map<std::string, std::shared_ptr<Node>> synced_children;
    };
    using NodePtr = std::shared_ptr<Node>;
    struct Place {
        NodePtr parent;
        std::string name;
    };
    struct Call;

    void opened(const Call& call);
    void made(const Call& call, bool directory);
    void renamed(const Call& call);
    void removed(const Call& call);
    void written(const Call& call, std::size_t argument);
    void metadata_set(const Call& call);
    void synced(const Call& call);

    [[nodiscard]] NodePtr node_of(std::string_view descriptor) const;
    [[nodiscard]] NodePtr walk(NodePtr from, std::string_view path) const;
    [[nodiscard]] Place place_of(const Call& call, std::size_t at) const;
    void note_name(const Place& place, const Node& node);
    static bool wholly_synced(const Node& node);
    static void sync_all(Node& node);
    static void list_unsynced(const Node& node, const std::string& path,
                              std::vector<std::string>& out);
    static std::size_t count(const Node& node);
    [[nodiscard]] bool is_visible(const Node* node) const;

    const std::string root_path_;
    NodePtr root_ = std::make_shared<Node>();
    std::map<int, NodePtr> descriptors_;
    std::vector<std::string> early_;
};

// The calls of a trace (strace -f -o FILE), in the order in which they ended, put together where
// they were interrupted by those of another thread.
[[nodiscard]] std::vector<std::string> read_trace(const std::string& path);

} // namespace sluice::test
