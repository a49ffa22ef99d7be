// A directory for one test, removed with everything in it when it goes out of scope. Names are
// relative to it and may hold any bytes but NUL. Trouble is thrown as std::system_error (or
// std::filesystem::filesystem_error, which is one): a test cannot go on without its files.
#pragma once

#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <string>
#include <string_view>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <vector>

namespace sluice::test {

class TempDir {
public:
    explicit TempDir(const std::string& base = default_base()) {
        std::string name = base + "/sluice-test-XXXXXX";
        if (::mkdtemp(name.data()) == nullptr) {
            fail("mkdtemp", name);
        }
        path_ = name;
    }
    ~TempDir() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    TempDir(const TempDir&) = delete;
    TempDir& operator=(const TempDir&) = delete;

    // For a test with many thousand files that does not care where they are.
    [[nodiscard]] static std::string quick_base() {
        return ::access("/dev/shm", W_OK | X_OK) == 0 ? "/dev/shm" : default_base();
    }

    // Absolute unless $TMPDIR is not; no trailing slash.
    [[nodiscard]] const std::string& path() const noexcept { return path_; }
    [[nodiscard]] std::string path(std::string_view name) const {
        return name.empty() ? path_ : path_ + '/' + std::string(name);
    }

    // Creates or replaces; parent directories are made as needed.
    void write_file(std::string_view name, std::string_view content, mode_t mode = 0644) const {
        make_parents(name);
        const std::string file = path(name);
        const int fd = ::open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        if (fd < 0) {
            fail("open", file);
        }
        while (!content.empty()) {
            const ssize_t n = ::write(fd, content.data(), content.size());
            if (n < 0) {
                const int number = errno;
                ::close(fd);
                errno = number;
                fail("write", file);
            }
            content.remove_prefix(static_cast<std::size_t>(n));
        }
        ::close(fd);
        set_mode(name, mode); // the umask has no say
    }
    // With its parents; no error if it exists.
    void make_dir(std::string_view name) const { std::filesystem::create_directories(path(name)); }
    void symlink(std::string_view target, std::string_view name) const {
        make_parents(name);
        if (::symlink(std::string(target).c_str(), path(name).c_str()) != 0) {
            fail("symlink", path(name));
        }
    }
    void set_mode(std::string_view name, mode_t mode) const {
        if (::chmod(path(name).c_str(), mode) != 0) {
            fail("chmod", path(name));
        }
    }
    // Of the name itself, also where it is a symbolic link.
    void set_mtime(std::string_view name, time_t seconds, long nanoseconds = 0) const {
        const timespec times[2] = {{0, UTIME_OMIT}, {seconds, nanoseconds}};
        if (::utimensat(AT_FDCWD, path(name).c_str(), times, AT_SYMLINK_NOFOLLOW) != 0) {
            fail("utimensat", path(name));
        }
    }
    // A file of this size that is one hole.
    void make_hole(std::string_view name, off_t size) const {
        write_file(name, "");
        if (::truncate(path(name).c_str(), size) != 0) {
            fail("truncate", path(name));
        }
    }
    // Whatever it is, with everything below it; no error if there is nothing.
    void remove(std::string_view name) const { std::filesystem::remove_all(path(name)); }
    void rename(std::string_view from, std::string_view to) const {
        std::filesystem::rename(path(from), path(to));
    }

    [[nodiscard]] std::string read_file(std::string_view name) const {
        const std::string file = path(name);
        const int fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
        if (fd < 0) {
            fail("open", file);
        }
        std::string content;
        std::vector<char> buffer(std::size_t{64} << 10);
        ssize_t n = 0;
        while ((n = ::read(fd, buffer.data(), buffer.size())) > 0) {
            content.append(buffer.data(), static_cast<std::size_t>(n));
        }
        const int number = errno;
        ::close(fd);
        if (n < 0) {
            errno = number;
            fail("read", file);
        }
        return content;
    }
    [[nodiscard]] std::string read_link(std::string_view name) const {
        return std::filesystem::read_symlink(path(name)).string();
    }
    // Of the name itself, not of what a symbolic link leads to.
    [[nodiscard]] struct stat status(std::string_view name) const {
        struct stat result {};
        if (::lstat(path(name).c_str(), &result) != 0) {
            fail("lstat", path(name));
        }
        return result;
    }
    [[nodiscard]] bool exists(std::string_view name) const {
        struct stat ignored {};
        return ::lstat(path(name).c_str(), &ignored) == 0;
    }
    // Names in a directory, without "." and "..", in no particular order.
    [[nodiscard]] std::vector<std::string> list(std::string_view name = {}) const {
        std::vector<std::string> names;
        for (const auto& entry : std::filesystem::directory_iterator(path(name))) {
            names.push_back(entry.path().filename().string());
        }
        return names;
    }

private:
    static std::string default_base() {
        const char* const base = std::getenv("TMPDIR");
        return base != nullptr && *base != '\0' ? base : "/tmp";
    }
    [[noreturn]] static void fail(const char* what, const std::string& name) {
        throw std::system_error(errno, std::generic_category(), what + (' ' + name));
    }
    void make_parents(std::string_view name) const {
        if (const auto slash = name.rfind('/'); slash != std::string_view::npos) {
            make_dir(name.substr(0, slash));
        }
    }

    std::string path_;
};

} // namespace sluice::test
