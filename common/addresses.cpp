#include "common/addresses.hpp"

#include "common/net.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <array>
#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <memory>
#include <mutex>
#include <netdb.h>
#include <netinet/in.h>
#include <optional>
#include <sys/eventfd.h>
#include <system_error>
#include <thread>
#include <unistd.h>
#include <utility>

namespace sluice {

namespace {

struct FreeAddresses {
    void operator()(addrinfo* list) const noexcept { freeaddrinfo(list); }
};

// What the thread that asks and the thread that waits share.
struct Question {
    const UniqueFd answered = UniqueFd::adopt(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    std::mutex mutex;
    std::optional<Result<SocketAddresses>> answer; // guarded by mutex
};

void ask(const std::shared_ptr<Question>& question, const Lookup& lookup) {
    Result<SocketAddresses> answer = lookup();
    {
        const std::scoped_lock lock(question->mutex);
        question->answer = std::move(answer);
    }
    const std::uint64_t one = 1;
    static_cast<void>(::write(question->answered.get(), &one, sizeof one));
}

// getaddrinfo(3) answers these without asking anybody.
bool is_numeric(const std::string& host) {
    std::array<unsigned char, sizeof(in6_addr)> ignored{};
    const std::string address = host.substr(0, host.find('%')); // without the scope
    return inet_pton(AF_INET, address.c_str(), ignored.data()) == 1 ||
           inet_pton(AF_INET6, address.c_str(), ignored.data()) == 1;
}

} // namespace

std::string format_address(const SocketAddress& address) {
    std::array<char, NI_MAXHOST> host{};
    std::array<char, NI_MAXSERV> port{};
    if (getnameinfo(address.get(), address.length, host.data(), host.size(), port.data(),
                    port.size(), NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
        return "?";
    }
    return address.family() == AF_INET6 ? fmt::format("[{}]:{}", host.data(), port.data())
                                        : fmt::format("{}:{}", host.data(), port.data());
}

Result<SocketAddresses> resolve(const std::string& host, std::uint16_t port, bool passive) {
    addrinfo hints{};
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_NUMERICSERV | (passive ? AI_PASSIVE : 0);
    addrinfo* found = nullptr;
    const int error = getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found);
    if (error != 0) {
        const char* const why = error == EAI_SYSTEM ? std::strerror(errno) : gai_strerror(error);
        return Error{ErrorKind::network, fmt::format("cannot resolve host '{}': {}", host, why)};
    }
    const std::unique_ptr<addrinfo, FreeAddresses> list(found);
    SocketAddresses addresses;
    for (const addrinfo* one = list.get(); one != nullptr; one = one->ai_next) {
        SocketAddress& address = addresses.emplace_back();
        std::memcpy(&address.storage, one->ai_addr, one->ai_addrlen);
        address.length = one->ai_addrlen;
    }
    return addresses;
}

Result<SocketAddresses> resolve_within(const std::string& host, const Lookup& lookup,
                                       std::chrono::milliseconds timeout, int cancel_fd) {
    if (is_numeric(host)) {
        return lookup();
    }
    const auto question = std::make_shared<Question>();
    if (!question->answered) {
        return system_error(ErrorKind::network, fmt::format("cannot resolve host '{}'", host),
                            errno);
    }
    try {
        std::thread([question, lookup] { ask(question, lookup); }).detach();
    } catch (const std::system_error&) { // out of threads: then without an end to it
        return lookup();
    }
    switch (wait_for_socket(question->answered.get(), false, cancel_fd, timeout)) {
    case Wait::cancelled: return Error{ErrorKind::interrupted, "interrupted", ECANCELED};
    case Wait::timed_out:
        return Error{ErrorKind::timed_out,
                     fmt::format("cannot resolve host '{}': no answer within {:g} s", host,
                                 std::chrono::duration<double>(timeout).count()),
                     ETIMEDOUT};
    case Wait::ready: break;
    }
    const std::scoped_lock lock(question->mutex);
    return std::move(*question->answer);
}

SocketAddresses take_turns(const SocketAddresses& addresses) {
    SocketAddresses first;
    SocketAddresses second;
    for (const SocketAddress& address : addresses) {
        (address.family() == addresses.front().family() ? first : second).push_back(address);
    }
    SocketAddresses turns;
    for (std::size_t index = 0; index < std::max(first.size(), second.size()); ++index) {
        for (const SocketAddresses* const family : {&first, &second}) {
            if (index < family->size()) {
                turns.push_back((*family)[index]);
            }
        }
    }
    return turns;
}

} // namespace sluice
