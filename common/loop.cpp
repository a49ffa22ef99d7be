#include "common/loop.hpp"

#include "common/usage.hpp"

#include <cstdlib>
#include <deque>
#include <mutex>
#include <utility>
#include <uv.h>

namespace sluice {

namespace {

// Nothing sensible can be done where libuv cannot get its few descriptors at start-up.
void require(int result) {
    if (result != 0) {
        std::abort();
    }
}

// The one cast from a libuv handle to the object behind it.
template <typename T, typename Handle>
T& owner(Handle* handle) {
    return *static_cast<T*>(handle->data);
}

template <typename T, typename Handle>
void close_and_free(T* impl, Handle* handle) {
    impl->callback = nullptr;
    uv_close(reinterpret_cast<uv_handle_t*>(handle),
             [](uv_handle_t* closed) { delete &owner<T>(closed); });
}

} // namespace

struct Loop::Impl {
    uv_loop_t loop{};
    uv_async_t wake{};
    uv_prepare_t turn{};
    std::mutex mutex;
    std::deque<std::function<void()>> tasks; // guarded by mutex

    // uv_async_send coalesces, so one wake-up drains everything that is there.
    void run_tasks() {
        std::deque<std::function<void()>> ready;
        {
            std::scoped_lock lock(mutex);
            ready.swap(tasks);
        }
        for (auto& task : ready) {
            task();
        }
    }
};

Loop::Loop() : impl_(std::make_unique<Impl>()) {
    require(uv_loop_init(&impl_->loop));
    impl_->wake.data = impl_.get();
    require(uv_async_init(&impl_->loop, &impl_->wake,
                          [](uv_async_t* handle) { owner<Impl>(handle).run_tasks(); }));
    require(uv_prepare_init(&impl_->loop, &impl_->turn));
    require(uv_prepare_start(&impl_->turn, [](uv_prepare_t*) { count_system_call(); }));
}

Loop::~Loop() {
    uv_close(reinterpret_cast<uv_handle_t*>(&impl_->wake), nullptr);
    uv_close(reinterpret_cast<uv_handle_t*>(&impl_->turn), nullptr);
    uv_run(&impl_->loop, UV_RUN_DEFAULT);
    require(uv_loop_close(&impl_->loop));
}

void Loop::run() {
    uv_run(&impl_->loop, UV_RUN_DEFAULT);
}

void Loop::stop() noexcept {
    uv_stop(&impl_->loop);
}

void Loop::discard_tasks() {
    std::deque<std::function<void()>> discarded;
    const std::scoped_lock lock(impl_->mutex);
    discarded.swap(impl_->tasks);
}

void Loop::post(std::function<void()> task) {
    {
        std::scoped_lock lock(impl_->mutex);
        impl_->tasks.push_back(std::move(task));
    }
    uv_async_send(&impl_->wake);
}

struct Poll::Impl {
    uv_poll_t handle{};
    int events = 0;
    Callback callback;

    static void on_event(uv_poll_t* handle, int status, int found) {
        if (status != 0) {
            // At EPOLLERR libuv 1.44 stops the watcher before it calls back. The owner may not come
            // to the error in this turn (there can be data before it), so it must go on.
            uv_poll_start(handle, owner<Impl>(handle).events, on_event);
        }
        // The callback may destroy the Poll: call a copy that outlives it.
        const Callback call = owner<Impl>(handle).callback;
        if (call) {
            call({status != 0 || (found & UV_READABLE) != 0,
                  status != 0 || (found & UV_WRITABLE) != 0});
        }
    }
};

Poll::Poll(Loop& loop, int fd, Callback callback) : impl_(new Impl) {
    impl_->callback = std::move(callback);
    impl_->handle.data = impl_;
    require(uv_poll_init(&loop.impl().loop, &impl_->handle, fd));
}

Poll::~Poll() {
    close_and_free(impl_, &impl_->handle);
}

void Poll::wait_for(Readiness wanted) {
    if (wanted.readable == wanted_.readable && wanted.writable == wanted_.writable) {
        return;
    }
    wanted_ = wanted;
    const int events =
        (wanted.readable ? int{UV_READABLE} : 0) | (wanted.writable ? int{UV_WRITABLE} : 0);
    if (events == 0) {
        uv_poll_stop(&impl_->handle);
        return;
    }
    impl_->events = events;
    uv_poll_start(&impl_->handle, events, Impl::on_event);
}

struct Timer::Impl {
    uv_timer_t handle{};
    Callback callback;
};

Timer::Timer(Loop& loop, Callback callback) : impl_(new Impl) {
    impl_->callback = std::move(callback);
    impl_->handle.data = impl_;
    require(uv_timer_init(&loop.impl().loop, &impl_->handle));
}

Timer::~Timer() {
    close_and_free(impl_, &impl_->handle);
}

void Timer::start(std::chrono::milliseconds delay, std::chrono::milliseconds repeat) {
    uv_timer_start(
        &impl_->handle,
        [](uv_timer_t* handle) {
            const Callback call = owner<Impl>(handle).callback;
            if (call) {
                call();
            }
        },
        static_cast<std::uint64_t>(delay.count()), static_cast<std::uint64_t>(repeat.count()));
}

void Timer::stop() noexcept {
    uv_timer_stop(&impl_->handle);
}

struct NextTurn::Impl {
    uv_idle_t handle{};
    Callback callback;
};

NextTurn::NextTurn(Loop& loop, Callback callback) : impl_(new Impl) {
    impl_->callback = std::move(callback);
    impl_->handle.data = impl_;
    require(uv_idle_init(&loop.impl().loop, &impl_->handle));
}

NextTurn::~NextTurn() {
    close_and_free(impl_, &impl_->handle);
}

void NextTurn::ask() noexcept {
    uv_idle_start(&impl_->handle, [](uv_idle_t* handle) {
        uv_idle_stop(handle);
        const Callback call = owner<Impl>(handle).callback;
        if (call) {
            call();
        }
    });
}

void NextTurn::cancel() noexcept {
    uv_idle_stop(&impl_->handle);
}

struct SignalWatcher::Impl {
    uv_signal_t handle{};
    Callback callback;
};

SignalWatcher::SignalWatcher(Loop& loop, int signal_number, Callback callback) : impl_(new Impl) {
    impl_->callback = std::move(callback);
    impl_->handle.data = impl_;
    require(uv_signal_init(&loop.impl().loop, &impl_->handle));
    require(uv_signal_start(
        &impl_->handle,
        [](uv_signal_t* handle, int) {
            const Callback call = owner<Impl>(handle).callback;
            if (call) {
                call();
            }
        },
        signal_number));
}

SignalWatcher::~SignalWatcher() {
    close_and_free(impl_, &impl_->handle);
}

} // namespace sluice
