// For tests: an address that neither takes connections nor refuses them, as a machine that is
// switched off would be.
#pragma once

#include "common/addresses.hpp"
#include "common/net.hpp"
#include "tests/support/tcp_pair.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace sluice::test {

// A listener whose queue is full. `address` is numeric; throws where it is not one of this machine.
class FullListener {
public:
    explicit FullListener(const std::string& address = "127.0.0.1") {
        const auto found = resolve(address, 0, true);
        require(found.has_value(), "resolve");
        SocketAddress here = found->front();
        auto* const generic = reinterpret_cast<sockaddr*>(&here.storage);
        socket_ = UniqueFd::adopt(::socket(here.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
        require(::bind(socket_.get(), generic, here.length) == 0, "bind");
        require(::listen(socket_.get(), 0) == 0, "listen");
        require(::getsockname(socket_.get(), generic, &here.length) == 0, "getsockname");
        for (int count = 0; count < 8; ++count) { // beyond what it queues they stay unanswered
            waiting_.push_back(UniqueFd::adopt(
                ::socket(here.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)));
            static_cast<void>(::connect(waiting_.back().get(), generic, here.length));
        }
    }
    [[nodiscard]] std::uint16_t port() const { return local_port(socket_.get()); }

private:
    UniqueFd socket_;
    std::vector<UniqueFd> waiting_;
};

} // namespace sluice::test
