// Tells of connections that were refused without letting whoever makes them fill the log: the first
// at once, and then at most one summary per interval. Lives on the thread of its loop.
#pragma once

#include "common/loop.hpp"
#include "receiver/report.hpp"

#include <chrono>
#include <functional>
#include <string>
#include <string_view>

namespace sluice {

class RefusalLog {
public:
    RefusalLog(Loop& loop, std::chrono::milliseconds interval,
               std::function<void(const Refusals&)> tell);
    // Tells what it has not told yet.
    ~RefusalLog();
    RefusalLog(const RefusalLog&) = delete;
    RefusalLog& operator=(const RefusalLog&) = delete;

    // `reason` is of this side's making, or escaped.
    void note(const std::string& address, std::string_view reason);

private:
    void tell();

    const std::chrono::milliseconds interval_;
    const std::function<void(const Refusals&)> tell_;
    Refusals untold_;
    std::chrono::steady_clock::time_point told_at_{};
    bool waiting_ = false; // until the interval is over
    Timer timer_;
};

} // namespace sluice
