#include "receiver/farewell.hpp"

#include "common/exit_code.hpp"
#include "common/usage.hpp"

#include <array>
#include <cerrno>
#include <chrono>
#include <span>
#include <sys/socket.h>
#include <utility>

namespace sluice {

namespace {

constexpr std::chrono::milliseconds kPatience{2'000};
constexpr int kReadsPerTurn = 64;

} // namespace

Farewell::Farewell(Loop& loop, Channel channel, const proto::Bytes& last_bytes,
                   std::function<void(Farewell*)> done)
    : channel_(std::move(channel)), done_(std::move(done)),
      poll_(loop, channel_.fd(), [this](Readiness) { drain(); }),
      timer_(loop, [this] { finish(); }) {
    for (std::span<const std::byte> rest = last_bytes; !rest.empty();) {
        const ssize_t sent = channel_.send(rest);
        if (sent <= 0) {
            break;
        }
        rest = rest.subspan(static_cast<std::size_t>(sent));
    }
    ::shutdown(channel_.fd(), SHUT_WR);
    poll_.wait_for({true, false});
    timer_.start(kPatience);
}

Farewell::~Farewell() = default;

void Farewell::drain() {
    std::array<std::byte, 16'384> dropped;
    for (int reads = 0; reads < kReadsPerTurn; ++reads) {
        count_system_call();
        const ssize_t got = ::recv(channel_.fd(), dropped.data(), dropped.size(), MSG_DONTWAIT);
        if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) {
            finish();
            return;
        }
        if (got < 0) {
            return;
        }
    }
}

void Farewell::finish() {
    poll_.wait_for({});
    timer_.stop();
    if (const auto done = std::exchange(done_, nullptr); done) {
        done(this);
    }
}

proto::Bytes error_frame(const Error& error) {
    proto::Bytes bytes;
    proto::encode(
        proto::ErrorMessage{static_cast<std::uint16_t>(exit_code(error.kind)), error.message},
        bytes);
    return bytes;
}

} // namespace sluice
