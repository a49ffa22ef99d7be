#include "common/zero_copy.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <fcntl.h>
#include <unistd.h>

namespace sluice {
namespace {

int pipe_control(int fd, int command, int argument) noexcept {
    count_system_call();
    return ::fcntl(fd, command, argument);
}

} // namespace

Result<Pipe> make_pipe(std::size_t wanted_bytes) {
    std::array<int, 2> ends{};
    count_system_call();
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
        return system_error(ErrorKind::file_io, "cannot make a pipe", errno);
    }
    Pipe pipe{UniqueFd::adopt(ends[0]), UniqueFd::adopt(ends[1]), 0};

    const auto size = [&] { return std::max(pipe_control(ends[1], F_GETPIPE_SZ, 0), 0); };
    int granted = size();
    // EPERM above /proc/sys/fs/pipe-max-size, and for any growth once the user holds
    // pipe-user-pages-soft pages (64 MiB by default; each new pipe then starts with two pages).
    int asked = static_cast<int>(std::min<std::size_t>(wanted_bytes, INT_MAX));
    while (asked > granted && pipe_control(ends[1], F_SETPIPE_SZ, asked) < 0) {
        asked /= 2;
    }
    if (asked > granted) {
        granted = size(); // the kernel rounds up to a power of two pages
    }
    pipe.capacity_bytes = static_cast<std::size_t>(granted);
    return pipe;
}

} // namespace sluice
