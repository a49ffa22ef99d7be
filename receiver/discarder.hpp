// Takes what a session receives and keeps nothing of it: for measuring the way without the disk. No
// name below any directory is made or looked at. What the protocol demands is checked all the same:
// a file whose FileEnd comes must be whole.
#pragma once

#include "receiver/large_file_table.hpp"
#include "receiver/storage.hpp"

#include <cstdint>
#include <memory>
#include <vector>

namespace sluice {

class Discarder final : public Storage {
public:
    // Kinds: refused (it asks for what cannot be done), file_io.
    [[nodiscard]] static Result<std::unique_ptr<Storage>> open(const proto::Open& request);

    [[nodiscard]] bool discards() const noexcept override { return true; }
    [[nodiscard]] bool dry_run() const noexcept override { return dry_run_; }
    [[nodiscard]] bool syncs() const noexcept override { return false; }
    [[nodiscard]] const StoreCounts& counts() const noexcept override { return counts_; }

    [[nodiscard]] bool may_adopt() const override { return false; }
    void adopt() override {}
    [[nodiscard]] const std::vector<std::uint16_t>& fresh_roots() const noexcept override {
        return fresh_roots_; // all of them
    }
    [[nodiscard]] bool wants(const proto::OfferEntry& offered, DirectoryCache& directories,
                             std::vector<proto::Range>& present) override;
    [[nodiscard]] std::optional<StoreProblem> put(proto::Record record,
                                                  DirectoryCache& directories) override;
    [[nodiscard]] BegunExtent begin_extent(const proto::Extent& extent,
                                           DirectoryCache& directories) override;
    [[nodiscard]] std::optional<StoreProblem>
    extent_done(LargeFile& file, std::uint64_t offset, std::uint64_t length,
                const std::optional<Digest>& digest) override;
    [[nodiscard]] std::optional<StoreProblem> hole_done(LargeFile& file, std::uint64_t offset,
                                                        std::uint64_t length) override;
    void extent_lost(LargeFile& file) override;
    [[nodiscard]] EndedFile end_file(std::uint64_t id, DirectoryCache& directories) override;
    [[nodiscard]] proto::Fault abort_file(std::uint64_t id) override;
    [[nodiscard]] bool has_unfinished_files() override { return !files_.empty(); }
    [[nodiscard]] Status publish(const Report& report) override;
    [[nodiscard]] Status list_files(const std::function<void(const ListedFile&)>& visit,
                                    std::uint64_t& left_out) override;
    [[nodiscard]] bool abandon() override { return true; }
    [[nodiscard]] bool is_worth_keeping() const override { return false; }
    void touch() override {}

private:
    Discarder(const proto::Open& request, UniqueFd null);

    // In place of all files: it takes the pages of a pipe without looking at them, and bytes at any
    // offset.
    const UniqueFd null_;
    const bool dry_run_;
    std::vector<std::uint16_t> fresh_roots_;
    LargeFileTable files_;
    StoreCounts counts_;
};

} // namespace sluice
