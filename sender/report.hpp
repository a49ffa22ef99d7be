// What a sender tells about its work. Values only.
#pragma once

#include "common/exit_code.hpp"
#include "common/result.hpp"
#include "common/security.hpp"
#include "common/usage.hpp"
#include "proto/messages.hpp"
#include "sender/progress.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

namespace sluice {

// Failures, special files and the exit code are those of the last session; bytes, files and usage
// those of all sessions together.
struct SenderReport {
    ExitCode exit_code = ExitCode::done;
    std::optional<Error> failure; // what ended the run early
    std::uint64_t files_sent = 0;
    std::uint64_t failed = 0;  // sources that could not be sent, files that could not be stored
    std::uint64_t skipped = 0; // special files
    PathBytes bytes;           // file bytes sent
    std::uint64_t compressed_to = 0; // what bytes.compressed became on the wire
    Usage usage;
    double seconds = 0;
    bool dry_run = false;
    std::uint64_t would_send_files = 0; // dry run
    std::uint64_t would_send_bytes = 0;
    std::uint64_t streams = 0;             // data connections at one time, the most of any session
    std::uint64_t reconnects = 0;          // sessions after the first that came about
    std::uint64_t reconnected_streams = 0; // data connections that were replaced
    std::uint64_t resent_bytes = 0;        // of `bytes`: lost or damaged before they were stored
    std::uint64_t damaged = 0;             // extents that did not arrive as they were sent
    bool verified = false;                 // success means that the digests agreed
    bool discarded = false;                // the receiver keeps nothing of what it gets
    Security security = Security::none;    // of its connections
    std::string cipher;                    // that TLS has agreed on; empty: none
    std::optional<proto::Done> receiver;   // its own account; only after success
};

// Told about events, always on the thread that is in Sender::run(). Texts are one line, escaped.
class SenderObserver {
public:
    virtual ~SenderObserver() = default;
    // A file that was not sent or not stored. The others go on.
    virtual void file_failed(const Error& error) = 0;
    // Worth a warning, but no failure: a special file was left out.
    virtual void warning(const std::string& line) = 0;
    // Worth knowing with -v: which way was chosen and why.
    virtual void detail(const std::string& line) = 0;
    // Dry run: this would be sent.
    virtual void would_send(const std::string& path, std::uint64_t bytes) = 0;
    // The connection is lost, or could not be made: before each further attempt, of which this is
    // number `attempt` (from 1). A warning has told people.
    virtual void reconnecting(const Error& reason, unsigned attempt, double delay_seconds) = 0;
    // How often progress() shall be called, from shortly after the beginning; zero: never. Asked
    // once.
    [[nodiscard]] virtual std::chrono::milliseconds progress_interval() const noexcept = 0;
    virtual void progress(const ProgressSample& sample) = 0;
    virtual void finished(const SenderReport& report) = 0;
};

} // namespace sluice
