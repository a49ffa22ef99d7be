#include "sender/stream_set.hpp"

#include "proto/limits.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <system_error>
#include <utility>

namespace sluice {

StreamSet::StreamSet(Loop& loop, StreamSettings settings, std::optional<std::uint16_t> streams,
                     std::chrono::microseconds round_trip, Shared shared, Callbacks callbacks)
    : settings_(std::move(settings)), fixed_(streams.has_value()), round_trip_(round_trip),
      shared_(shared), callbacks_(std::move(callbacks)), tuner_(round_trip),
      first_(streams.value_or(static_cast<std::uint16_t>(tuner_.streams()))),
      timer_(loop, [this] { look(); }) {
    settings_.token = &token_;
}

StreamSet::~StreamSet() {
    token_.cancel();
}

Status StreamSet::start() {
    return grow(std::min<unsigned>(first_, proto::kMaxStreamsBeforeWelcome));
}

void StreamSet::welcome(const proto::Token& token) {
    token_.set(token);
    static_cast<void>(grow(first_)); // there are some
    if (!fixed_) {
        callbacks_.detail(fmt::format("{} data connections for a round trip of {:.2f} ms",
                                      streams_.size(),
                                      static_cast<double>(round_trip_.count()) / 1000));
        timer_.start(tuner_.next_look());
    }
}

Status StreamSet::grow(unsigned wanted) {
    while (streams_.size() < wanted) {
        settings_.index = static_cast<std::uint16_t>(streams_.size());
        try {
            streams_.push_back(std::make_unique<DataStream>(settings_, shared_.host, shared_.queue,
                                                            shared_.in_flight, shared_.totals));
        } catch (const std::system_error& error) { // what std::thread throws
            return streams_.empty()
                       ? Status(system_error(ErrorKind::file_io, "cannot start a thread",
                                             error.code().value()))
                       : ok();
        }
    }
    return ok();
}

void StreamSet::look() {
    // Streams that share a file are without work for a moment after each extent.
    const bool busy = 2 * shared_.queue.idle_streams() < streams_.size();
    if (busy) {
        tuner_.expect(shared_.found.files, shared_.found.bytes);
    }
    tuner_.look(StreamTuner::Clock::now(), callbacks_.work_done(), busy);
    const std::size_t before = streams_.size();
    if (tuner_.streams() > before) {
        static_cast<void>(grow(tuner_.streams())); // there are some
        callbacks_.detail(streams_.size() > before
                              ? fmt::format("{} data connections now", streams_.size())
                              : "no thread can be started for another data connection");
    }
    const bool stuck = tuner_.streams() > streams_.size();
    if (tuner_.settled()) {
        callbacks_.detail(
            fmt::format("{} data connections are enough: more bring nothing", streams_.size()));
    }
    if (!tuner_.settled() && !stuck) {
        timer_.start(tuner_.next_look());
    }
}

} // namespace sluice
