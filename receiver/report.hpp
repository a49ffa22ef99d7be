// What a receiver tells about its work. Values only.
#pragma once

#include "common/result.hpp"
#include "common/security.hpp"
#include "common/usage.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

namespace sluice {

struct SessionReport {
    std::uint64_t serial = 0; // counts up from 1 as long as the receiver runs
    std::string peer;         // "ADDR:PORT" of the control connection
    std::string key;          // the name of the key that opened it; empty: none
    std::string destination;  // below the receiver's directory, escaped
    std::optional<Error> failure;
    std::uint64_t files = 0; // published
    std::uint64_t unchanged = 0;
    std::uint64_t reused_files = 0; // of `unchanged`: left by an earlier session
    std::uint64_t reused_bytes = 0;
    std::uint64_t directories = 0;
    std::uint64_t symlinks = 0;
    std::uint64_t failed = 0;
    std::uint64_t failed_untold = 0; // of `failed`: not named by file_failed()
    std::uint64_t damaged = 0; // frames and payloads that did not match their digests or codes
    PathBytes bytes;
    Usage usage;
    double seconds = 0;
    Security security = Security::none; // of its connections
    bool dry_run = false;
    bool discarded = false; // nothing of it was kept, whatever the counts above say
    // How long its sender will try to come back if the connection was lost.
    std::chrono::milliseconds sender_retry{0};
};

// Connections that were refused, or had to leave before they had said what they want.
struct Refusals {
    std::uint64_t count = 0;
    double seconds = 0;       // since the last report of such; with the first of all 0
    std::string last_address; // "ADDR:PORT"
    std::string last_reason;  // one line, escaped
};

// Told about events, always on the thread that is in Receiver::run().
class ReceiverObserver {
public:
    virtual ~ReceiverObserver() = default;
    // `discards`: ReceiverOptions::discard.
    virtual void listening(const std::string& address, bool discards) = 0;
    // `key`: as in SessionReport.
    virtual void session_started(std::uint64_t serial, const std::string& peer,
                                 const std::string& key) = 0;
    // `path` and `reason` are escaped.
    virtual void file_failed(std::uint64_t serial, const std::string& path,
                             const std::string& reason) = 0;
    [[nodiscard]] virtual bool wants_listed_files() const { return false; }
    // With ReceiverOptions::digests_file, and if wanted: a file that is at its destination. `path`
    // is below the receiver's directory and escaped, `digest` in hexadecimal.
    virtual void file_listed(std::uint64_t serial, const std::string& path, std::uint64_t size,
                             const std::string& digest) = 0;
    virtual void session_ended(const SessionReport& report) = 0;
    // At most once in some seconds, however many there are.
    virtual void refused(const Refusals& refusals) = 0;
    // Something worth a line in the log that belongs to no session.
    virtual void notice(const std::string& line) = 0;
};

} // namespace sluice
