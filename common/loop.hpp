// libuv (uv_loop_t and friends) as C++ objects.
//
// A Loop belongs to the thread that runs it; of its members only post() may be called from other
// threads. A handle wrapper closes its handle in the destructor; libuv frees the memory behind it
// in the close callback, on a later turn of the loop. Callbacks are never called after the wrapper
// is gone. No exception may leave a callback.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>

namespace sluice {

class Loop {
public:
    // Ends the process where the loop cannot be made: that takes a system out of descriptors.
    Loop();
    // Runs until all closing handles are gone. All wrappers must have been destroyed.
    ~Loop();
    Loop(const Loop&) = delete;
    Loop& operator=(const Loop&) = delete;

    // Until stop().
    void run();
    void stop() noexcept;
    // Runs `task` on the loop's thread, in order. Thread-safe. Tasks posted after the last run()
    // are destroyed without being run.
    void post(std::function<void()> task);
    // Destroys tasks that have not been run. Not while run() goes on.
    void discard_tasks();

    struct Impl;
    [[nodiscard]] Impl& impl() noexcept { return *impl_; }

private:
    std::unique_ptr<Impl> impl_;
};

// What a Poll waits for, and what it found.
struct Readiness {
    bool readable = false;
    bool writable = false;
};

// Watches one descriptor (uv_poll_t, level-triggered). The descriptor must stay open for as long
// as the watcher lives, and is not closed by it. One watcher per descriptor and loop.
class Poll {
public:
    using Callback = std::function<void(Readiness)>;

    // An error of the watcher itself is reported as readable and writable: the next system call
    // on the descriptor tells what it is.
    Poll(Loop& loop, int fd, Callback callback);
    ~Poll();
    Poll(const Poll&) = delete;
    Poll& operator=(const Poll&) = delete;

    // Replaces what is waited for; nothing at all pauses the watcher.
    void wait_for(Readiness wanted);

    struct Impl;

private:
    Impl* impl_; // owned; given to the close callback
    Readiness wanted_;
};

// Calls back after a delay, once or repeatedly (uv_timer_t).
class Timer {
public:
    using Callback = std::function<void()>;

    Timer(Loop& loop, Callback callback);
    ~Timer();
    Timer(const Timer&) = delete;
    Timer& operator=(const Timer&) = delete;

    // Restarts a running timer. A `repeat` of zero means once.
    void start(std::chrono::milliseconds delay,
               std::chrono::milliseconds repeat = std::chrono::milliseconds{0});
    void stop() noexcept;

    struct Impl;

private:
    Impl* impl_; // owned; given to the close callback
};

// Calls back once, on the next turn of the loop, whatever else there is to do (uv_idle_t): for
// going on with work that no descriptor announces, after others have had their turn.
class NextTurn {
public:
    using Callback = std::function<void()>;

    NextTurn(Loop& loop, Callback callback);
    ~NextTurn();
    NextTurn(const NextTurn&) = delete;
    NextTurn& operator=(const NextTurn&) = delete;

    void ask() noexcept;
    void cancel() noexcept;

    struct Impl;

private:
    Impl* impl_; // owned; given to the close callback
};

// Calls back on a signal (uv_signal_t). When the last watcher of a signal is gone libuv gives it
// its default disposition.
class SignalWatcher {
public:
    using Callback = std::function<void()>;

    SignalWatcher(Loop& loop, int signal_number, Callback callback);
    ~SignalWatcher();
    SignalWatcher(const SignalWatcher&) = delete;
    SignalWatcher& operator=(const SignalWatcher&) = delete;

    struct Impl;

private:
    Impl* impl_; // owned; given to the close callback
};

} // namespace sluice
