#include "sender/send_meter.hpp"

#include "common/net.hpp"

#include <utility>

namespace sluice {

namespace {

// Often enough for a decision at once, seldom enough to cost nothing: a report asks the kernel.
constexpr std::chrono::milliseconds kReportInterval{5};

} // namespace

void SendMeter::begin() {
    if (compression_.adapts() && !std::exchange(active_, true)) {
        since_ = Clock::now();
    }
}

void SendMeter::pause() {
    if (std::exchange(active_, false)) {
        report(Clock::now());
    }
}

void SendMeter::disconnected() {
    active_ = false;
    acknowledged_ = 0;
    waited_ = socket_.waited();
    starved_ = frames_.starved();
    report_ = {};
}

void SendMeter::sent(std::uint64_t payload, std::uint64_t on_wire, bool packed) {
    if (!active_) {
        return;
    }
    report_.sent.payload += payload;
    report_.sent.payload_packed += packed ? payload : 0;
    report_.sent.on_wire += on_wire;
    const Clock::time_point now = Clock::now();
    if (now - since_ >= kReportInterval) {
        report(now);
    }
}

void SendMeter::report(Clock::time_point now) {
    const TcpProgress progress = tcp_progress(socket_.fd());
    const std::uint64_t before = std::exchange(acknowledged_, progress.acknowledged_bytes);
    report_.acknowledged = acknowledged_ > before ? acknowledged_ - before : 0;
    report_.sent.round_trip = progress.round_trip;
    report_.sent.active = now - std::exchange(since_, now);
    report_.sent.waited = socket_.waited() - std::exchange(waited_, socket_.waited());
    report_.sent.starved = frames_.starved() - std::exchange(starved_, frames_.starved());
    compression_.report(stream_, std::exchange(report_, {}), now);
}

} // namespace sluice
