// The bare reference: what the kernel does when nothing but plain system calls stands in the way.
//
// One blocking connection over loopback, one file, no framing, no verification: the yardstick for
// scripts/bench. Single-threaded. An error prints one line and exits with 1.
#include <algorithm>
#include <arpa/inet.h>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <span>
#include <string>
#include <string_view>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kPipeBytes = 1U << 20;     // the most an unprivileged user may ask for
constexpr std::size_t kCopyBytes = 1U << 20;     // larger is no faster
constexpr std::size_t kSendfileMax = 0x7ffff000; // the kernel moves no more in one call
constexpr std::uint64_t kMemoryBytes = 8U << 20; // as sluice-send --generate
constexpr std::size_t kPageBytes = 4096;         // or a divisor of what pages are
constexpr std::string_view kCopy = "copy";
constexpr const char* kUsage = R"(Usage:
  bare recv [--path splice|copy] FILE
      listen on a free loopback port (printed to stderr), store one stream in FILE
  bare recv [--path splice|copy] --discard
      the same into /dev/null
  bare send [--path sendfile|copy] [--congestion auto|NAME] FILE PORT
      send FILE to that port; ends when the receiver has stored all of it
  bare send [...] --generate BYTES PORT
      the same with 8 MiB in memory, sent over and over until BYTES are sent
  bare time [--output RESULT] [--hold] -- COMMAND...
      run COMMAND, with --hold only once standard input ends; its wall and CPU time go to RESULT
      (default: stdout)
  bare warm BYTES
      touch and free that much memory, so that the next program finds it backed by the host
  bare hold BYTES SPARE
      touch BYTES and SPARE of memory, free SPARE; say "holding", and keep BYTES until standard
      input ends
recv, send and time report one line of JSON.
)";

[[noreturn]] void die(const char* what) {
    const int number = errno;
    std::fprintf(stderr, "bare: %s: %s\n", what, std::strerror(number));
    std::exit(1);
}

[[noreturn]] void die_usage() {
    std::fputs(kUsage, stderr);
    std::exit(1);
}

// The result of a system call; does not return if it failed.
template <typename T>
T check(T result, const char* what) {
    if (result < 0) {
        die(what);
    }
    return result;
}

double seconds_of(const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
}

double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

// The figures that every report ends with; closes the JSON object.
void print_usage_fields(std::FILE* out, double seconds, const rusage& usage) {
    std::fprintf(out,
                 "\"seconds\":%.6f,\"cpu_seconds\":%.6f,\"user_seconds\":%.6f,"
                 "\"system_seconds\":%.6f,\"context_switches\":%ld,\"max_rss_kib\":%ld}\n",
                 seconds, seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime),
                 seconds_of(usage.ru_utime), seconds_of(usage.ru_stime),
                 usage.ru_nvcsw + usage.ru_nivcsw, usage.ru_maxrss);
}

void print_transfer(const char* role, std::string_view path, std::string_view congestion,
                    std::uint64_t bytes, Clock::time_point start) {
    const double seconds = seconds_since(start);
    rusage usage{};
    check(getrusage(RUSAGE_SELF, &usage), "getrusage");
    std::printf("{\"role\":\"%s\",\"path\":\"%.*s\",\"congestion\":\"%.*s\",\"bytes\":%llu,", role,
                static_cast<int>(path.size()), path.data(), static_cast<int>(congestion.size()),
                congestion.data(), static_cast<unsigned long long>(bytes));
    print_usage_fields(stdout, seconds, usage);
}

std::string congestion_of(int socket) {
    std::array<char, 16> name{}; // TCP_CA_NAME_MAX
    socklen_t length = name.size();
    check(getsockopt(socket, IPPROTO_TCP, TCP_CONGESTION, name.data(), &length), "TCP_CONGESTION");
    return std::string{name.data(), strnlen(name.data(), length)};
}

