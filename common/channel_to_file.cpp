#include "common/channel_to_file.hpp"

#include "common/usage.hpp"

#include <algorithm>
#include <cerrno>
#include <span>
#include <unistd.h>

namespace sluice {

namespace {

constexpr std::size_t kBufferBytes = std::size_t{256} << 10;

// 0 or errno.
int write_all(int file, std::span<const std::byte> bytes, std::uint64_t offset) {
    while (!bytes.empty()) {
        count_system_call();
        const ssize_t written =
            ::pwrite(file, bytes.data(), bytes.size(), static_cast<off_t>(offset));
        if (written > 0) {
            offset += static_cast<std::uint64_t>(written);
            bytes = bytes.subspan(static_cast<std::size_t>(written));
        } else if (written == 0) {
            return EIO; // it can neither fail nor go on
        } else if (errno != EINTR) {
            return errno;
        }
    }
    return 0;
}

} // namespace

Step ChannelToFile::receive(Channel& channel, std::uint64_t budget_bytes, ByteSink* digester) {
    if (!buffer_) {
        buffer_ = std::make_unique_for_overwrite<std::byte[]>(kBufferBytes);
    }
    const auto wanted =
        static_cast<std::size_t>(std::min<std::uint64_t>(budget_bytes, kBufferBytes));
    for (;;) {
        const ssize_t got = channel.recv({buffer_.get(), wanted});
        if (got > 0) {
            const auto bytes = static_cast<std::size_t>(got);
            if (digester != nullptr) {
                digester->add({buffer_.get(), bytes});
            }
            return {StepStatus::progress, bytes, 0, false};
        }
        if (got == 0) {
            return {StepStatus::end, 0, 0, false};
        }
        if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return {StepStatus::would_block, 0, 0, false};
        }
        if (errno != EINTR) {
            return {StepStatus::socket_failed, 0, errno, false};
        }
    }
}

Step ChannelToFile::step(Channel& channel, int file, std::uint64_t offset,
                         std::uint64_t budget_bytes, ByteSink* digester) {
    Step total;
    while (total.status == StepStatus::progress && total.moved < budget_bytes) {
        const Step one = receive(channel, budget_bytes - total.moved, digester);
        total.status = one.status;
        total.error_number = one.error_number;
        if (one.moved > 0) {
            const std::span<const std::byte> bytes(buffer_.get(),
                                                   static_cast<std::size_t>(one.moved));
            const std::uint64_t position = offset + total.moved;
            total.moved += one.moved;
            if (const int problem = write_all(file, bytes, position); problem != 0) {
                total.status = StepStatus::file_failed;
                total.error_number = problem;
            }
        }
    }
    return total;
}

Step ChannelToFile::discard(Channel& channel, std::uint64_t budget_bytes, ByteSink* digester) {
    Step total;
    while (total.status == StepStatus::progress && total.moved < budget_bytes) {
        const Step one = receive(channel, budget_bytes - total.moved, digester);
        total.status = one.status;
        total.error_number = one.error_number;
        total.moved += one.moved;
    }
    return total;
}

} // namespace sluice
