#include "tests/link/tun.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>

namespace sluice::link {

namespace {

constexpr const char* kTunDevice = "/dev/net/tun";

Error failed(const std::string& what) {
    return system_error(ErrorKind::usage, what, errno);
}

// A TUN descriptor belongs to the namespace in which the file was opened.
Result<UniqueFd> create_here(const std::string& name) {
    UniqueFd tun = UniqueFd::adopt(::open(kTunDevice, O_RDWR | O_NONBLOCK | O_CLOEXEC));
    if (!tun) {
        return failed(fmt::format("cannot open {}", kTunDevice));
    }
    ifreq request{};
    request.ifr_flags = IFF_TUN | IFF_NO_PI;
    if (name.size() >= sizeof request.ifr_name) {
        return Error{ErrorKind::usage, fmt::format("'{}' is too long for a device", name)};
    }
    std::memcpy(request.ifr_name, name.data(), name.size());
    if (::ioctl(tun.get(), TUNSETIFF, &request) != 0) {
        return failed(fmt::format("cannot create the TUN device '{}'", name));
    }
    return tun;
}

} // namespace

Result<UniqueFd> create_tun(const std::string& network_namespace, const std::string& name) {
    const UniqueFd home = UniqueFd::adopt(::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
    const UniqueFd there = UniqueFd::adopt(::open(network_namespace.c_str(), O_RDONLY | O_CLOEXEC));
    if (!home || !there || ::setns(there.get(), CLONE_NEWNET) != 0) {
        return failed(fmt::format("cannot enter the network namespace {}", network_namespace));
    }
    Result<UniqueFd> tun = create_here(name);
    if (::setns(home.get(), CLONE_NEWNET) != 0) {
        return failed("cannot return to the own network namespace");
    }
    return tun;
}

} // namespace sluice::link
