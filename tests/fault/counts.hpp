// What the library sluice_inject leaves in the file that SLUICE_INJECT_COUNT names: an array of
// these. The file is mapped, so the numbers are there while the program runs, and after a SIGKILL.
#pragma once

#include <cstdint>

namespace sluice::test {

struct CountRecord {
    char name[24]; // ends in NUL
    std::uint64_t count;
};

// Names that are no calls: all calls together, and the faults that were injected.
inline constexpr const char* kAnyCall = "any";
inline constexpr const char* kInjected = "injected";
// A call that libuv made. It aborts on most failures of its own calls, by design.
inline constexpr const char* kUvPrefix = "uv.";

} // namespace sluice::test
