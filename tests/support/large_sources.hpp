// For tests: large sources as a stream would open them, each a file of its own.
#pragma once

#include "sender/large_source.hpp"
#include "tests/support/temp_dir.hpp"

#include <catch2/catch.hpp>
#include <memory>
#include <string>
#include <utility>

namespace sluice::test {

class LargeSources {
public:
    LargeSources() {
        auto root = open_source(dir_.path() + "/");
        REQUIRE(root);
        root_ = std::make_shared<const SourceRoot>(std::move(*root));
    }

    // Of `bytes` bytes. `present`: what the receiver has. `offered_version` is added to the true
    // one in the entry: what was offered is then another file.
    [[nodiscard]] std::shared_ptr<LargeSource> make(std::size_t bytes,
                                                    std::vector<proto::Range> present = {},
                                                    std::uint64_t offered_version = 0) {
        const std::string name = "source" + std::to_string(next_id_);
        dir_.write_file(name, std::string(bytes, 'x'));
        SourceEntry entry;
        entry.root = root_;
        entry.wire_path = name;
        auto opened = SourceFile::open(entry);
        auto& file = std::get<SourceFile>(opened);
        entry.size = bytes;
        entry.mtime = file.mtime();
        entry.version = file.version() + offered_version;
        if (!present.empty()) {
            entry.present = std::make_shared<std::vector<proto::Range>>(std::move(present));
        }
        return std::make_shared<LargeSource>(std::move(entry), std::move(file), next_id_++);
    }

    [[nodiscard]] const TempDir& dir() const { return dir_; }

private:
    TempDir dir_;
    std::shared_ptr<const SourceRoot> root_;
    std::uint64_t next_id_ = 1;
};

} // namespace sluice::test