bool set_congestion(int socket, std::string_view name) {
    return setsockopt(socket, IPPROTO_TCP, TCP_CONGESTION, name.data(),
                      static_cast<socklen_t>(name.size())) == 0;
}

// BBR without the fq queueing discipline paces with timers, which on loopback costs most of the
// speed. Cubic needs a permission that reno never does.
void choose_congestion(int socket, std::string_view wanted) {
    if (wanted != "auto") {
        check(set_congestion(socket, wanted) ? 0 : -1, "TCP_CONGESTION");
    } else if (congestion_of(socket) == "bbr" && !set_congestion(socket, "cubic")) {
        check(set_congestion(socket, "reno") ? 0 : -1, "TCP_CONGESTION");
    }
}

sockaddr_in loopback(std::uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

const sockaddr* generic(const sockaddr_in& address) {
    return reinterpret_cast<const sockaddr*>(&address);
}

int accept_one() {
    const int listener = check(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
    sockaddr_in address = loopback(0);
    socklen_t length = sizeof address;
    check(bind(listener, generic(address), length), "bind");
    check(listen(listener, 1), "listen");
    check(getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length), "getsockname");
    std::fprintf(stderr, "listening on 127.0.0.1:%d\n", ntohs(address.sin_port));
    const int connection = check(accept4(listener, nullptr, nullptr, SOCK_CLOEXEC), "accept4");
    close(listener);
    return connection;
}

// The pipe is empty whenever the socket is read, so that each call moves as much as there is.
std::uint64_t receive_splice(int connection, int file) {
    std::array<int, 2> pipe{};
    check(pipe2(pipe.data(), O_CLOEXEC), "pipe2");
    static_cast<void>(fcntl(pipe[1], F_SETPIPE_SZ, kPipeBytes)); // may be refused: then smaller
    std::uint64_t total = 0;
    for (;;) {
        ssize_t held = check(
            splice(connection, nullptr, pipe[1], nullptr, kPipeBytes, SPLICE_F_MOVE), "splice in");
        if (held == 0) {
            break;
        }
        total += static_cast<std::uint64_t>(held);
        while (held > 0) {
            held -= check(splice(pipe[0], nullptr, file, nullptr, static_cast<std::size_t>(held),
                                 SPLICE_F_MOVE),
                          "splice out");
        }
    }
    close(pipe[0]);
    close(pipe[1]);
    return total;
}

std::uint64_t receive_copy(int connection, int file) {
    std::vector<char> buffer(kCopyBytes);
    std::uint64_t total = 0;
    for (;;) {
        const ssize_t got = check(recv(connection, buffer.data(), buffer.size(), 0), "recv");
        if (got == 0) {
            return total;
        }
        for (ssize_t done = 0; done < got;) {
            done += check(write(file, buffer.data() + done, static_cast<std::size_t>(got - done)),
                          "write");
        }
        total += static_cast<std::uint64_t>(got);
    }
}

// A file in memory in place of one on disk. What is in it does not matter here, only that its pages
// are there.
int make_memory_file() {
    const int file = check(memfd_create("bare", MFD_CLOEXEC), "memfd_create");
    const std::vector<char> content(kMemoryBytes, 'x');
    check(write(file, content.data(), content.size()), "write");
    return file;
}

// Asks for what is left and not more: beyond the end of the file, kernels before 6.5 hold the
// tail back for 200 ms.
std::uint64_t send_sendfile(int connection, int file, std::uint64_t size) {
    off_t offset = 0;
    std::uint64_t left = size;
    while (left > 0) {
        const auto chunk = left < kSendfileMax ? static_cast<std::size_t>(left) : kSendfileMax;
        const ssize_t sent = check(sendfile(connection, file, &offset, chunk), "sendfile");
        if (sent == 0) {
            break; // truncated meanwhile: the byte count shows it
        }
        left -= static_cast<std::uint64_t>(sent);
    }
    return size - left;
}

std::uint64_t send_copy(int connection, int file, std::uint64_t size) {
    std::vector<char> buffer(kCopyBytes);
    std::uint64_t total = 0;
    while (total < size) {
        const std::size_t wanted = std::min<std::uint64_t>(size - total, buffer.size());
        const ssize_t got = check(read(file, buffer.data(), wanted), "read");
        if (got == 0) {
            break; // as above
        }
        for (ssize_t done = 0; done < got;) {
            done += check(send(connection, buffer.data() + done,
                               static_cast<std::size_t>(got - done), MSG_NOSIGNAL),
                          "send");
        }
        total += static_cast<std::uint64_t>(got);
    }
    return total;
}

struct Arguments {
    std::string_view path;
    std::string_view congestion = "auto";
    const char* output = nullptr;
    bool discard = false;
    bool hold = false;
    std::uint64_t generate_bytes = 0; // 0: send a file
    char** rest = nullptr;            // what follows the options, ends with nullptr
};

Arguments parse(char** next, std::string_view fast_path) {
    Arguments result;
    result.path = fast_path;
    for (; *next != nullptr && std::string_view{*next}.starts_with("--"); ++next) {
        const std::string_view name = *next;
        if (name == "--") {
            ++next;
            break;
        }
        if (name == "--discard") {
            result.discard = true;
            continue;
        }
        if (name == "--hold") {
            result.hold = true;
            continue;
        }
        const char* value = *++next;
        if (value != nullptr && name == "--path" && (value == fast_path || value == kCopy)) {
            result.path = value;
        } else if (value != nullptr && name == "--congestion") {
            result.congestion = value;
        } else if (value != nullptr && name == "--output") {
            result.output = value;
        } else if (value != nullptr && name == "--generate") {
            result.generate_bytes = std::strtoull(value, nullptr, 10);
        } else {
            die_usage();
        }
    }
    if (*next == nullptr && !result.discard) {
        die_usage();
    }
    result.rest = next;
    return result;
}

int run_recv(const Arguments& arguments) {
    const char* name = arguments.discard ? "/dev/null" : arguments.rest[0];
    const int file = check(open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644), name);
    const int connection = accept_one();
    const auto start = Clock::now();
    const std::uint64_t bytes = arguments.path == "splice" ? receive_splice(connection, file)
                                                           : receive_copy(connection, file);
    check(close(file), name);
    const std::string congestion = congestion_of(connection);
    close(connection); // tells the sender that everything is stored
    print_transfer("recv", arguments.path, congestion, bytes, start);
    return 0;
}

