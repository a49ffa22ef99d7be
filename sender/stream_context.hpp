// What the parts of one stream share. Belongs to the stream's thread, but for the totals.
#pragma once

#include "common/compress.hpp"
#include "common/usage.hpp"
#include "common/zero_copy.hpp"
#include "sender/source_file.hpp"
#include "sender/stream_socket.hpp"
#include "sender/walk.hpp"

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace sluice {

// What all streams of a run count together; read by the progress line while they do.
struct StreamTotals {
    std::atomic<std::uint64_t> files_sent{0}; // regular files, whole
    std::atomic<std::uint64_t> bytes_zero_copy{0};
    std::atomic<std::uint64_t> bytes_copied{0};
    std::atomic<std::uint64_t> bytes_inlined{0};
    std::atomic<std::uint64_t> bytes_compressed{0};
    std::atomic<std::uint64_t> compressed_to{0};
    std::atomic<std::uint64_t> bytes_of_holes{0};
    std::atomic<std::uint64_t> next_file_id{1};
    std::atomic<std::uint64_t> connections{0}; // data connections that joined
    SharedUsage usage;

    [[nodiscard]] PathBytes bytes() const noexcept {
        return {bytes_zero_copy, bytes_copied, bytes_inlined, bytes_compressed};
    }
};

struct StreamSettings {
    StreamTarget target;
    CopyPath send_path = CopyPath::automatic;
    std::optional<int> compression_level;
};

// Called on the stream's thread.
struct StreamCallbacks {
    std::function<void(Error)> file_failed;           // the others go on
    std::function<void(std::string)> detail;          // for -v
    std::function<void(std::uint64_t id)> abort_file; // tell the receiver on the control connection
    std::function<void(std::optional<Error>)> ended;  // once; an Error: the stream broke
};

struct StreamContext {
    StreamContext(StreamSettings stream_settings, StreamCallbacks stream_callbacks,
                  StreamTotals& stream_totals)
        : settings(std::move(stream_settings)), callbacks(std::move(stream_callbacks)),
          totals(stream_totals), socket(settings.target) {
        if (settings.compression_level) {
            compressor.emplace(*settings.compression_level);
        }
    }

    const StreamSettings settings;
    const StreamCallbacks callbacks;
    StreamTotals& totals;
    StreamSocket socket;
    std::optional<Compressor> compressor;

    // Joins the session with a new connection.
    [[nodiscard]] Status connect();
    void fail(const SourceEntry& entry, const SourceProblem& problem) const;
};

} // namespace sluice
