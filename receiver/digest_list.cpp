#include "receiver/digest_list.hpp"

#include "common/beneath.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>

namespace sluice {

int DigestList::add(std::string_view path, std::uint64_t size) {
    return files_.append({reinterpret_cast<const char*>(&size), sizeof size}, path);
}

int DigestList::for_each(int destination, const std::string& prefix,
                         const std::function<void(const ListedFile&)>& visit,
                         std::uint64_t& unreadable) const {
    return files_.for_each([&](std::string_view record) {
        ListedFile listed;
        std::memcpy(&listed.size, record.data(), sizeof listed.size);
        const std::string path(record.substr(sizeof listed.size));
        listed.path = prefix.empty() ? path : prefix + '/' + path;
        const Opened file = open_beneath(destination, path, O_RDONLY | O_NONBLOCK);
        struct stat status {};
        if (!file.ok() || fstat(file.fd.get(), &status) != 0) {
            unreadable += file.error_number == ENOENT ? 0 : 1;
            return;
        }
        if (!S_ISREG(status.st_mode) || static_cast<std::uint64_t>(status.st_size) != listed.size) {
            return;
        }
        const RangeDigest read = digest_range(file.fd.get(), 0, listed.size);
        if (read.error_number != 0 || read.length != listed.size) {
            ++unreadable;
            return;
        }
        listed.digest = read.digest;
        visit(listed);
    });
}

} // namespace sluice
