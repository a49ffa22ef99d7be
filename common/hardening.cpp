#include "common/hardening.hpp"

#include <cerrno>
#include <sys/prctl.h>
#include <sys/resource.h>

namespace sluice {

Status hide_process() {
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) {
        return system_error(ErrorKind::refused, "cannot hide the memory of this process", errno);
    }
    return ok();
}

Status harden_process() {
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
        return system_error(ErrorKind::refused, "cannot give up gaining privileges", errno);
    }
    const rlimit none{0, 0};
    if (setrlimit(RLIMIT_CORE, &none) != 0) {
        return system_error(ErrorKind::refused, "cannot do without core dumps", errno);
    }
    return hide_process();
}

} // namespace sluice
