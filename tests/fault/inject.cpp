// For LD_PRELOAD: makes the n-th call of a libc function fail, fall short or be the last thing the
// program does.
//
//   SLUICE_INJECT=CALL:N:ACTION    ACTION is an errno name, SHORT or KILL; "N+" is: from the N-th
//   on SLUICE_INJECT_COUNT=FILE       where to count the calls (counts.hpp)
//
// CALL is a name from SLUICE_CALLS, with "uv." in front for those that libuv makes, or "any". N
// counts from 1, over all threads. Variants (openat64, the fortified __openat64_2) are one call. A
// failing close does close. SHORT halves the bytes that are asked for and does nothing to calls
// that take no count. A program that calls nothing of this is as it was but for an atomic add.
#include "tests/fault/counts.hpp"

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

namespace {

using sluice::test::CountRecord;

// The formatter takes the list for declarations and indents it deeper each time.
// clang-format off
#define SLUICE_CALLS(X) \
    X(accept4) X(bind) X(chmod) X(close) X(closedir) X(connect) X(copy_file_range) X(dup) \
    X(epoll_create1) X(epoll_ctl) X(epoll_wait) X(eventfd) X(fallocate) X(fchmod) X(fcntl) \
    X(fdatasync) X(fdopendir) X(flock) X(fstat) X(fstatat) X(fstatvfs) X(fsync) X(ftruncate) \
    X(futimens) X(getdents64) X(getpeername) X(getrandom) X(getsockname) X(getsockopt) X(linkat) \
    X(listen) X(lseek) X(mkdirat) X(mmap) X(open) X(openat) X(openat2) X(pipe2) X(poll) \
    X(posix_fallocate) X(pread) X(pthread_create) X(pwrite) X(read) X(readdir) X(readlinkat) \
    X(recv) X(recvfrom) X(recvmsg) X(renameat) X(renameat2) X(send) X(sendfile) X(sendmsg) \
    X(sendto) X(setsockopt) X(shutdown) X(socket) X(splice) X(statx) X(symlinkat) X(syncfs) \
    X(sync_file_range) X(tee) X(unlinkat) X(utimensat) X(write) X(writev)
// clang-format on

#define SLUICE_NAME(name) name,
enum class Call : unsigned { SLUICE_CALLS(SLUICE_NAME) count_ };
#undef SLUICE_NAME
#define SLUICE_NAME(name) #name,
constexpr std::array kNames{SLUICE_CALLS(SLUICE_NAME)};
#undef SLUICE_NAME

// Records: the calls, the same by libuv, all of them, the faults.
constexpr std::size_t kCalls = static_cast<std::size_t>(Call::count_);
constexpr std::size_t kAny = 2 * kCalls;
constexpr std::size_t kInjected = kAny + 1;
constexpr std::size_t kRecords = kInjected + 1;

// Until the constructor has run nothing is injected, and what is counted is forgotten.
std::array<CountRecord, kRecords> own_records;
CountRecord* records = own_records.data();

enum class Action : unsigned char { none, fail, shorten, kill };
struct Rule {
    std::size_t record = 0;
    std::uint64_t from = 0;
    bool repeat = false;
    Action action = Action::none;
    int error = 0;
} rule;

// Where libuv's code is.
std::uintptr_t uv_begin = 0;
std::uintptr_t uv_end = 0;

[[noreturn]] void give_up(const char* what) {
    static_cast<void>(!::write(STDERR_FILENO, what, std::strlen(what)));
    ::_exit(99);
}

std::uint64_t count(std::size_t record) {
    return std::atomic_ref(records[record].count).fetch_add(1, std::memory_order_relaxed) + 1;
}

int parse_error(const char* name) {
    for (int error = 1; error < 134; ++error) {
        const char* const known = ::strerrorname_np(error);
        if (known != nullptr && std::strcmp(known, name) == 0) {
            return error;
        }
    }
    give_up("sluice_inject: unknown errno\n");
}

void parse_rule(const char* text) {
    const char* const colon = std::strchr(text, ':');
    char* rest = nullptr;
    Rule parsed;
    parsed.from = colon == nullptr ? 0 : std::strtoull(colon + 1, &rest, 10);
    if (parsed.from == 0) {
        give_up("sluice_inject: SLUICE_INJECT is not CALL:N:ACTION\n");
    }
    const auto length = static_cast<std::size_t>(colon - text);
    while (parsed.record < kInjected && (std::strlen(records[parsed.record].name) != length ||
                                         std::memcmp(records[parsed.record].name, text, length))) {
        ++parsed.record;
    }
    if (parsed.record == kInjected) {
        give_up("sluice_inject: unknown call\n");
    }
    parsed.repeat = *rest == '+';
    rest += parsed.repeat ? 1 : 0;
    if (*rest != ':') {
        give_up("sluice_inject: no action\n");
    }
    if (const char* const action = rest + 1; std::strcmp(action, "SHORT") == 0) {
        parsed.action = Action::shorten;
    } else if (std::strcmp(action, "KILL") == 0) {
        parsed.action = Action::kill;
    } else {
        parsed.action = Action::fail;
        parsed.error = parse_error(action);
    }
    rule = parsed;
}

void name_records() {
    const auto name = [](std::size_t record, const char* prefix, const char* rest) {
        std::strncpy(own_records[record].name, prefix, sizeof own_records[record].name - 1);
        std::strncat(own_records[record].name, rest,
                     sizeof own_records[record].name - 1 - std::strlen(prefix));
        own_records[record].count = 0;
    };
    for (std::size_t call = 0; call < kCalls; ++call) {
        name(call, "", kNames[call]);
        name(kCalls + call, sluice::test::kUvPrefix, kNames[call]);
    }
    name(kAny, "", sluice::test::kAnyCall);
    name(kInjected, "", sluice::test::kInjected);
}

void map_records(const char* file) {
    const int fd = ::open(file, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || ::write(fd, own_records.data(), sizeof own_records) !=
                      static_cast<ssize_t>(sizeof own_records)) {
        give_up("sluice_inject: cannot write the file for the counts\n");
    }
    void* const mapped =
        ::mmap(nullptr, sizeof own_records, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (mapped == MAP_FAILED) {
        give_up("sluice_inject: cannot map the file for the counts\n");
    }
    ::close(fd);
    records = static_cast<CountRecord*>(mapped);
    std::memcpy(mapped, own_records.data(), sizeof own_records);
}

int find_uv(dl_phdr_info* object, std::size_t, void*) {
    if (std::strstr(object->dlpi_name, "libuv.so") == nullptr) {
        return 0;
    }
    uv_begin = object->dlpi_addr;
    for (unsigned part = 0; part < object->dlpi_phnum; ++part) {
        const auto& header = object->dlpi_phdr[part];
        if (header.p_type == PT_LOAD) {
            uv_end = object->dlpi_addr + header.p_vaddr + header.p_memsz;
        }
    }
    return 1;
}

[[gnu::constructor]] void start() {
    name_records();
    ::dl_iterate_phdr(find_uv, nullptr);
    if (const char* const file = std::getenv("SLUICE_INJECT_COUNT")) {
        map_records(file);
    }
    for (CountRecord* record = records; record != records + kRecords; ++record) {
        record->count = 0; // those of this constructor
    }
    if (const char* const text = std::getenv("SLUICE_INJECT")) {
        parse_rule(text);
    }
}

// What happens to this call.
Action decide(Call call, const void* caller) {
    const auto address = reinterpret_cast<std::uintptr_t>(caller);
    const bool by_uv = uv_begin <= address && address < uv_end;
    const std::size_t record = static_cast<std::size_t>(call) + (by_uv ? kCalls : 0);
    const std::uint64_t number = count(record);
    const std::uint64_t any = count(kAny);
    const bool watched = rule.record == record || rule.record == kAny;
    const std::uint64_t reached = rule.record == kAny ? any : number;
    if (!watched || (rule.repeat ? reached < rule.from : reached != rule.from)) {
        return Action::none;
    }
    if (rule.action == Action::kill) {
        ::kill(::getpid(), SIGKILL);
    }
    return rule.action;
}

// Every function here takes at most six integers or pointers and returns one (syscall alone takes
// seven arguments). On the 64-bit ABIs of Linux they all travel alike, named or variadic, and bits
// above an int are nobody's business: one type fits all.
using Arguments = std::array<long, 6>;
using Real = long (*)(long, long, long, long, long, long);

// Halves what is asked for; false where there is nothing to halve.
bool shorten(Call call, Arguments& arguments) {
    std::size_t at = 2;
    switch (call) {
    case Call::read:
    case Call::pread:
    case Call::write:
    case Call::pwrite:
    case Call::send:
    case Call::sendto:
    case Call::recv:
    case Call::recvfrom: break;
    case Call::getrandom: at = 1; break;
    case Call::sendfile: at = 3; break;
    case Call::splice:
    case Call::copy_file_range: at = 4; break;
    case Call::writev: arguments[2] = 1; return true;
    default: return false;
    }
    if (arguments[at] < 2) {
        return false;
    }
    arguments[at] /= 2;
    return true;
}

long pass(Call call, std::atomic<Real>& real, const char* symbol, const void* caller,
          Arguments arguments) {
    Real next = real.load(std::memory_order_relaxed);
    if (next == nullptr) {
        next = reinterpret_cast<Real>(::dlsym(RTLD_NEXT, symbol));
        real.store(next, std::memory_order_relaxed);
    }
    const auto forward = [&] {
        return next(arguments[0], arguments[1], arguments[2], arguments[3], arguments[4],
                    arguments[5]);
    };
    // Asking for flags and duplicates is too common to be worth failing.
    if (call == Call::fcntl && static_cast<int>(arguments[1]) != F_SETPIPE_SZ) {
        return forward();
    }
    const Action action = decide(call, caller);
    if (action == Action::none || (action == Action::shorten && !shorten(call, arguments))) {
        return forward();
    }
    count(kInjected);
    if (action == Action::shorten) {
        return forward();
    }
    if (call == Call::close || call == Call::closedir) {
        forward(); // close(2): the descriptor is gone whatever it returns
    }
    if (call == Call::pthread_create || call == Call::posix_fallocate) {
        return rule.error;
    }
    errno = rule.error;
    return call == Call::fdopendir || call == Call::readdir ? 0 : -1;
}

} // namespace

// The assembler name lets these stand beside the declarations of the C library, whose types,
// exception specifications and large-file renaming differ.
#define SLUICE_INTERCEPT(call, name, symbol)                                                       \
    extern "C" [[gnu::visibility("default")]] long intercept_##name(long, long, long, long, long,  \
                                                                    long) __asm__(symbol);         \
    extern "C" long intercept_##name(long a, long b, long c, long d, long e, long f) {             \
        static std::atomic<Real> real;                                                             \
        return pass(Call::call, real, symbol, __builtin_return_address(0), {a, b, c, d, e, f});    \
    }
