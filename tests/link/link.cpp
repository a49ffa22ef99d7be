// The link emulator of scripts/netlab: carries IP packets between TUN devices in two network
// namespaces, with loss, a bottleneck and delay (tests/link/direction.hpp) in each direction.
//
// It needs no queueing discipline of the kernel. Single-threaded; asleep while no packet is under
// way. An error prints one line and exits with 1.
#include "common/text.hpp"
#include "tests/link/direction.hpp"
#include "tests/link/tun.hpp"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fcntl.h>
#include <fmt/format.h>
#include <map>
#include <poll.h>
#include <string>
#include <string_view>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>

using namespace sluice;
using namespace sluice::link;

namespace {

constexpr const char* kUsage = R"(Usage: link --near NETNS --far NETNS --device NAME
            --pid-file FILE --stats-file FILE
            [--rate BITS] [--queue BYTES] [--delay-us N] [--loss-ppm N] [--seed N]
Creates a TUN device NAME in each of two network namespaces (files as /run/netns/X) and carries IP
packets between them, in the background: it returns when the devices are there and FILE holds the
process id. All settings hold for each direction.
  --rate BITS     per second, counted in whole IP packets; 0 (the default): without limit
  --queue BYTES   held before the bottleneck; what does not fit is dropped (needed with --rate)
  --delay-us N    microseconds, one way
  --loss-ppm N    packets of a million that are lost by chance
  --seed N        of that chance (default 1)
SIGUSR1 writes the counters to the file for statistics, a line of JSON per direction; SIGTERM
ends it.
)";

constexpr std::size_t kMaxPacketBytes = 65'535; // the length fields of IPv4 and IPv6
constexpr int kBurstPackets = 256;              // read in one direction before others get a turn
// Under load it wakes up no more often than this: it saves a wake-up per packet, and delays a
// packet by at most as much.
constexpr Time kTurn = std::chrono::microseconds{100};

constexpr std::uint64_t kMaxRate = 100'000'000'000; // the arithmetic would take far more
constexpr std::uint64_t kMaxQueueBytes = 1ULL << 32U;
constexpr std::uint64_t kMaxDelayUs = 60'000'000;
constexpr std::uint64_t kMaxLossPpm = 1'000'000;

[[noreturn]] void die(const std::string& message) {
    std::fprintf(stderr, "link: %s\n", message.c_str());
    std::exit(1);
}

Time now() {
    timespec time{};
    ::clock_gettime(CLOCK_MONOTONIC, &time);
    return std::chrono::seconds{time.tv_sec} + Time{time.tv_nsec};
}

timespec as_timespec(Time time) {
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(time);
    return {seconds.count(), (time - seconds).count()};
}

struct Options {
    std::string near;
    std::string far;
    std::string device;
    std::string pid_file;
    std::string stats_file;
    DirectionSettings settings;
};

Options parse(int argc, char** argv) {
    std::map<std::string_view, std::string> given;
    for (int at = 1; at + 1 < argc; at += 2) {
        given[argv[at]] = argv[at + 1];
    }
    const auto take = [&](std::string_view name) { return given.extract(name); };
    const auto text = [&](std::string_view name) {
        auto found = take(name);
        if (found.empty() || found.mapped().empty()) {
            die(fmt::format("{} is missing; see link --help", name));
        }
        return std::move(found.mapped());
    };
    const auto number = [&](std::string_view name, std::uint64_t most, std::uint64_t otherwise) {
        const auto found = take(name);
        const auto value =
            found.empty() ? std::optional(otherwise) : parse_number(found.mapped(), 0, most);
        if (!value) {
            die(fmt::format("{} {} is not a number from 0 to {}", name, found.mapped(), most));
        }
        return *value;
    };
    Options options{text("--near"),     text("--far"),        text("--device"),
                    text("--pid-file"), text("--stats-file"), {}};
    DirectionSettings& settings = options.settings;
    settings.bits_per_second = number("--rate", kMaxRate, 0);
    settings.queue_bytes = number("--queue", kMaxQueueBytes, 0);
    settings.delay = std::chrono::microseconds{number("--delay-us", kMaxDelayUs, 0)};
    settings.loss_ppm = static_cast<std::uint32_t>(number("--loss-ppm", kMaxLossPpm, 0));
    settings.seed = number("--seed", UINT64_MAX, 1);
    if (!given.empty() || argc % 2 == 0) {
        const std::string odd = given.empty() ? argv[argc - 1] : std::string(given.begin()->first);
        die(fmt::format("cannot understand '{}'; see link --help", odd));
    }
    if (settings.bits_per_second != 0 && settings.queue_bytes == 0) {
        die("--rate needs a --queue");
    }
    return options;
}

// One direction and the devices that it connects.
struct Lane {
    const char* from;
    const char* to;
    int in;
    int out;
    Direction direction;

    // Whatever the namespace has sent. Returns false if there may be more.
    bool receive() {
        static std::array<std::byte, kMaxPacketBytes> buffer;
        for (int count = 0; count < kBurstPackets; ++count) {
            const ssize_t got = ::read(in, buffer.data(), buffer.size());
            if (got <= 0) {
                return true;
            }
            direction.offer(Packet(buffer.data(), buffer.data() + got), now());
        }
        return false;
    }

    void deliver() {
        const Time time = now();
        while (const std::optional<Packet> packet = direction.take(time)) {
            // Fails while the device is down: then a packet ends there, as on a cut cable.
            [[maybe_unused]] const ssize_t written = ::write(out, packet->data(), packet->size());
        }
    }

