// For the contract tests of FileToSocket and SocketToFile, which run for every implementation.
// They compare contents inside a second pair of parentheses: Catch2 would print megabytes.
#pragma once

#include "common/zero_copy.hpp"
#include "tests/support/scratch_file.hpp"
#include "tests/support/tcp_pair.hpp"

#include <catch2/catch.hpp>
#include <csignal>
#include <iterator>

namespace sluice::test {

using Bytes = std::vector<std::byte>;

inline constexpr CopyPath kPaths[] = {CopyPath::zero_copy, CopyPath::copy, CopyPath::automatic};

inline CopyPath any_path() {
    // Programs ignore SIGPIPE: sendfile(2) has no MSG_NOSIGNAL.
    std::signal(SIGPIPE, SIG_IGN);
    const CopyPath path = GENERATE(from_range(std::begin(kPaths), std::end(kPaths)));
    UNSCOPED_INFO("path " << static_cast<int>(path) << " (0 automatic, 1 zero-copy, 2 copy)");
    return path;
}

inline Bytes part(const Bytes& bytes, std::size_t offset, std::size_t length) {
    const auto first = bytes.begin() + static_cast<std::ptrdiff_t>(offset);
    return {first, first + static_cast<std::ptrdiff_t>(length)};
}

// Steps until `wanted` bytes have moved or something other than would_block happens.
inline Step receive_until(SocketToFile& mover, const TcpPair& pair, int file, std::uint64_t offset,
                          std::uint64_t wanted) {
    Step total;
    for (;;) {
        const Step step =
            mover.step(pair.receiver.get(), file, offset + total.moved, wanted - total.moved);
        total = {step.status, total.moved + step.moved, step.error_number, step.zero_copy};
        if (step.status != StepStatus::would_block || !wait_for(pair.receiver.get(), POLLIN)) {
            return total;
        }
    }
}

// A transfer of `content` into a file through `mover` on a fresh connection works.
inline bool transfers(SocketToFile& mover, const Bytes& content) {
    const TcpPair pair;
    const ScratchFile file;
    send_all(pair.sender.get(), content);
    const Step step = receive_until(mover, pair, file.fd(), 0, content.size());
    return step.status == StepStatus::progress && step.moved == content.size() &&
           file.content() == content;
}

} // namespace sluice::test
