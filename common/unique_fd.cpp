#include "common/unique_fd.hpp"

#include "common/usage.hpp"

#include <cerrno>
#include <sys/resource.h>

namespace sluice {

int UniqueFd::close() noexcept {
    if (fd_ < 0) {
        return 0;
    }
    count_system_call();
    // Linux frees the descriptor also where it reports EINTR: closing again could hit another
    // thread's file.
    return ::close(std::exchange(fd_, -1)) == 0 ? 0 : errno;
}

void raise_descriptor_limit() noexcept {
    rlimit limit{};
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        static_cast<void>(setrlimit(RLIMIT_NOFILE, &limit));
    }
}

} // namespace sluice
