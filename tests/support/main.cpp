#define CATCH_CONFIG_MAIN
#include "common/log.hpp"

#include <catch2/catch.hpp>

// The programs set up their log before they have threads. Without that, the first line of any
// thread would make it, under a guard within libspdlog that ThreadSanitizer does not see.
[[maybe_unused]] static const bool kLogIsThere = (sluice::log_verbose(""), true);

// What ThreadSanitizer shall not take note of (compiler-rt,
// sanitizer_common/sanitizer_suppressions.h). libuv closes descriptors of its own by system calls
// that the sanitizer does not see, and openat2(2) gets their numbers by another: whoever closes
// such a number then, in another thread, seems to close what a loop was waiting on or reading. So
// nothing counts that libuv itself does to descriptors; what our callbacks do counts.
extern "C" const char* __tsan_default_suppressions();  // NOLINT(bugprone-reserved-identifier)
extern "C" const char* __tsan_default_suppressions() { // NOLINT(bugprone-reserved-identifier)
    return "called_from_lib:libuv.so\n";
}