// Sends all of the file, or so much of it over and over.
std::uint64_t send_bytes(const Arguments& arguments, int connection, int file, std::uint64_t size) {
    std::uint64_t total = 0;
    for (std::uint64_t left = size; left > 0;) {
        const std::uint64_t part =
            arguments.generate_bytes > 0 ? std::min(left, kMemoryBytes) : left;
        check(lseek(file, 0, SEEK_SET), "lseek"); // for read(2)
        const std::uint64_t sent = arguments.path == "sendfile"
                                       ? send_sendfile(connection, file, part)
                                       : send_copy(connection, file, part);
        total += sent;
        left -= part;
        if (sent < part) {
            break; // truncated meanwhile
        }
    }
    return total;
}

int run_send(const Arguments& arguments) {
    const bool generate = arguments.generate_bytes > 0;
    const char* const name = generate ? "memory" : arguments.rest[0];
    const char* const port_text = arguments.rest[generate ? 0 : 1];
    const long port = port_text != nullptr ? std::strtol(port_text, nullptr, 10) : 0;
    if (port < 1 || port > 65535) {
        die_usage();
    }
    const int file = generate ? make_memory_file() : check(open(name, O_RDONLY | O_CLOEXEC), name);
    struct stat info {};
    check(fstat(file, &info), name);
    const auto start = Clock::now();
    const int connection = check(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
    choose_congestion(connection, arguments.congestion);
    const sockaddr_in address = loopback(static_cast<std::uint16_t>(port));
    check(connect(connection, generic(address), sizeof address), "connect");
    const std::uint64_t size =
        generate ? arguments.generate_bytes : static_cast<std::uint64_t>(info.st_size);
    const std::uint64_t bytes = send_bytes(arguments, connection, file, size);
    // Success means that the receiver has stored everything: wait for its close.
    check(shutdown(connection, SHUT_WR), "shutdown");
    char unused = 0;
    check(recv(connection, &unused, 1, 0), "recv");
    print_transfer("send", arguments.path, congestion_of(connection), bytes, start);
    return bytes == size ? 0 : 1;
}

void await_end_of_input() {
    char unused = 0;
    while (read(STDIN_FILENO, &unused, 1) > 0) {
    }
}

// One way of measuring for every program, whatever it reports about itself.
int run_time(const Arguments& arguments) {
    std::FILE* out = arguments.output != nullptr ? std::fopen(arguments.output, "we") : stdout;
    if (out == nullptr) {
        die(arguments.output);
    }
    if (arguments.hold) {
        await_end_of_input();
    }
    const auto start = Clock::now();
    const pid_t child = check(fork(), "fork");
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGTERM); // ends with us, so that no receiver stays behind
        execvp(arguments.rest[0], arguments.rest);
        std::fprintf(stderr, "bare: %s: %s\n", arguments.rest[0], std::strerror(errno));
        _exit(127);
    }
    int status = 0;
    rusage usage{};
    check(wait4(child, &status, 0, &usage), "wait4");
    const double seconds = seconds_since(start);
    const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    std::fprintf(out, "{\"exit_code\":%d,", code);
    print_usage_fields(out, seconds, usage);
    std::fflush(out);
    return code;
}

