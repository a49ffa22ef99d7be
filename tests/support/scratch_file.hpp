// For tests: a nameless file in the temporary directory, and bytes to put into it.
#pragma once

#include "common/unique_fd.hpp"

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <fcntl.h>
#include <random>
#include <span>
#include <string>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <vector>

namespace sluice::test {

// SLUICE_TEST_SEED, or a fresh seed; a test that uses it must print it.
[[nodiscard]] inline std::uint64_t test_seed() {
    const char* const text = std::getenv("SLUICE_TEST_SEED");
    return text != nullptr ? std::strtoull(text, nullptr, 10) : std::random_device{}();
}

[[nodiscard]] inline std::vector<std::byte> noise_bytes(std::size_t length,
                                                        std::uint64_t seed = 1) {
    std::mt19937_64 random(seed);
    std::vector<std::byte> bytes(length);
    for (std::byte& byte : bytes) {
        byte = static_cast<std::byte>(random() & 0xff);
    }
    return bytes;
}

class ScratchFile {
public:
    explicit ScratchFile(std::span<const std::byte> content = {}) {
        const char* const directory = std::getenv("TMPDIR");
        std::string name = directory != nullptr ? directory : "/tmp";
        name += "/sluice-test-XXXXXX";
        fd_ = UniqueFd::adopt(::mkostemp(name.data(), O_CLOEXEC));
        if (!fd_ || ::unlink(name.c_str()) != 0) {
            throw std::system_error(errno, std::generic_category(), name);
        }
        if (::pwrite(fd_.get(), content.data(), content.size(), 0) !=
            static_cast<ssize_t>(content.size())) {
            throw std::system_error(errno, std::generic_category(), "pwrite");
        }
    }

    [[nodiscard]] int fd() const noexcept { return fd_.get(); }
    [[nodiscard]] off_t position() const { return ::lseek(fd_.get(), 0, SEEK_CUR); }

    // The same file opened once more, with other flags.
    [[nodiscard]] UniqueFd reopen(int flags) const {
        const std::string link = "/proc/self/fd/" + std::to_string(fd_.get());
        return UniqueFd::adopt(::open(link.c_str(), flags | O_CLOEXEC));
    }

    [[nodiscard]] std::vector<std::byte> content() const {
        struct stat status {};
        if (::fstat(fd_.get(), &status) != 0) {
            return {};
        }
        std::vector<std::byte> bytes(static_cast<std::size_t>(status.st_size));
        const ssize_t got = ::pread(fd_.get(), bytes.data(), bytes.size(), 0);
        bytes.resize(got < 0 ? 0 : static_cast<std::size_t>(got));
        return bytes;
    }

private:
    UniqueFd fd_;
};

} // namespace sluice::test
