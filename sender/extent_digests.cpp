#include "sender/extent_digests.hpp"

#include "common/data_keys.hpp"

#include <algorithm>
#include <thread>
#include <utility>

namespace sluice {

namespace {

// One thread hashes faster than a stream sends; what is left of the cores is for the streams.
unsigned hashing_threads() {
    return std::clamp(std::thread::hardware_concurrency() / 2, 1U, 4U);
}

} // namespace

ExtentDigests::ExtentDigests(Callbacks callbacks, std::optional<Secret> key)
    : callbacks_(std::move(callbacks)), key_(std::move(key)), pool_(hashing_threads()) {}

void ExtentDigests::compute(std::shared_ptr<LargeSource> source, std::uint64_t id,
                            std::uint64_t offset, std::uint64_t length) {
    pool_.post([this, source = std::move(source), id, offset, length] {
        if (source->withdrawn()) {
            add(id, {}); // whatever it is: nobody will look at it
            return;
        }
        const SourceFile& file = source->file();
        const RangeDigest computed =
            payload_digest(key_, id, file.fd(), file.position(offset), length);
        if (computed.error_number != 0) {
            callbacks_.failed(source,
                              {ErrorKind::some_files, "cannot read", computed.error_number});
        } else if (computed.length < length) {
            callbacks_.failed(source,
                              {ErrorKind::source_changed, "shrank while it was being sent", 0});
        }
        add(id, computed.digest);
    });
}

void ExtentDigests::compute(std::uint64_t id, proto::ByteView payload) {
    PayloadDigester digester(key_);
    digester.begin(id);
    digester.add(payload);
    add(id, digester.finish());
}

void ExtentDigests::add(std::uint64_t id, const proto::Digest& digest) {
    bool first = false;
    {
        const std::scoped_lock lock(mutex_);
        first = ready_.empty();
        ready_.push_back({id, digest});
    }
    if (first) {
        callbacks_.ready();
    }
}

std::vector<proto::Digests::Entry> ExtentDigests::take() {
    const std::scoped_lock lock(mutex_);
    return std::exchange(ready_, {});
}

} // namespace sluice
