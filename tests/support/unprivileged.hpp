// For tests of permissions, which root does not feel, and of what cannot be undone: a child
// process, as nobody or as who we are.
#pragma once

#include <cstdlib>
#include <exception>
#include <functional>
#include <iostream>
#include <stdexcept>
#include <string>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

namespace sluice::test {

inline constexpr uid_t kNobody = 65'534;

// Runs `body` in a child, for what a process can only do to itself for good. Empty, or what went
// wrong: the text of the exception that `body` threw, or how else the child ended.
inline std::string in_child(const std::function<void()>& body) {
    int channel[2];
    if (::pipe(channel) != 0) {
        return "no pipe";
    }
    const pid_t child = ::fork();
    if (child == 0) {
        std::string trouble;
        try {
            body();
        } catch (const std::exception& error) {
            trouble = error.what();
        }
        const bool told = ::write(channel[1], trouble.data(), trouble.size()) >= 0;
        ::_exit(told && trouble.empty() ? 0 : 1);
    }
    ::close(channel[1]);
    std::string trouble;
    char piece[256];
    for (ssize_t got = 0; (got = ::read(channel[0], piece, sizeof piece)) > 0;) {
        trouble.append(piece, static_cast<std::size_t>(got));
    }
    ::close(channel[0]);
    int status = 0;
    ::waitpid(child, &status, 0);
    if (trouble.empty() && status != 0) {
        trouble = "the child ended with status " + std::to_string(status);
    }
    return trouble;
}

// The same as nobody, where this is root.
inline std::string as_nobody(const std::function<void()>& body) {
    return in_child([&body] {
        if (::geteuid() == 0 && (::setresgid(kNobody, kNobody, kNobody) != 0 ||
                                 ::setresuid(kNobody, kNobody, kNobody) != 0)) {
            throw std::runtime_error("cannot become nobody");
        }
        body();
    });
}

// For use in `body`: Catch2's assertions belong to the parent.
inline void expect(bool condition, const std::string& what) {
    if (!condition) {
        throw std::runtime_error(what);
    }
}

} // namespace sluice::test
