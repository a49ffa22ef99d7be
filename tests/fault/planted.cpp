// For LD_PRELOAD into sluice-recv: a receiver with a bug, or one that a peer has taken over. It
// waits for the first connection, so that the receiver has done to itself all that it does.
//
//   SLUICE_PLANTED=FOLLOW  openat2(2) is not told to stay beneath and to follow no links any more
//   SLUICE_PLANTED=RUN     the next thread that opens a file reads and writes the file
//                          $SLUICE_PLANTED_FILE, asks for a socket and executes /bin/echo; it
//                          prints what came of each to standard error
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace {

std::atomic<bool> accepted{false};
std::atomic<bool> has_run{false};

bool is_planted(const char* what) {
    const char* const planted = std::getenv("SLUICE_PLANTED");
    return planted != nullptr && std::strcmp(planted, what) == 0;
}

const char* outcome(long result) {
    return result >= 0 ? "done" : ::strerrorname_np(errno);
}

void run_planted() {
    const char* const file = std::getenv("SLUICE_PLANTED_FILE");
    const char* const reading = outcome(::open(file, O_RDONLY | O_CLOEXEC));
    const char* const writing = outcome(::open(file, O_WRONLY | O_APPEND | O_CLOEXEC));
    const char* const socket = outcome(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    std::fprintf(stderr, "planted: read %s, write %s, socket %s\n", reading, writing, socket);
    ::execl("/bin/echo", "echo", "planted: executed", nullptr);
    std::fprintf(stderr, "planted: execute %s\n", outcome(-1));
}

template <typename Function>
Function next(const char* symbol) {
    return reinterpret_cast<Function>(::dlsym(RTLD_NEXT, symbol));
}

} // namespace

extern "C" [[gnu::visibility("default")]] int accept4(int fd, struct sockaddr* address,
                                                      socklen_t* length, int flags) {
    using Accept = int (*)(int, struct sockaddr*, socklen_t*, int);
    const int made = next<Accept>("accept4")(fd, address, length, flags);
    accepted = accepted || made >= 0;
    return made;
}

// The assembler name lets it stand beside the declaration of the C library, which is variadic.
extern "C" [[gnu::visibility("default")]] long planted_syscall(long, long, long, long, long, long,
                                                               long) __asm__("syscall");
extern "C" long planted_syscall(long number, long a, long b, long c, long d, long e, long f) {
    if (number == SYS_openat2 && accepted) {
        if (is_planted("FOLLOW")) {
            reinterpret_cast<open_how*>(c)->resolve = 0;
        }
        if (is_planted("RUN") && !has_run.exchange(true)) {
            run_planted();
        }
    }
    using Call = long (*)(long, long, long, long, long, long, long);
    return next<Call>("syscall")(number, a, b, c, d, e, f);
}
