#include "sender/data_stream.hpp"

#include "common/text.hpp"

#include <csignal>
#include <fmt/format.h>
#include <utility>

namespace sluice {

void StreamContext::fail(const SourceEntry& entry, const SourceProblem& problem) const {
    const std::string path = escape(entry.display_path());
    if (problem.error_number == 0) {
        callbacks.file_failed({problem.kind, fmt::format("{}: {}", path, problem.what), 0});
    } else {
        callbacks.file_failed(system_error(problem.kind, fmt::format("{}: {}", path, problem.what),
                                           problem.error_number));
    }
}

Status StreamContext::connect() {
    Status connected = socket.connect();
    if (connected) {
        ++totals.connections;
    }
    return connected;
}

DataStream::DataStream(StreamSettings settings, StreamCallbacks callbacks, WorkQueue& queue,
                       StreamTotals& totals)
    : context_(std::move(settings), std::move(callbacks), totals), queue_(queue), small_(context_),
      large_(context_), thread_([this] { run(); }) {}

DataStream::~DataStream() {
    thread_.join();
}

void DataStream::run() {
    // sendfile(2) raises SIGPIPE where the peer has closed, and has no flag against it. The rest of
    // the program may want the signal, so it is blocked on this thread only.
    sigset_t pipe_signal;
    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_signal, nullptr);
    Status sent = send_everything();
    context_.totals.usage.add(thread_usage());
    context_.callbacks.ended(sent ? std::nullopt : std::optional(std::move(sent).error()));
}

Status DataStream::send_everything() {
    if (Status connected = context_.connect(); !connected) {
        return connected;
    }
    for (;;) {
        const Chunk chunk = queue_.pop();
        if (chunk.empty()) {
            break;
        }
        for (const SourceEntry& entry : chunk) {
            if (Status sent = send_entry(entry); !sent) {
                return sent;
            }
        }
    }
    for (Status flushed : {small_.flush(), large_.flush()}) {
        if (!flushed) {
            return flushed;
        }
    }
    proto::Bytes end;
    proto::encode_stream_end(end);
    return context_.socket.send(end, false);
}

Status DataStream::send_entry(const SourceEntry& entry) {
    if (entry.kind != EntryKind::file) {
        return small_.add(entry);
    }
    auto opened = SourceFile::open(entry);
    if (const auto* const problem = std::get_if<SourceProblem>(&opened); problem != nullptr) {
        context_.fail(entry, *problem);
        return ok();
    }
    const SourceFile& source = std::get<SourceFile>(opened);
    return source.size() <= proto::kMaxInlineFileBytes ? small_.add_file(entry, source)
                                                       : large_.send(entry, source);
}

} // namespace sluice