#define SLUICE_INTERCEPT_SAME(name) SLUICE_INTERCEPT(name, name, #name)

SLUICE_INTERCEPT_SAME(accept4)
SLUICE_INTERCEPT(accept4, accept, "accept")
SLUICE_INTERCEPT_SAME(bind)
SLUICE_INTERCEPT_SAME(chmod)
SLUICE_INTERCEPT_SAME(close)
SLUICE_INTERCEPT_SAME(closedir)
SLUICE_INTERCEPT_SAME(connect)
SLUICE_INTERCEPT_SAME(copy_file_range)
SLUICE_INTERCEPT_SAME(dup)
SLUICE_INTERCEPT_SAME(epoll_create1)
SLUICE_INTERCEPT_SAME(epoll_ctl)
SLUICE_INTERCEPT_SAME(epoll_wait)
SLUICE_INTERCEPT(epoll_wait, epoll_pwait, "epoll_pwait")
SLUICE_INTERCEPT_SAME(eventfd)
SLUICE_INTERCEPT_SAME(fallocate)
SLUICE_INTERCEPT(fallocate, fallocate64, "fallocate64")
SLUICE_INTERCEPT_SAME(fchmod)
SLUICE_INTERCEPT_SAME(fcntl)
SLUICE_INTERCEPT(fcntl, fcntl64, "fcntl64")
SLUICE_INTERCEPT_SAME(fdatasync)
SLUICE_INTERCEPT_SAME(fdopendir)
SLUICE_INTERCEPT_SAME(flock)
SLUICE_INTERCEPT_SAME(fstat)
SLUICE_INTERCEPT(fstat, fstat64, "fstat64")
SLUICE_INTERCEPT_SAME(fstatat)
SLUICE_INTERCEPT(fstatat, fstatat64, "fstatat64")
SLUICE_INTERCEPT_SAME(fstatvfs)
SLUICE_INTERCEPT(fstatvfs, fstatvfs64, "fstatvfs64")
SLUICE_INTERCEPT_SAME(fsync)
SLUICE_INTERCEPT_SAME(ftruncate)
SLUICE_INTERCEPT(ftruncate, ftruncate64, "ftruncate64")
SLUICE_INTERCEPT_SAME(futimens)
SLUICE_INTERCEPT_SAME(getdents64)
SLUICE_INTERCEPT_SAME(getpeername)
SLUICE_INTERCEPT_SAME(getrandom)
SLUICE_INTERCEPT_SAME(getsockname)
SLUICE_INTERCEPT_SAME(getsockopt)
SLUICE_INTERCEPT_SAME(linkat)
SLUICE_INTERCEPT_SAME(listen)
SLUICE_INTERCEPT_SAME(lseek)
SLUICE_INTERCEPT(lseek, lseek64, "lseek64")
SLUICE_INTERCEPT_SAME(mkdirat)
SLUICE_INTERCEPT_SAME(mmap)
SLUICE_INTERCEPT(mmap, mmap64, "mmap64")
SLUICE_INTERCEPT_SAME(open)
SLUICE_INTERCEPT(open, open64, "open64")
SLUICE_INTERCEPT(open, open_2, "__open_2")
SLUICE_INTERCEPT(open, open64_2, "__open64_2")
SLUICE_INTERCEPT_SAME(openat)
SLUICE_INTERCEPT(openat, openat64, "openat64")
SLUICE_INTERCEPT(openat, openat_2, "__openat_2")
SLUICE_INTERCEPT(openat, openat64_2, "__openat64_2")
SLUICE_INTERCEPT_SAME(pipe2)
SLUICE_INTERCEPT_SAME(poll)
SLUICE_INTERCEPT(poll, ppoll, "ppoll")
SLUICE_INTERCEPT(poll, poll_chk, "__poll_chk")
SLUICE_INTERCEPT_SAME(posix_fallocate)
SLUICE_INTERCEPT(posix_fallocate, posix_fallocate64, "posix_fallocate64")
SLUICE_INTERCEPT_SAME(pread)
SLUICE_INTERCEPT(pread, pread64, "pread64")
SLUICE_INTERCEPT(pread, pread_chk, "__pread_chk")
SLUICE_INTERCEPT(pread, pread64_chk, "__pread64_chk")
SLUICE_INTERCEPT_SAME(pthread_create)
SLUICE_INTERCEPT_SAME(pwrite)
SLUICE_INTERCEPT(pwrite, pwrite64, "pwrite64")
SLUICE_INTERCEPT_SAME(read)
SLUICE_INTERCEPT(read, read_chk, "__read_chk")
SLUICE_INTERCEPT_SAME(readdir)
SLUICE_INTERCEPT(readdir, readdir64, "readdir64")
SLUICE_INTERCEPT_SAME(readlinkat)
SLUICE_INTERCEPT(readlinkat, readlinkat_chk, "__readlinkat_chk")
SLUICE_INTERCEPT_SAME(recv)
SLUICE_INTERCEPT(recv, recv_chk, "__recv_chk")
SLUICE_INTERCEPT_SAME(recvfrom)
SLUICE_INTERCEPT(recvfrom, recvfrom_chk, "__recvfrom_chk")
SLUICE_INTERCEPT_SAME(recvmsg)
SLUICE_INTERCEPT_SAME(renameat)
SLUICE_INTERCEPT_SAME(renameat2)
SLUICE_INTERCEPT_SAME(send)
SLUICE_INTERCEPT_SAME(sendfile)
SLUICE_INTERCEPT(sendfile, sendfile64, "sendfile64")
SLUICE_INTERCEPT_SAME(sendmsg)
SLUICE_INTERCEPT_SAME(sendto)
SLUICE_INTERCEPT_SAME(setsockopt)
SLUICE_INTERCEPT_SAME(shutdown)
SLUICE_INTERCEPT_SAME(socket)
SLUICE_INTERCEPT_SAME(splice)
SLUICE_INTERCEPT_SAME(statx)
SLUICE_INTERCEPT_SAME(symlinkat)
SLUICE_INTERCEPT_SAME(syncfs)
SLUICE_INTERCEPT_SAME(sync_file_range)
SLUICE_INTERCEPT_SAME(tee)
SLUICE_INTERCEPT_SAME(unlinkat)
SLUICE_INTERCEPT_SAME(utimensat)
SLUICE_INTERCEPT_SAME(write)
SLUICE_INTERCEPT_SAME(writev)

// For what the C library has no function of its own for; other numbers pass uncounted.
extern "C" [[gnu::visibility("default")]] long intercept_syscall(long, long, long, long, long, long,
                                                                 long) __asm__("syscall");
extern "C" long intercept_syscall(long number, long a, long b, long c, long d, long e, long f) {
    using RealSyscall = long (*)(long, long, long, long, long, long, long);
    static std::atomic<RealSyscall> real;
    if (real.load(std::memory_order_relaxed) == nullptr) {
        real = reinterpret_cast<RealSyscall>(::dlsym(RTLD_NEXT, "syscall"));
    }
    if (number == SYS_openat2 &&
        decide(Call::openat2, __builtin_return_address(0)) == Action::fail) {
        count(kInjected);
        errno = rule.error;
        return -1;
    }
    return real.load(std::memory_order_relaxed)(number, a, b, c, d, e, f);
}