// Memory that the host has given us: in huge pages where there are some, for those are what a
// virtual machine gives back (Linux's free page reporting), and they are quickest to touch.
std::span<std::byte> touched_memory(const char* argument) {
    const auto bytes = static_cast<std::size_t>(std::strtoull(argument, nullptr, 10));
    void* const memory =
        mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        die("mmap");
    }
    madvise(memory, bytes, MADV_HUGEPAGE); // a kernel without them has small pages
    const std::span touched(static_cast<std::byte*>(memory), bytes);
    for (std::size_t offset = 0; offset < bytes; offset += kPageBytes) {
        touched[offset] = std::byte{1};
    }
    return touched;
}

int run_warm(const char* argument) {
    const std::span memory = touched_memory(argument);
    return check(munmap(memory.data(), memory.size()), "munmap");
}

int run_hold(const char* argument, const char* spare_argument) {
    if (spare_argument == nullptr) {
        die_usage();
    }
    // Whoever is short of memory is to have this first (proc(5), oom_score_adj).
    const int score =
        check(open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC), "oom_score_adj");
    check(static_cast<int>(write(score, "1000", 4)), "oom_score_adj");
    // So that what is left free is not only what was too small for huge pages.
    const std::span spare = touched_memory(spare_argument);
    const std::span memory = touched_memory(argument);
    munmap(spare.data(), spare.size());
    mlock(memory.data(), memory.size()); // may be too much for one who is not root
    std::puts("holding");
    std::fflush(stdout);
    await_end_of_input();
    return 0;
}

} // namespace

int main(int argc, char** argv) {
    if (argc < 3) {
        die_usage();
    }
    const std::string_view command = argv[1];
    char** rest = argv + 2;
    if (command == "recv") {
        return run_recv(parse(rest, "splice"));
    }
    if (command == "send") {
        return run_send(parse(rest, "sendfile"));
    }
    if (command == "time") {
        return run_time(parse(rest, ""));
    }
    if (command == "warm") {
        return run_warm(argv[2]);
    }
    if (command == "hold") {
        return run_hold(argv[2], argv[3]);
    }
    die_usage();
}
