#include "receiver/console.hpp"

#include "common/exit_code.hpp"
#include "common/log.hpp"
#include "common/text.hpp"

#include <cstdio>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace sluice {

namespace {

std::string describe_paths(const PathBytes& bytes) {
    std::string text;
    const auto add = [&text](std::uint64_t count, const char* name) {
        if (count > 0) {
            text += fmt::format("{}{} {}", text.empty() ? "" : ", ", format_bytes(count), name);
        }
    };
    add(bytes.zero_copy, "spliced");
    add(bytes.copied, "copied");
    add(bytes.inlined, "inline");
    add(bytes.compressed, "decompressed");
    return text.empty() ? "no data" : text;
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

    void session_started(std::uint64_t serial, const std::string& peer) override {
        log_verbose(fmt::format("session {} from {} began", serial, peer));
    }

    void file_failed(std::uint64_t serial, const std::string& path,
                     const std::string& reason) override {
        log_warning(fmt::format("session {}: {}: not stored: {}", serial, path, reason));
    }

    void file_listed(std::uint64_t /*serial*/, const std::string& /*path*/, std::uint64_t /*size*/,
                     const std::string& /*digest*/) override {}

    void session_ended(const SessionReport& report) override {
        if (report.failure) {
            log_warning(fmt::format("session {} from {} failed: {}", report.serial, report.peer,
                                    report.failure->message));
            return;
        }
        log_info(fmt::format(
            "session {} from {}: {} file(s) {}, {} unchanged, {} failed; {} in {}, CPU {}",
            report.serial, report.peer, format_count(report.files),
            report.discarded ? "received and discarded" : "stored", format_count(report.unchanged),
            format_count(report.failed), describe_paths(report.bytes),
            format_seconds(report.seconds),
            format_seconds(static_cast<double>(report.usage.cpu_us) / 1e6)));
    }

    void notice(const std::string& line) override { log_info(line); }
};

class JsonObserver final : public ConsoleObserver {
public:
    void listening(const std::string& address, bool discards) override {
        ConsoleObserver::listening(address, discards);
        write({{"event", "listening"}, {"address", address}, {"discards", discards}});
    }

    void session_started(std::uint64_t serial, const std::string& peer) override {
        ConsoleObserver::session_started(serial, peer);
        write({{"event", "session_started"}, {"session", serial}, {"peer", peer}});
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
        write({{"event", "session_ended"},
               {"session", report.serial},
               {"peer", report.peer},
               {"destination", report.destination},
               {"dry_run", report.dry_run},
               {"discarded", report.discarded},
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
               {"bytes",
                {{"spliced", report.bytes.zero_copy},
                 {"copied", report.bytes.copied},
                 {"inline", report.bytes.inlined},
                 {"decompressed", report.bytes.compressed}}},
               {"seconds", report.seconds},
               {"cpu_seconds", static_cast<double>(report.usage.cpu_us) / 1e6},
               {"system_calls", report.usage.system_calls},
               {"context_switches", report.usage.context_switches}});
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
