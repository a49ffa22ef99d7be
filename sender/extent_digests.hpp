// Computes the digests of extents on threads of their own, beside sending them, and collects them
// until the control connection takes them. Thread-safe.
#pragma once

#include "common/job_pool.hpp"
#include "common/secret.hpp"
#include "proto/messages.hpp"
#include "sender/large_source.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

namespace sluice {

class ExtentDigests {
public:
    struct Callbacks {
        // There is something to take(); not called again before that.
        std::function<void()> ready;
        // The bytes are not there to be hashed. A digest follows all the same, so that the extent
        // comes to an end.
        std::function<void(const std::shared_ptr<LargeSource>&, const SourceProblem&)> failed;
    };

    // Both are called on any thread, and not after the destructor. `key`: for signed data, where
    // codes take the place of digests.
    ExtentDigests(Callbacks callbacks, std::optional<Secret> key);

    // Hashes [offset, offset + length), which lies within one segment of the file, for the extent
    // `id`; or `payload`, at once. With a key, this must not be done for one id twice.
    void compute(std::shared_ptr<LargeSource> source, std::uint64_t id, std::uint64_t offset,
                 std::uint64_t length);
    void compute(std::uint64_t id, proto::ByteView payload);
    // A digest that is known already; never a code.
    void add(std::uint64_t id, const proto::Digest& digest);
    // Those that are ready.
    [[nodiscard]] std::vector<proto::Digests::Entry> take();

    [[nodiscard]] Usage usage() { return pool_.usage().load(); }

private:
    const Callbacks callbacks_;
    const std::optional<Secret> key_;
    std::mutex mutex_;
    std::vector<proto::Digests::Entry> ready_; // guarded by mutex_
    JobPool pool_;                             // last: its threads use all of the above
};

} // namespace sluice
