#include "common/key_file.hpp"

#include "common/text.hpp"
#include "common/unique_fd.hpp"

#include <array>
#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <span>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace sluice {

namespace {

// Text of keys, which is wiped.
class SecretText {
public:
    explicit SecretText(std::size_t bytes) : bytes_(bytes) {}
    ~SecretText() { OPENSSL_cleanse(bytes_.data(), bytes_.size()); }
    SecretText(const SecretText&) = delete;
    SecretText& operator=(const SecretText&) = delete;

    [[nodiscard]] std::span<char> space() noexcept { return bytes_; }

private:
    std::vector<char> bytes_; // never grows: what it left behind could not be wiped
};

Error refusal(const std::string& path, std::string_view why) {
    return {ErrorKind::usage, fmt::format("{}: {}", shown_path(path), why), 0};
}

Status check_status(const std::string& path, const struct stat& status,
                    std::optional<gid_t> lent_to) {
    if (!S_ISREG(status.st_mode)) {
        return refusal(path, "a key file is a regular file, and this is none");
    }
    const uid_t self = geteuid();
    if (status.st_uid != self && status.st_uid != 0) {
        return refusal(path, fmt::format("the key file belongs to user {}, neither to you nor to "
                                         "root: make it your own",
                                         status.st_uid));
    }
    const bool lent = status.st_uid == 0 && (self != 0 || lent_to == status.st_gid);
    const mode_t forbidden = lent ? S_IWGRP | S_IXGRP | S_IRWXO : S_IRWXG | S_IRWXO;
    if ((status.st_mode & forbidden) != 0) {
        return refusal(path,
                       fmt::format("others can {} the key file (mode {:04o}): chmod 600 {}",
                                   (status.st_mode & (S_IWGRP | S_IWOTH)) != 0 ? "change" : "read",
                                   status.st_mode & 07777, shown_path(path)));
    }
    if (status.st_size < 0 || static_cast<std::size_t>(status.st_size) > kMaxKeyFileBytes) {
        return refusal(path, fmt::format("the key file is larger than {} bytes", kMaxKeyFileBytes));
    }
    return ok();
}

// 0, or errno. Until the end of the file, or of the space.
int read_all(int file, std::span<char> space, std::size_t& length) {
    while (length < space.size()) {
        const ssize_t got = ::read(file, space.data() + length, space.size() - length);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return got < 0 ? errno : 0;
        }
        length += static_cast<std::size_t>(got);
    }
    return 0;
}

// 0, or errno.
int write_durably(int file, std::span<const char> text) {
    while (!text.empty()) {
        const ssize_t wrote = ::write(file, text.data(), text.size());
        if (wrote < 0 && errno != EINTR) {
            return errno;
        }
        text = text.subspan(static_cast<std::size_t>(wrote < 0 ? 0 : wrote));
    }
    return ::fsync(file) == 0 ? 0 : errno;
}

// Empty where there is none, or nowhere for it to be. One that may be there but cannot be reached
// is for its reader to complain of: going on without a key would be the weaker choice.
std::string default_key_file() {
    const char* const config = std::getenv("XDG_CONFIG_HOME");
    const char* const home = std::getenv("HOME");
    std::string path;
    if (config != nullptr && *config == '/') { // any other is to be ignored (XDG base directories)
        path = fmt::format("{}/sluice/key", config);
    } else if (home != nullptr && *home == '/') {
        path = fmt::format("{}/.config/sluice/key", home);
    }
    struct stat status {};
    const bool absent = path.empty() || (::stat(path.c_str(), &status) != 0 &&
                                         (errno == ENOENT || errno == ENOTDIR));
    return absent ? std::string{} : path;
}

} // namespace

Result<std::vector<KeyFileEntry>> read_key_file(const std::string& path,
                                                std::optional<gid_t> lent_to) {
    // O_NONBLOCK: a FIFO is refused, not waited for.
    UniqueFd file =
        UniqueFd::adopt(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
    struct stat status {};
    if (!file || ::fstat(file.get(), &status) != 0) {
        return system_error(ErrorKind::file_io,
                            fmt::format("cannot open the key file {}", shown_path(path)), errno);
    }
    if (Status checked = check_status(path, status, lent_to); !checked) {
        return std::move(checked).error();
    }
    SecretText text(static_cast<std::size_t>(status.st_size) + 1); // more means that it has grown
    std::size_t length = 0;
    if (const int error = read_all(file.get(), text.space(), length); error != 0) {
        return system_error(ErrorKind::file_io,
                            fmt::format("cannot read the key file {}", shown_path(path)), error);
    }
    if (length == text.space().size()) {
        return refusal(path, "the key file is being written: try again");
    }
    return parse_key_file({text.space().data(), length}, path);
}

Result<std::shared_ptr<const AccessKey>> read_sender_key(const std::string& path) {
    Result<std::vector<KeyFileEntry>> entries = read_key_file(path);
    if (!entries) {
        return std::move(entries).error();
    }
    if (entries->size() > 1) {
        return Error{ErrorKind::usage,
                     fmt::format("{} holds {} keys (lines {}, {}{}): a sender's file has one",
                                 shown_path(path), entries->size(), (*entries)[0].line,
                                 (*entries)[1].line, entries->size() > 2 ? ", ..." : ""),
                     0};
    }
    AccessKey key = entries->front().key;
    key.rights = {};
    return std::make_shared<const AccessKey>(std::move(key));
}

Result<std::string> generate_key_file(const std::string& path) {
    Secret secret;
    if (RAND_priv_bytes(reinterpret_cast<unsigned char*>(secret.bytes().data()),
                        static_cast<int>(Secret::kBytes)) != 1) {
        return Error{ErrorKind::file_io, "OpenSSL has no random bytes for a key", 0};
    }
    const std::string print = fingerprint(key_identity(secret));
    const std::string heading =
        fmt::format("# A key of sluice, {}. Keep it secret.\n{}", print, kKeyPrefix);
    SecretText text(heading.size() + 2 * Secret::kBytes + 1);
    auto out = std::copy(heading.begin(), heading.end(), text.space().begin());
    for (const std::byte byte : secret.bytes()) {
        constexpr std::string_view kDigits = "0123456789abcdef";
        *out++ = kDigits[std::to_integer<std::size_t>(byte >> 4)];
        *out++ = kDigits[std::to_integer<std::size_t>(byte & std::byte{15})];
    }
    *out = '\n';
    UniqueFd file = UniqueFd::adopt(
        ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!file && errno == EEXIST) {
        return refusal(path, "there is something of that name already, which is left alone");
    }
    if (!file) {
        return system_error(ErrorKind::file_io, fmt::format("cannot make {}", shown_path(path)),
                            errno);
    }
    int error = ::fchmod(file.get(), 0600) == 0 ? 0 : errno; // whatever the umask
    if (error == 0) {
        error = write_durably(file.get(), text.space());
    }
    const int close_error = file.close();
    if (error == 0) {
        error = close_error;
    }
    if (error != 0) {
        ::unlink(path.c_str());
        return system_error(ErrorKind::file_io, fmt::format("cannot write {}", shown_path(path)),
                            error);
    }
    return print;
}

KeyFileChoice choose_key_file(const std::optional<std::string>& option) {
    if (option) {
        return {*option, "--key-file"};
    }
    if (const char* const variable = std::getenv("SLUICE_KEY_FILE"); variable != nullptr) {
        return {variable, "SLUICE_KEY_FILE"};
    }
    return {default_key_file(), "the default"};
}

} // namespace sluice
