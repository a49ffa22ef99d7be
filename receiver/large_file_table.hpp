// The large files of one session that are under way, by the ids that the sender gave them: which
// extents of each have come, and when the last that has to do with one has let go of it.
// Thread-safe.
#pragma once

#include "receiver/storage.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <unordered_set>

namespace sluice {

class LargeFileTable {
public:
    // See Storage::begin_extent. `open` opens the file of an id that is new; a problem makes it a
    // dead one. No other extent begins meanwhile.
    using Open = std::function<std::optional<StoreProblem>(LargeFile&)>;
    [[nodiscard]] Storage::BegunExtent begin(const proto::Extent& extent, const Open& open);

    // An extent that has begun ends. `note` is called before anybody else can reach the file or
    // end another of its extents. Both return the file if it was aborted and this was the last that
    // held it: the caller removes what there is of it.
    [[nodiscard]] std::unique_ptr<LargeFile> done(LargeFile& file, std::uint64_t offset,
                                                  std::uint64_t length,
                                                  const std::function<void()>& note = {});
    [[nodiscard]] std::unique_ptr<LargeFile> lost(LargeFile& file);

    // Takes a file out that is complete, or dead. Null: there is no such.
    [[nodiscard]] std::unique_ptr<LargeFile> end(std::uint64_t id);
    // What comes of this id from now on belongs to a dead file. A Fault: too many of them. `over`
    // gets the file as done() returns it.
    [[nodiscard]] proto::Fault abort(std::uint64_t id, std::unique_ptr<LargeFile>& over);

    [[nodiscard]] bool empty() const;
    // Closes all of them. Nobody uses them any more.
    void clear();

private:
    using Files = std::unordered_map<std::uint64_t, std::unique_ptr<LargeFile>>;
    [[nodiscard]] std::unique_ptr<LargeFile> take_if_over(std::uint64_t id);
    [[nodiscard]] std::unique_ptr<LargeFile> take(Files::iterator known);

    mutable std::mutex mutex_; // guards what follows
    Files files_;
    std::size_t pieces_ = 0; // of what has been received of all files_
    // Ids that were aborted, and of which extents may still come.
    std::unordered_set<std::uint64_t> aborted_;
};

} // namespace sluice
