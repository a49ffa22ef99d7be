// The thread that goes ahead: looks at the sources, connects, and then walks the sources and hands
// over what is to be sent, as fast as the streams and the receiver's verdicts let it.
#pragma once

#include "common/channel.hpp"
#include "common/unique_fd.hpp"
#include "common/usage.hpp"
#include "sender/options.hpp"
#include "sender/walk.hpp"
#include "sender/work_queue.hpp"

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace sluice {

// What the walk has found so far; read by the progress line.
struct FoundTotals {
    std::atomic<std::uint64_t> files{0};
    std::atomic<std::uint64_t> bytes{0};
    std::atomic<bool> complete{false};
};

// Called on the scout's thread.
struct ScoutCallbacks {
    std::function<void(Error)> file_failed;
    std::function<void(std::string)> skipped;
    // The control connection. The roots are the sources that exist.
    std::function<void(Channel channel, std::vector<std::shared_ptr<const SourceRoot>> roots)>
        connected;
    std::function<void(Chunk)> offer; // regular files that the receiver may already have
    std::function<void(Chunk)> chunk; // anything else, and files that it cannot have
    std::function<void(std::optional<Error>)> ended; // once; an Error: there is no session
};

class Scout {
public:
    // Starts the thread. `options`, `queue` and `found` are borrowed and outlive the scout.
    Scout(const SenderOptions& options, ScoutCallbacks callbacks, WorkQueue& queue,
          FoundTotals& found, int cancel_fd);
    // Joins the thread: the queue was cancelled and `cancel_fd` is readable, or it has ended.
    ~Scout();
    Scout(const Scout&) = delete;
    Scout& operator=(const Scout&) = delete;

    // The receiver's answer: the walk may begin. One flag per root: nothing of it exists yet.
    void welcome(std::vector<bool> fresh_roots);
    // There will be no answer.
    void cancel();
    // What the destructor does; before usage() is complete.
    void join();

    [[nodiscard]] const SharedUsage& usage() const noexcept { return usage_; }

private:
    class Collector;

    void run();
    [[nodiscard]] std::optional<Error> scout();
    [[nodiscard]] std::vector<std::shared_ptr<const SourceRoot>> open_sources();
    [[nodiscard]] bool explore(const std::shared_ptr<const SourceRoot>& root, WalkSink& sink) const;

    const SenderOptions& options_;
    const ScoutCallbacks callbacks_;
    WorkQueue& queue_;
    FoundTotals& found_;
    const int cancel_fd_;
    SharedUsage usage_;

    std::mutex mutex_;
    std::condition_variable answered_;
    std::optional<std::vector<bool>> fresh_roots_; // guarded by mutex_
    bool cancelled_ = false;                       // guarded by mutex_
    std::thread thread_;                           // last: it uses everything above
};

} // namespace sluice
