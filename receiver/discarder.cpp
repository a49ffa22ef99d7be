#include "receiver/discarder.hpp"

#include "common/usage.hpp"

#include <cerrno>
#include <fcntl.h>
#include <numeric>
#include <utility>

namespace sluice {

Result<std::unique_ptr<Storage>> Discarder::open(const proto::Open& request) {
    if ((request.flags & proto::kOpenSync) != 0) {
        return Error{ErrorKind::refused,
                     "this receiver discards what it gets, so nothing can be on its medium: leave "
                     "out --fsync"};
    }
    count_system_call();
    UniqueFd null = UniqueFd::adopt(::open("/dev/null", O_WRONLY | O_CLOEXEC));
    if (!null) {
        return system_error(ErrorKind::file_io, "cannot open /dev/null", errno);
    }
    return std::unique_ptr<Storage>(new Discarder(request, std::move(null)));
}

Discarder::Discarder(const proto::Open& request, UniqueFd null)
    : null_(std::move(null)), dry_run_((request.flags & proto::kOpenDryRun) != 0),
      fresh_roots_(request.roots.size()) {
    std::iota(fresh_roots_.begin(), fresh_roots_.end(), std::uint16_t{0});
}

bool Discarder::wants(const proto::OfferEntry& /*offered*/, DirectoryCache& /*directories*/,
                      std::vector<proto::Range>& /*present*/) {
    return true;
}

std::optional<StoreProblem> Discarder::put(proto::Record record, DirectoryCache& /*directories*/) {
    switch (record.kind) {
    case proto::RecordKind::directory: ++counts_.directories; break;
    case proto::RecordKind::symlink: ++counts_.symlinks; break;
    case proto::RecordKind::file:
        ++counts_.settled;
        ++counts_.files;
        break;
    }
    return std::nullopt;
}

Storage::BegunExtent Discarder::begin_extent(const proto::Extent& extent,
                                             DirectoryCache& /*directories*/) {
    return files_.begin(extent, [this](LargeFile& file) {
        file.shared_fd = null_.get();
        return std::nullopt;
    });
}

std::optional<StoreProblem> Discarder::extent_done(LargeFile& file, std::uint64_t offset,
                                                   std::uint64_t length,
                                                   const std::optional<Digest>& /*digest*/) {
    static_cast<void>(files_.done(file, offset, length)); // closed where it was aborted
    return std::nullopt;
}

std::optional<StoreProblem> Discarder::hole_done(LargeFile& file, std::uint64_t offset,
                                                 std::uint64_t length) {
    return extent_done(file, offset, length, std::nullopt);
}

void Discarder::extent_lost(LargeFile& file) {
    static_cast<void>(files_.lost(file));
}

Storage::EndedFile Discarder::end_file(std::uint64_t id, DirectoryCache& /*directories*/) {
    const std::unique_ptr<LargeFile> file = files_.end(id);
    if (!file) {
        return {proto::Fault::bad_value};
    }
    ++counts_.settled;
    counts_.files += file->dead ? 0U : 1U;
    return {};
}

proto::Fault Discarder::abort_file(std::uint64_t id) {
    std::unique_ptr<LargeFile> over;
    return files_.abort(id, over);
}

Status Discarder::publish(const Report& /*report*/) {
    return ok();
}

Status Discarder::list_files(const std::function<void(const ListedFile&)>& /*visit*/,
                             std::uint64_t& left_out) {
    left_out = 0;
    return ok();
}

} // namespace sluice
