#include "receiver/workers.hpp"

#include "receiver/waiting_connection.hpp"

#include <optional>
#include <system_error>
#include <utility>

namespace sluice {

Workers::~Workers() {
    stop();
}

Status Workers::start(unsigned count, CopyPath receive_path, UnpackPace& pace) {
    try {
        while (workers_.size() < count) {
            workers_.push_back(std::make_unique<Worker>(receive_path, pace));
        }
    } catch (const std::system_error& error) { // what std::thread throws
        return system_error(ErrorKind::file_io, "cannot start a thread", error.code().value());
    }
    return ok();
}

// Until the last has stopped they send connections to each other; and what ends one posts to the
// worker of its session: so all have to be there until nothing is left on any.
void Workers::stop() {
    for (const auto& worker : workers_) {
        worker->stop();
    }
    for (const auto& worker : workers_) {
        worker->clear();
    }
}

Worker& Workers::at(std::uint64_t number) noexcept {
    return *workers_[number % workers_.size()];
}

Worker& Workers::for_session(std::uint64_t serial) noexcept {
    return at(serial);
}

Worker& Workers::for_stream(std::uint64_t serial, unsigned stream) {
    const std::uint64_t first = serial + 1 + stream;
    const std::scoped_lock lock(choosing_);
    Worker* chosen = &at(first);
    for (std::uint64_t other = 1; other < workers_.size(); ++other) {
        Worker& candidate = at(first + other);
        if (candidate.data_connections() < chosen->data_connections()) {
            chosen = &candidate;
        }
    }
    chosen->expect_data_connection();
    return *chosen;
}

void Workers::take(JoinedConnection joined, unsigned stream) {
    Worker& worker = at(joined.session->serial() + 1 + stream);
    // std::function wants to copy what it holds.
    auto handed_over = std::make_shared<JoinedConnection>(std::move(joined));
    worker.post([this, &worker, handed_over, stream] {
        worker.add(
            std::make_unique<WaitingConnection>(*this, worker, std::move(*handed_over), stream));
    });
}

void Workers::post_to_all(const std::function<void(Worker&)>& task) {
    for (const auto& worker : workers_) {
        worker->post([&target = *worker, task] { task(target); });
    }
}

} // namespace sluice
