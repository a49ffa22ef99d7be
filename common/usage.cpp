#include "common/usage.hpp"

#include <sys/resource.h>

namespace sluice {
namespace {

std::uint64_t microseconds(const timeval& time) noexcept {
    return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000 +
           static_cast<std::uint64_t>(time.tv_usec);
}

} // namespace

Usage thread_usage() noexcept {
    count_system_call();
    rusage used{};
    if (::getrusage(RUSAGE_THREAD, &used) != 0) {
        return {0, thread_system_calls, 0};
    }
    return {microseconds(used.ru_utime) + microseconds(used.ru_stime), thread_system_calls,
            static_cast<std::uint64_t>(used.ru_nvcsw) + static_cast<std::uint64_t>(used.ru_nivcsw)};
}

void SharedUsage::add(const Usage& usage) noexcept {
    cpu_us.fetch_add(usage.cpu_us, std::memory_order_relaxed);
    system_calls.fetch_add(usage.system_calls, std::memory_order_relaxed);
    context_switches.fetch_add(usage.context_switches, std::memory_order_relaxed);
}

Usage SharedUsage::load() const noexcept {
    return {cpu_us.load(std::memory_order_relaxed), system_calls.load(std::memory_order_relaxed),
            context_switches.load(std::memory_order_relaxed)};
}

} // namespace sluice
