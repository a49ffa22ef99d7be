#define CATCH_CONFIG_MAIN
#include <catch2/catch.hpp>

// What ThreadSanitizer shall not report (compiler-rt, sanitizer_common/sanitizer_suppressions.h).
// libuv closes the descriptor of its epoll instance by a system call of its own, which the
// sanitizer does not see: whoever gets and closes that number next, in another thread, seems to
// close what the loop waited on. Nobody but libuv has the descriptor that epoll_wait(2) is given,
// so no other race can look like this one.
extern "C" const char* __tsan_default_suppressions();  // NOLINT(bugprone-reserved-identifier)
extern "C" const char* __tsan_default_suppressions() { // NOLINT(bugprone-reserved-identifier)
    return "race:epoll_wait\n";
}
