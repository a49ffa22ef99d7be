// One thread with one event loop, and the connections that live on it. Disk writes block, so the
// number of workers is how many disk writes go on at a time; connections of one worker share it
// turn by turn, each with a budget of bytes.
#pragma once

#include "common/channel_to_file.hpp"
#include "common/compress.hpp"
#include "common/loop.hpp"
#include "common/socket_to_digest.hpp"
#include "common/unique_fd.hpp"
#include "common/usage.hpp"
#include "common/zero_copy.hpp"
#include "proto/messages.hpp"
#include "receiver/directory_cache.hpp"
#include "receiver/unpack_pace.hpp"

#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <thread>
#include <unordered_map>
#include <vector>

namespace sluice {

class Session;

// Something that lives on a worker until it says that it is done.
class Connection {
public:
    virtual ~Connection() = default;
};

// What the connections of one thread share: they use it one after the other.
struct WorkerTools {
    WorkerTools(CopyPath receive_path, UnpackPace& unpack_pace)
        : path(receive_path), pace(unpack_pace), receive(make_socket_to_file(receive_path)),
          scratch(proto::kMaxBatchBytes) {}

    const CopyPath path;
    UnpackPace& pace; // of all workers
    std::unique_ptr<SocketToFile> receive;
    SocketToDigest receive_digest;   // for what is not kept
    ChannelToFile receive_decrypted; // for what the kernel cannot move by itself
    Decompressor decompressor;
    std::vector<std::byte> scratch; // what was decompressed last
    DirectoryCache directories{kDirectoryCacheSize};

    // Directories that one worker keeps open.
    static constexpr std::size_t kDirectoryCacheSize = 128;
    static_assert(proto::kMaxBlockBytes <= proto::kMaxBatchBytes, "scratch holds either");
};

class Worker {
public:
    // `pace` is borrowed.
    Worker(CopyPath receive_path, UnpackPace& pace);
    ~Worker();
    Worker(const Worker&) = delete;
    Worker& operator=(const Worker&) = delete;

    // Drops all connections and joins the thread. Other workers may go on posting.
    void stop();
    // Drops what they have posted, and the connections that came with it. After stop().
    void clear();

    // Data connections with something to carry, here or on their way here: for spreading them over
    // the workers, and for the length of their turns. Whoever sends one here says so first, and it
    // says itself when it goes. Thread-safe, like post().
    [[nodiscard]] unsigned data_connections() const noexcept { return data_connections_; }
    void expect_data_connection() noexcept { ++data_connections_; }
    void data_connection_gone() noexcept { --data_connections_; }
    void post(std::function<void()> task) { loop_.post(std::move(task)); }

    // The rest is for the worker's own thread.
    [[nodiscard]] Loop& loop() noexcept { return loop_; }
    [[nodiscard]] WorkerTools& tools() noexcept { return tools_; }
    void add(std::unique_ptr<Connection> connection);
    // Destroys the connection, on a later turn: it may be in the middle of something.
    void drop(Connection* connection);
    // Gives the connection away; null: it is not here any more.
    [[nodiscard]] std::unique_ptr<Connection> release(Connection* connection);
    // Bills what this thread has used since it last billed to the session. Not at every call, for
    // asking the kernel costs, too: sessions that share a worker share the error.
    void charge(Session& session) noexcept;
    // The same, at once.
    void charge_now(Session& session) noexcept;

private:
    Loop loop_;
    WorkerTools tools_;
    std::atomic<unsigned> data_connections_{0};
    std::unordered_map<Connection*, std::unique_ptr<Connection>> connections_;
    Usage charged_;
    std::chrono::steady_clock::time_point charged_at_{};
    std::thread thread_;
};

} // namespace sluice
