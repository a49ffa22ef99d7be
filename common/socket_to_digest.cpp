#include "common/socket_to_digest.hpp"

#include <algorithm>
#include <cerrno>
#include <sys/socket.h>

namespace sluice {

namespace {

// Small enough that what recv(2) has written is hashed out of the processor's cache.
constexpr std::size_t kBufferBytes = std::size_t{256} << 10;

} // namespace

Step SocketToDigest::step(int socket, ByteSink& sink, std::uint64_t budget_bytes) {
    if (!buffer_) {
        buffer_ = std::make_unique_for_overwrite<std::byte[]>(kBufferBytes);
    }
    Step total;
    while (total.moved < budget_bytes) {
        const auto wanted = static_cast<std::size_t>(
            std::min<std::uint64_t>(budget_bytes - total.moved, kBufferBytes));
        count_system_call();
        const ssize_t got = ::recv(socket, buffer_.get(), wanted, 0);
        if (got > 0) {
            sink.add({buffer_.get(), static_cast<std::size_t>(got)});
            total.moved += static_cast<std::uint64_t>(got);
        } else if (got == 0) {
            total.status = StepStatus::end;
            return total;
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            total.status = StepStatus::would_block;
            return total;
        } else if (errno != EINTR) {
            total.status = StepStatus::socket_failed;
            total.error_number = errno;
            return total;
        }
    }
    return total;
}

} // namespace sluice
