#include "sender/large_source.hpp"

#include <algorithm>
#include <utility>

namespace sluice {

namespace {

// What is sent of a file that the receiver has completely.
constexpr std::uint64_t kLastPieceBytes = std::uint64_t{64} << 10;

} // namespace

LargeSource::LargeSource(SourceEntry entry, SourceFile file, std::uint64_t id)
    : entry_(std::move(entry)), file_(std::move(file)), id_(id), outstanding_(file_.size()) {
    const bool as_offered = file_.size() == entry_.size && file_.mtime() == entry_.mtime &&
                            file_.version() == entry_.version;
    if (entry_.present && as_offered) {
        take_over(std::move(*entry_.present));
    }
    entry_.present.reset();
}

void LargeSource::take_over(std::vector<proto::Range> present) {
    std::ranges::sort(present, {}, &proto::Range::offset);
    for (const proto::Range& range : present) { // may overlap or touch
        const std::uint64_t end = range.offset + range.length;
        if (present_.empty() || range.offset > present_.back().offset + present_.back().length) {
            present_.push_back(range);
        } else if (end > present_.back().offset + present_.back().length) {
            present_.back().length = end - present_.back().offset;
        }
    }
    if (present_.size() == 1 && present_.front() == proto::Range{0, file_.size()}) {
        present_.front().length -= std::min(kLastPieceBytes, file_.size());
    }
    std::erase_if(present_, [](const proto::Range& range) { return range.length == 0; });
    for (const proto::Range& range : present_) {
        outstanding_ -= range.length;
    }
}

proto::Range LargeSource::missing(std::uint64_t offset, std::uint64_t end) const {
    // The first range that ends behind `offset`.
    auto next = std::ranges::upper_bound(present_, offset, {}, [](const proto::Range& range) {
        return range.offset + range.length;
    });
    // Ranges do not touch, so behind one of them something is missing.
    if (next != present_.end() && next->offset <= offset) {
        offset = next->offset + next->length;
        ++next;
    }
    if (next != present_.end()) {
        end = std::min(end, next->offset);
    }
    return {offset, end > offset ? end - offset : 0};
}

bool LargeSource::acknowledged(std::uint64_t bytes) noexcept {
    outstanding_ -= bytes;
    return outstanding_ == 0;
}

} // namespace sluice
