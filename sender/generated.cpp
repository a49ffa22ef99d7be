#include "sender/generated.hpp"

#include "common/usage.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <endian.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace sluice {

namespace {

constexpr std::size_t kWordBytes = sizeof(std::uint64_t);
static_assert(kGeneratedPeriodBytes % kWordBytes == 0);

constexpr const char* kName = "generated";

std::uint64_t splitmix64(std::uint64_t index) noexcept {
    std::uint64_t word = (index + 1) * 0x9e3779b97f4a7c15U;
    word = (word ^ (word >> 30U)) * 0xbf58476d1ce4e5b9U;
    word = (word ^ (word >> 27U)) * 0x94d049bb133111ebU;
    return word ^ (word >> 31U);
}

int write_all(int file, std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
        count_system_call();
        const ssize_t wrote = ::write(file, bytes.data(), bytes.size());
        if (wrote < 0 && errno != EINTR) {
            return errno;
        }
        bytes = bytes.subspan(wrote > 0 ? static_cast<std::size_t>(wrote) : 0);
    }
    return 0;
}

} // namespace

void generate(std::uint64_t offset, std::span<std::byte> out) noexcept {
    for (std::size_t done = 0; done < out.size(); done += kWordBytes) {
        const std::uint64_t word =
            htole64(splitmix64((offset + done) % kGeneratedPeriodBytes / kWordBytes));
        std::memcpy(out.data() + done, &word, std::min(kWordBytes, out.size() - done));
    }
}

Result<UniqueFd> make_generated_file(std::uint64_t bytes) {
    count_system_call();
    UniqueFd file = UniqueFd::adopt(memfd_create(kName, MFD_CLOEXEC | MFD_ALLOW_SEALING));
    int error = file ? 0 : errno;
    const std::uint64_t end = std::min(bytes, kGeneratedMemoryBytes);
    std::vector<std::byte> period(static_cast<std::size_t>(std::min(bytes, kGeneratedPeriodBytes)));
    generate(0, period);
    for (std::uint64_t at = 0; at < end && error == 0; at += period.size()) {
        const auto length =
            static_cast<std::size_t>(std::min<std::uint64_t>(end - at, period.size()));
        error = write_all(file.get(), std::span(period).first(length));
    }
    if (error == 0) {
        count_system_call();
        error = fcntl(file.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) == 0
                    ? 0
                    : errno;
    }
    if (error != 0) {
        return system_error(ErrorKind::some_files, "cannot make up content in memory", error);
    }
    return file;
}

SourceRoot generated_root() {
    SourceRoot root;
    root.argument = kName;
    root.wire_name = kName;
    root.generated = true;
    return root;
}

SourceEntry generated_entry(std::shared_ptr<const SourceRoot> root, std::uint64_t bytes) {
    SourceEntry entry;
    entry.root = std::move(root);
    entry.wire_path = kName;
    entry.size = bytes;
    entry.mode = kGeneratedMode;
    entry.mtime = kGeneratedTime;
    entry.version = kGeneratedVersion;
    return entry;
}

} // namespace sluice
