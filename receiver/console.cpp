#include "receiver/console.hpp"

#include "common/exit_code.hpp"
#include "common/log.hpp"
#include "common/text.hpp"
#include "common/ways.hpp"

#include <cstdio>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <string_view>

namespace sluice {

namespace {

std::string describe_paths(const PathBytes& bytes, Security security) {
    std::string text;
    const auto add = [&text](std::uint64_t count, std::string_view name) {
        if (count > 0) {
            text += fmt::format("{}{} {}", text.empty() ? "" : ", ", format_bytes(count), name);
        }
    };
    const Ways ways = receiving_ways(security);
    add(bytes.zero_copy, security == Security::tls ? ways.zero_copy : "spliced");
    add(bytes.copied, ways.copied);
    add(bytes.inlined, "inline");
    add(bytes.compressed, "decompressed");
    return text.empty() ? "no data" : text;
}

// Who it is, in a sentence. Names of keys are of harmless characters.
std::string name_of(const std::string& peer, const std::string& key) {
    return key.empty() ? peer : fmt::format("{} (key '{}')", peer, key);
}

nlohmann::ordered_json key_or_null(const std::string& key) {
    return key.empty() ? nlohmann::ordered_json(nullptr) : nlohmann::ordered_json(key);
}

class ConsoleObserver : public ReceiverObserver {
public:
    void listening(const std::string& address, bool discards) override {
        if (discards) {
            log_info("discarding what arrives: nothing is stored");
        }
        // Scripts wait for this line, so it comes bare, and with --quiet, too.
        std::fputs(fmt::format("listening on {}\n", address).c_str(), stderr);
    }

    void session_started(std::uint64_t serial, const std::string& peer,
                         const std::string& key) override {
        log_verbose(fmt::format("session {} from {} began", serial, name_of(peer, key)));
    }

    void file_failed(std::uint64_t serial, const std::string& path,
                     const std::string& reason) override {
        log_warning(fmt::format("session {}: {}: not stored: {}", serial, path, reason));
    }

    void file_listed(std::uint64_t /*serial*/, const std::string& /*path*/, std::uint64_t /*size*/,
                     const std::string& /*digest*/) override {}

    void session_ended(const SessionReport& report) override {
        if (report.failed_untold > 0) {
            log_warning(fmt::format("session {}: {} more file(s) not stored", report.serial,
                                    format_count(report.failed_untold)));
        }
        if (report.failure) {
            log_warning(fmt::format("session {} from {} failed: {}", report.serial,
                                    name_of(report.peer, report.key), report.failure->message));
            return;
        }
        log_info(fmt::format(
            "session {} from {}: {} file(s) {}, {} unchanged, {} failed; {} in {}, CPU {}",
            report.serial, name_of(report.peer, report.key), format_count(report.files),
            report.discarded ? "received and discarded" : "stored", format_count(report.unchanged),
            format_count(report.failed), describe_paths(report.bytes, report.security),
            format_seconds(report.seconds),
            format_seconds(static_cast<double>(report.usage.cpu_us) / 1e6)));
    }

    void refused(const Refusals& refusals) override {
        if (refusals.count == 1) {
            log_warning(fmt::format("refused a connection from {}: {}", refusals.last_address,
                                    refusals.last_reason));
            return;
        }
        log_warning(fmt::format("refused {} connections in {}, the last from {}: {}",
                                format_count(refusals.count), format_seconds(refusals.seconds),
                                refusals.last_address, refusals.last_reason));
    }

    void notice(const std::string& line) override { log_info(line); }
};

class JsonObserver final : public ConsoleObserver {
public:
    void listening(const std::string& address, bool discards) override {
        ConsoleObserver::listening(address, discards);
        write({{"event", "listening"}, {"address", address}, {"discards", discards}});
    }

    void session_started(std::uint64_t serial, const std::string& peer,
                         const std::string& key) override {
        ConsoleObserver::session_started(serial, peer, key);
        write({{"event", "session_started"},
               {"session", serial},
               {"peer", peer},
               {"key", key_or_null(key)}});
    }

    void file_failed(std::uint64_t serial, const std::string& path,
                     const std::string& reason) override {
        ConsoleObserver::file_failed(serial, path, reason);
        write({{"event", "file_failed"}, {"session", serial}, {"path", path}, {"reason", reason}});
    }

    [[nodiscard]] bool wants_listed_files() const override { return true; }
    void file_listed(std::uint64_t serial, const std::string& path, std::uint64_t size,
                     const std::string& digest) override {
        write({{"event", "file"},
               {"session", serial},
               {"path", path},
               {"bytes", size},
               {"xxh3_128", digest}});
    }

    void session_ended(const SessionReport& report) override {
        ConsoleObserver::session_ended(report);
        const ExitCode code = report.failure      ? exit_code(report.failure->kind)
                              : report.failed > 0 ? ExitCode::some_files
                                                  : ExitCode::done;
        const auto way = main_way(report.bytes, receiving_ways(report.security));
        write({{"event", "session_ended"},
               {"session", report.serial},
               {"peer", report.peer},
               {"key", key_or_null(report.key)},
               {"destination", report.destination},
               {"dry_run", report.dry_run},
               {"discarded", report.discarded},
               {"security", security_name(report.security)},
               {"exit_code", static_cast<int>(code)},
               {"error", report.failure ? nlohmann::ordered_json(report.failure->message)
                                        : nlohmann::ordered_json(nullptr)},
               {"files", report.files},
               {"unchanged", report.unchanged},
               {"reused_files", report.reused_files},
               {"reused_bytes", report.reused_bytes},
               {"directories", report.directories},
               {"symlinks", report.symlinks},
               {"failed", report.failed},
               {"damaged", report.damaged},
               {"bytes",
                {{"spliced", report.bytes.zero_copy},
                 {"copied", report.bytes.copied},
                 {"inline", report.bytes.inlined},
                 {"decompressed", report.bytes.compressed}}},
               {"path", way ? nlohmann::ordered_json(*way) : nlohmann::ordered_json(nullptr)},
               {"seconds", report.seconds},
               {"cpu_seconds", static_cast<double>(report.usage.cpu_us) / 1e6},
               {"system_calls", report.usage.system_calls},
               {"context_switches", report.usage.context_switches}});
    }

    void refused(const Refusals& refusals) override {
        ConsoleObserver::refused(refusals);
        write({{"event", "refused"},
               {"connections", refusals.count},
               {"seconds", refusals.seconds},
               {"last_address", refusals.last_address},
               {"last_reason", refusals.last_reason}});
    }

    void notice(const std::string& line) override {
        ConsoleObserver::notice(line);
        write({{"event", "notice"}, {"text", line}});
    }

private:
    static void write(const nlohmann::ordered_json& event) {
        // Text in events is escaped before, so the replacement is for safety only: dump() throws
        // at invalid UTF-8 otherwise.
        const std::string line =
            event.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
        std::fputs(line.c_str(), stdout);
        std::fflush(stdout);
    }
};

} // namespace

std::unique_ptr<ReceiverObserver> make_console_observer() {
    return std::make_unique<ConsoleObserver>();
}

std::unique_ptr<ReceiverObserver> make_json_observer() {
    return std::make_unique<JsonObserver>();
}

} // namespace sluice