    [[nodiscard]] std::string counters() const {
        const DirectionCounters& counted = direction.counters();
        return fmt::format(R"({{"from":"{}","to":"{}","packets":{},"bytes":{},"dropped":{},)"
                           R"("lost":{},"overflowed":{},"most_queued_bytes":{}}})"
                           "\n",
                           from, to, counted.packets, counted.bytes,
                           counted.lost + counted.overflowed, counted.lost, counted.overflowed,
                           counted.most_queued_bytes);
    }
};

// Replaces the file in one step: whoever waits for it finds all of it.
void write_file(const std::string& path, const std::string& content) {
    const std::string unfinished = path + ".new";
    std::FILE* const file = std::fopen(unfinished.c_str(), "we");
    if (file == nullptr || std::fputs(content.c_str(), file) < 0 || std::fclose(file) != 0 ||
        std::rename(unfinished.c_str(), path.c_str()) != 0) {
        die(system_error(ErrorKind::file_io, "cannot write " + path, errno).message);
    }
}

class Emulator {
public:
    Emulator(const Options& options, int near, int far, int signals)
        : stats_file_(options.stats_file),
          signals_(signals), lanes_{Lane{"near", "far", near, far, Direction(options.settings)},
                                    Lane{"far", "near", far, near,
                                         Direction(reverse(options.settings))}} {}

    // Until SIGTERM, or until a device is taken away.
    void run() {
        bool more = false;
        while (wait(more)) {
            const Time began = now();
            more = false;
            for (Lane& lane : lanes_) {
                more = !lane.receive() || more;
            }
            for (Lane& lane : lanes_) {
                lane.deliver();
            }
            if (!more) {
                const timespec until = as_timespec(began + kTurn);
                ::clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nullptr);
            }
        }
    }

private:
    // The other direction loses other packets.
    static DirectionSettings reverse(DirectionSettings settings) {
        ++settings.seed;
        return settings;
    }

    // For a packet to come or to arrive. Returns false at the end.
    bool wait(bool at_once) {
        std::array<pollfd, 3> watched{
            {{lanes_[0].in, POLLIN, 0}, {lanes_[1].in, POLLIN, 0}, {signals_, POLLIN, 0}}};
        std::optional<Time> next;
        for (const Lane& lane : lanes_) {
            const std::optional<Time> arrival = lane.direction.next_arrival();
            next = !next || (arrival && *arrival < *next) ? arrival : next;
        }
        const Time left = at_once || !next ? Time{0} : std::max(*next - now(), Time{0});
        const timespec timeout = as_timespec(left);
        const bool forever = !at_once && !next;
        if (::ppoll(watched.data(), watched.size(), forever ? nullptr : &timeout, nullptr) < 0) {
            die(system_error(ErrorKind::network, "ppoll", errno).message);
        }
        if (watched[2].revents != 0 && !handle_signal()) {
            return false;
        }
        return ((watched[0].revents | watched[1].revents) & ~POLLIN) == 0;
    }

    bool handle_signal() {
        signalfd_siginfo info{};
        if (::read(signals_, &info, sizeof info) == sizeof info && info.ssi_signo != SIGUSR1) {
            return false;
        }
        write_file(stats_file_, lanes_[0].counters() + lanes_[1].counters());
        return true;
    }

    std::string stats_file_;
    int signals_;
    std::array<Lane, 2> lanes_;
};

// The parent writes the process id of the child and ends; the child returns once that is done. If
// it fails, or the parent is killed before, the child ends: nobody could find it.
void go_to_background(const std::string& pid_file) {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
        die(system_error(ErrorKind::usage, "cannot create a pipe", errno).message);
    }
    const UniqueFd noted = UniqueFd::adopt(ends[0]);
    UniqueFd note = UniqueFd::adopt(ends[1]);
    const pid_t child = ::fork();
    if (child < 0) {
        die(system_error(ErrorKind::usage, "cannot fork", errno).message);
    }
    if (child > 0) {
        write_file(pid_file, fmt::format("{}\n", child));
        std::exit(::write(note.get(), "", 1) == 1 ? 0 : 1);
    }
    note.reset(); // so that the parent's end is the end of the pipe
    char byte = 0;
    if (::read(noted.get(), &byte, 1) != 1) {
        std::exit(1);
    }
    ::setsid();
    const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
    if (::chdir("/") != 0 || ::dup2(null, STDIN_FILENO) < 0 || ::dup2(null, STDOUT_FILENO) < 0 ||
        ::dup2(null, STDERR_FILENO) < 0) {
        std::exit(1);
    }
}

UniqueFd open_device(const std::string& network_namespace, const std::string& name) {
    Result<UniqueFd> device = create_tun(network_namespace, name);
    if (!device) {
        die(device.error().message);
    }
    return std::move(*device);
}

} // namespace

int main(int argc, char** argv) {
    if (argc == 2 && std::string_view(argv[1]) == "--help") {
        std::fputs(kUsage, stdout);
        return 0;
    }
    const Options options = parse(argc, argv);
    const UniqueFd near = open_device(options.near, options.device);
    const UniqueFd far = open_device(options.far, options.device);
    // Blocked before anybody knows the process id, so that none of them is ever fatal.
    sigset_t handled;
    ::sigemptyset(&handled);
    for (const int number : {SIGTERM, SIGINT, SIGUSR1}) {
        ::sigaddset(&handled, number);
    }
    ::sigprocmask(SIG_BLOCK, &handled, nullptr);
    go_to_background(options.pid_file);
    const UniqueFd signals = UniqueFd::adopt(::signalfd(-1, &handled, SFD_CLOEXEC));
    // Wake up on the dot, and before those who wait for the packets.
    ::prctl(PR_SET_TIMERSLACK, 1UL);
    ::setpriority(PRIO_PROCESS, 0, -20);
    Emulator(options, near.get(), far.get(), signals.get()).run();
    return 0;
}
