#include "receiver/refusal_log.hpp"

#include <utility>

namespace sluice {

RefusalLog::RefusalLog(Loop& loop, std::chrono::milliseconds interval,
                       std::function<void(const Refusals&)> tell)
    : interval_(interval), tell_(std::move(tell)), timer_(loop, [this] {
          waiting_ = untold_.count > 0; // an idle receiver has no timer
          if (waiting_) {
              this->tell();
          }
      }) {}

RefusalLog::~RefusalLog() {
    if (untold_.count > 0) {
        tell();
    }
}

void RefusalLog::note(const std::string& address, std::string_view reason) {
    ++untold_.count;
    untold_.last_address = address;
    untold_.last_reason = reason;
    if (!std::exchange(waiting_, true)) {
        told_at_ = std::chrono::steady_clock::now();
        tell();
    }
}

void RefusalLog::tell() {
    const auto now = std::chrono::steady_clock::now();
    untold_.seconds = std::chrono::duration<double>(now - std::exchange(told_at_, now)).count();
    tell_(std::exchange(untold_, {}));
    timer_.start(interval_);
}

} // namespace sluice
