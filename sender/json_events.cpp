#include "common/text.hpp"
#include "common/ways.hpp"
#include "sender/console.hpp"

#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>

namespace sluice {

namespace {

using Json = nlohmann::ordered_json;

double seconds(std::uint64_t microseconds) {
    return static_cast<double>(microseconds) / 1e6;
}

Json path_of(const PathBytes& bytes, const Ways& ways) {
    const auto way = main_way(bytes, ways);
    return way ? Json(*way) : Json(nullptr);
}

Json receiver_account(const proto::Done& done, Security security) {
    const PathBytes bytes{done.bytes_spliced, done.bytes_copied, 0, 0};
    return {{"path", path_of(bytes, receiving_ways(security))},
            {"files", done.files},
            {"unchanged", done.unchanged},
            {"directories", done.directories},
            {"symlinks", done.symlinks},
            {"failed", done.failed},
            {"bytes",
             {{"splice", done.bytes_spliced},
              {"copied", done.bytes_copied},
              {"inline", done.bytes_inline},
              {"zstd", done.bytes_decompressed}}},
            {"cpu_seconds", seconds(done.cpu_us)},
            {"system_calls", done.system_calls},
            {"context_switches", done.context_switches}};
}

Json sender_account(const SenderReport& report) {
    return {{"path", path_of(report.bytes, sending_ways(report.security))},
            {"bytes",
             {{"sendfile", report.bytes.zero_copy},
              {"copied", report.bytes.copied},
              {"inline", report.bytes.inlined},
              {"zstd", report.bytes.compressed}}},
            {"zstd_bytes_on_wire", report.compressed_to},
            {"cpu_seconds", seconds(report.usage.cpu_us)},
            {"system_calls", report.usage.system_calls},
            {"context_switches", report.usage.context_switches}};
}

class JsonObserver final : public SenderObserver {
public:
    JsonObserver() { meter_.add(RateMeter::Clock::now(), 0); }

    void file_failed(const Error& error) override {
        log_error(error.message);
        write({{"event", "file_failed"},
               {"kind", error.kind == ErrorKind::source_changed ? "source_changed" : "failed"},
               {"message", error.message}});
    }
    void warning(const std::string& line) override {
        log_warning(line);
        write({{"event", "warning"}, {"message", line}});
    }
    void detail(const std::string& line) override { log_verbose(line); }
    void would_send(const std::string& path, std::uint64_t bytes) override {
        write({{"event", "would_send"}, {"path", path}, {"bytes", bytes}});
    }
    void reconnecting(const Error& reason, unsigned attempt, double delay_seconds) override {
        write({{"event", "reconnecting"},
               {"error", reason.message},
               {"attempt", attempt},
               {"delay_seconds", delay_seconds}});
    }
    [[nodiscard]] std::chrono::milliseconds progress_interval() const noexcept override {
        return kProgressInterval;
    }
    void progress(const ProgressSample& sample) override {
        meter_.add(RateMeter::Clock::now(), sample.bytes_done);
        const auto rate = meter_.rate();
        write({{"event", "progress"},
               {"files", sample.files_done},
               {"bytes", sample.bytes_done},
               {"files_total", sample.files_total},
               {"bytes_total", sample.bytes_total},
               {"total_known", sample.total_known},
               {"bytes_per_second", rate ? Json(*rate) : Json(nullptr)}});
    }
    void finished(const SenderReport& report) override {
        if (report.failure) {
            log_error(report.failure->message);
        }
        Json event = {{"event", "summary"},
                      {"exit_code", static_cast<int>(report.exit_code)},
                      {"error", report.failure ? Json(report.failure->message) : Json(nullptr)},
                      {"dry_run", report.dry_run},
                      {"files_sent", report.files_sent},
                      {"bytes_sent", report.bytes.total()},
                      {"failed", report.failed},
                      {"skipped", report.skipped},
                      {"reused_files", report.receiver ? report.receiver->reused_files : 0},
                      {"reused_bytes", report.receiver ? report.receiver->reused_bytes : 0},
                      {"streams", report.streams},
                      {"reconnects", report.reconnects},
                      {"reconnected_streams", report.reconnected_streams},
                      {"resent_bytes", report.resent_bytes},
                      {"damaged", report.damaged},
                      {"verified", report.verified},
                      {"discarded", report.discarded},
                      {"security", security_name(report.security)},
                      {"cipher", report.cipher.empty() ? Json(nullptr) : Json(report.cipher)},
                      {"seconds", report.seconds},
                      {"sender", sender_account(report)},
                      {"receiver", report.receiver
                                       ? receiver_account(*report.receiver, report.security)
                                       : Json(nullptr)}};
        if (report.dry_run) {
            event["would_send_files"] = report.would_send_files;
            event["would_send_bytes"] = report.would_send_bytes;
        }
        write(event);
    }

private:
    static constexpr std::chrono::seconds kProgressInterval{1};

    static void write(const Json& event) {
        // Texts are escaped already; the replacement keeps dump() from throwing all the same.
        const std::string line = event.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
        std::fputs(line.c_str(), stdout);
        std::fflush(stdout);
    }

    RateMeter meter_;
};

} // namespace

std::unique_ptr<SenderObserver> make_json_observer() {
    return std::make_unique<JsonObserver>();
}

} // namespace sluice
