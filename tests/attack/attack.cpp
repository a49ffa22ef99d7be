// Attacks a receiver of this machine: connections that say nothing, connections that say one byte
// at a time, and sessions whose blocks unpack to thousands of times their length.
#include "common/text.hpp"
#include "common/unique_fd.hpp"
#include "tests/attack/bomber.hpp"
#include "tests/attack/strangers.hpp"

#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fmt/format.h>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

using namespace sluice;
using namespace sluice::attack;
using std::chrono::milliseconds;

namespace {

constexpr const char* kUsage = R"(Usage: attack PORT [OPTIONS]
  --idle N      connections that say nothing
  --trickle N   connections that say a byte every 50 ms
  --bombs N     sessions that send blocks which unpack to 128 KiB each, and as soon as there is one,
                another that sends blocks which unpack to more than they may
  --seconds N   how long (default 60); SIGTERM or SIGINT ends it sooner
  --come-back   whoever is sent away connects anew
Says "attacking" on stderr once all have connected, and "all strangers are gone" once none is left;
prints a line of JSON in the end.
)";

constexpr milliseconds kStep{50};

volatile std::sig_atomic_t interrupted = 0;

[[noreturn]] void die_usage() {
    std::fputs(kUsage, stderr);
    std::exit(1);
}

struct Settings {
    Strangers::Plan strangers;
    std::uint64_t bombs = 0;
    std::uint64_t seconds = 60;
};

Settings parse(int argc, char** argv) {
    const auto number = [](const char* text, std::uint64_t most) {
        const auto value = parse_number(text, 0, most);
        if (!value) {
            die_usage();
        }
        return *value;
    };
    if (argc < 2) {
        die_usage();
    }
    Settings settings;
    settings.strangers.port = static_cast<std::uint16_t>(number(argv[1], UINT16_MAX));
    for (int index = 2; index < argc; ++index) {
        const std::string_view option = argv[index];
        if (option == "--come-back") {
            settings.strangers.come_back = true;
            continue;
        }
        if (index + 1 == argc) {
            die_usage();
        }
        const std::uint64_t value = number(argv[++index], 100'000);
        if (option == "--idle") {
            settings.strangers.idle = value;
        } else if (option == "--trickle") {
            settings.strangers.tricklers = value;
        } else if (option == "--bombs") {
            settings.bombs = value;
        } else if (option == "--seconds") {
            settings.seconds = value;
        } else {
            die_usage();
        }
    }
    return settings;
}

void print(const Strangers::Counts& strangers, const std::vector<std::unique_ptr<Bomber>>& bombers,
           double seconds) {
    std::uint64_t sessions = 0;
    std::uint64_t unpacked = 0;
    std::uint64_t refused = 0;
    for (const auto& bomber : bombers) {
        sessions += bomber->sessions();
        unpacked += bomber->unpacked_bytes();
        refused += bomber->refused();
    }
    fmt::print("{{\"idle_opened\": {}, \"idle_gone\": {}, \"tricklers_opened\": {}, "
               "\"tricklers_gone\": {}, \"trickled_bytes\": {}, \"could_not_connect\": {}, "
               "\"bomb_sessions\": {}, \"bomb_sessions_refused\": {}, \"unpacked_bytes\": {}, "
               "\"seconds\": {:.3f}}}\n",
               strangers.idle_opened, strangers.idle_gone, strangers.tricklers_opened,
               strangers.tricklers_gone, strangers.trickled_bytes, strangers.refused, sessions,
               refused, unpacked, seconds);
}

} // namespace

int main(int argc, char** argv) {
    const Settings settings = parse(argc, argv);
    struct sigaction stop {};
    stop.sa_handler = [](int) { interrupted = 1; };
    sigaction(SIGTERM, &stop, nullptr);
    sigaction(SIGINT, &stop, nullptr);
    raise_descriptor_limit();

    const auto began = std::chrono::steady_clock::now();
    std::vector<std::unique_ptr<Bomber>> bombers;
    const auto add_bomber = [&](Bomber::Kind kind) {
        bombers.push_back(std::make_unique<Bomber>(kind, settings.strangers.port,
                                                   static_cast<unsigned>(bombers.size())));
    };
    for (std::uint64_t count = 0; count < settings.bombs; ++count) {
        add_bomber(Bomber::Kind::within_the_protocol);
    }
    if (settings.bombs > 0) {
        add_bomber(Bomber::Kind::beyond_it);
    }
    Strangers strangers(settings.strangers);
    bool announced = false;
    bool all_gone = false;
    const auto end = began + std::chrono::seconds(settings.seconds);
    while (interrupted == 0 && std::chrono::steady_clock::now() < end) {
        strangers.step(kStep);
        if (strangers.complete() && !announced) {
            announced = true;
            std::fputs("attacking\n", stderr);
        }
        if (strangers.complete() && strangers.all_gone() && !std::exchange(all_gone, true)) {
            std::fputs("all strangers are gone\n", stderr);
        }
    }
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - began;
    print(strangers.counts(), bombers, seconds.count());
    return 0;
}
