#include "receiver/storage.hpp"

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

namespace sluice {

StoreProblem make_problem(int error_number) {
    StoreProblem problem;
    problem.error_number = error_number;
    switch (error_number) {
    case ELOOP:
    case EXDEV:
        problem.fault = proto::FileFault::refused;
        problem.text = error_number == ELOOP ? "a symbolic link is in the way"
                                             : "it is on another file system than the receiver's "
                                               "directory: run a receiver there";
        return problem;
    case ENOTDIR: return make_conflict("something that is not a directory is in the way");
    case EISDIR:
    case ENOTEMPTY: return make_conflict("a directory is in the way");
    case EEXIST: return make_conflict("something else is in the way");
    case ENOSPC:
        problem.fatal = true;
        problem.text = "no space left on the receiver's device";
        return problem;
    case EDQUOT:
    case EIO:
    case EROFS: problem.fatal = true; break;
    default: break;
    }
    std::array<char, 128> buffer{};
    problem.text = strerror_r(error_number, buffer.data(), buffer.size());
    return problem;
}

StoreProblem make_conflict(std::string text) {
    StoreProblem problem;
    problem.fault = proto::FileFault::conflict;
    problem.text = std::move(text);
    return problem;
}

} // namespace sluice
