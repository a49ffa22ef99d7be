// What a transfer costs: CPU time, system calls, context switches; and which way its bytes went.
#pragma once

#include <atomic>
#include <cstdint>

namespace sluice {

// System calls that sluice itself made on the calling thread: every wrapper in common/ counts its
// call here. Calls inside libraries (name look-ups, the dynamic linker) are not seen; each turn of
// an event loop counts as one.
inline thread_local std::uint64_t thread_system_calls = 0;
inline void count_system_call() noexcept {
    ++thread_system_calls;
}

struct Usage {
    std::uint64_t cpu_us = 0; // user and system
    std::uint64_t system_calls = 0;
    std::uint64_t context_switches = 0; // voluntary and involuntary

    friend Usage operator-(const Usage& a, const Usage& b) noexcept {
        return {a.cpu_us - b.cpu_us, a.system_calls - b.system_calls,
                a.context_switches - b.context_switches};
    }
    Usage& operator+=(const Usage& other) noexcept {
        cpu_us += other.cpu_us;
        system_calls += other.system_calls;
        context_switches += other.context_switches;
        return *this;
    }
};

// Of the calling thread since it started (getrusage(2), RUSAGE_THREAD).
[[nodiscard]] Usage thread_usage() noexcept;

// Adds up what a thread uses from construction to the end of its scope, into a sum that other
// threads read.
struct SharedUsage {
    std::atomic<std::uint64_t> cpu_us{0};
    std::atomic<std::uint64_t> system_calls{0};
    std::atomic<std::uint64_t> context_switches{0};

    void add(const Usage& usage) noexcept;
    [[nodiscard]] Usage load() const noexcept;
};

// File bytes by the way they went through one end.
struct PathBytes {
    std::uint64_t zero_copy = 0;  // sendfile(2) or splice(2)
    std::uint64_t copied = 0;     // through user space
    std::uint64_t inlined = 0;    // small files, many to a write
    std::uint64_t compressed = 0; // file bytes that travelled as zstd

    [[nodiscard]] std::uint64_t total() const noexcept {
        return zero_copy + copied + inlined + compressed;
    }
    PathBytes& operator+=(const PathBytes& other) noexcept {
        zero_copy += other.zero_copy;
        copied += other.copied;
        inlined += other.inlined;
        compressed += other.compressed;
        return *this;
    }
};

} // namespace sluice
