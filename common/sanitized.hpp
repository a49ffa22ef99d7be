// Whether AddressSanitizer or ThreadSanitizer is built in. They do things to their own process, for
// reports and leaks, that must stay allowed, and take more memory, time and system calls.
#pragma once

namespace sluice {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) // GCC
inline constexpr bool kSanitized = true;
#elif defined(__has_feature) // Clang
inline constexpr bool kSanitized =
    __has_feature(address_sanitizer) || __has_feature(thread_sanitizer);
#else
inline constexpr bool kSanitized = false;
#endif

} // namespace sluice
