#include "common/unique_fd.hpp"

#include "common/usage.hpp"

#include <cerrno>

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

} // namespace sluice
