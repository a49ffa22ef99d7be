#include "receiver/worker.hpp"

#include "receiver/session.hpp"

#include <utility>

namespace sluice {

namespace {

constexpr std::chrono::milliseconds kChargeInterval{2};

} // namespace

Worker::Worker(CopyPath receive_path, UnpackPace& pace)
    : tools_(receive_path, pace), thread_([this] { loop_.run(); }) {}

Worker::~Worker() {
    stop();
}

void Worker::stop() {
    if (!thread_.joinable()) {
        return;
    }
    loop_.post([this] {
        connections_.clear();
        loop_.stop();
    });
    thread_.join();
}

void Worker::clear() {
    connections_.clear();
    loop_.discard_tasks();
}

void Worker::add(std::unique_ptr<Connection> connection) {
    Connection* const key = connection.get();
    connections_.emplace(key, std::move(connection));
}

void Worker::drop(Connection* connection) {
    loop_.post([this, connection] { release(connection).reset(); });
}

std::unique_ptr<Connection> Worker::release(Connection* connection) {
    auto found = connections_.extract(connection);
    return found ? std::move(found.mapped()) : nullptr;
}

void Worker::charge(Session& session) noexcept {
    if (std::chrono::steady_clock::now() - charged_at_ >= kChargeInterval) {
        charge_now(session);
    }
}

void Worker::charge_now(Session& session) noexcept {
    charged_at_ = std::chrono::steady_clock::now();
    const Usage now = thread_usage();
    session.charge(now - charged_);
    charged_ = now;
}

} // namespace sluice
