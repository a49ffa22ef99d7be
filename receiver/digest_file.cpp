#include "receiver/digest_file.hpp"

#include "common/text.hpp"
#include "common/usage.hpp"

#include <cerrno>
#include <fcntl.h>
#include <fmt/format.h>
#include <string_view>
#include <unistd.h>

namespace sluice {

namespace {

constexpr std::size_t kMaxTextBytes = std::size_t{1} << 20;
constexpr mode_t kMode = 0666; // less the umask

} // namespace

Result<DigestFile> DigestFile::open(const std::string& path) {
    UniqueFd file =
        UniqueFd::adopt(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, kMode));
    if (!file) {
        return system_error(ErrorKind::file_io, fmt::format("cannot open {}", escape(path)), errno);
    }
    return DigestFile(path, std::move(file));
}

bool DigestFile::Lines::add(const ListedFile& file) {
    if (file.path.find('\n') != std::string::npos) {
        return false;
    }
    text_ += fmt::format("{}  {}\n", to_hex(file.digest), file.path);
    return true;
}

bool DigestFile::is_full(const Lines& lines) noexcept {
    return lines.text_.size() >= kMaxTextBytes;
}

Status DigestFile::append(Lines& lines) {
    const std::scoped_lock lock(mutex_);
    for (std::string_view rest = lines.text_; !rest.empty();) {
        count_system_call();
        const ssize_t wrote = ::write(file_.get(), rest.data(), rest.size());
        if (wrote < 0 && errno == EINTR) {
            continue;
        }
        if (wrote < 0) {
            return system_error(ErrorKind::file_io,
                                fmt::format("cannot write to {}", escape(path_)), errno);
        }
        rest.remove_prefix(static_cast<std::size_t>(wrote));
    }
    lines.text_.clear();
    return ok();
}

} // namespace sluice
