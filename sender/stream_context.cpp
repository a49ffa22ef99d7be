#include "sender/stream_context.hpp"

#include "common/text.hpp"

#include <cerrno>
#include <fmt/format.h>
#include <utility>

namespace sluice {

Error describe(const SourceEntry& entry, const SourceProblem& problem) {
    std::string text = fmt::format("{}: {}", escape(entry.display_path()), problem.what);
    if (problem.error_number == 0) {
        return {problem.kind, std::move(text), 0};
    }
    return system_error(problem.kind, std::move(text), problem.error_number);
}

Status StreamContext::connect() {
    if (Status connected = socket.connect(); !connected) {
        return connected;
    }
    connection = in_flight.open_connection(socket.fd());
    const auto preamble = proto::encode_preamble({proto::kVersion, proto::Role::data});
    proto::Bytes hello(preamble.begin(), preamble.end());
    proto::encode(proto::Join{settings.token, connection, settings.index}, hello);
    return socket.send(hello, false);
}

InFlight::Ended StreamContext::disconnect() {
    const InFlight::Ended ended = in_flight.close_connection(std::exchange(connection, 0));
    socket.close();
    return ended;
}

Error StreamContext::connection_gone() const {
    return socket.broken(ECONNRESET);
}

} // namespace sluice
