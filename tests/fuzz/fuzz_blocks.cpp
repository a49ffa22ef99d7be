// Decompressor over arbitrary bytes: it fills exactly the memory it was given or says no, and
// touches nothing beside it. libzstd is not instrumented: so what it is given ends at pages that
// nobody may touch.
//
// Input: three bytes of announced length, then the frame.
#include "common/compress.hpp"
#include "proto/limits.hpp"
#include "tests/fuzz/fuzz.hpp"

#include <cstring>
#include <sys/mman.h>
#include <unistd.h>

using namespace sluice;
using namespace sluice::test;

namespace {

// Memory whose last byte is followed by a page without access.
class GuardedMemory {
public:
    explicit GuardedMemory(std::size_t most) {
        const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
        size_ = (most + page - 1) / page * page;
        void* const memory = ::mmap(nullptr, size_ + page, PROT_READ | PROT_WRITE,
                                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        require(memory != MAP_FAILED);
        memory_ = static_cast<std::byte*>(memory);
        require(::mprotect(memory_ + size_, page, PROT_NONE) == 0);
    }

    [[nodiscard]] std::span<std::byte> last(std::size_t count) const {
        return std::span(memory_, size_).last(count);
    }

private:
    std::byte* memory_; // until the process ends
    std::size_t size_;
};

constexpr std::size_t kLengthBytes = 3;
constexpr std::byte kUntouched{0xa5};
constexpr std::size_t kMargin = 16;

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static Decompressor decompressor;
    static const GuardedMemory frames(proto::kMaxBlockBytes);
    static const GuardedMemory blocks(proto::kMaxBlockBytes + kMargin);
    if (size < kLengthBytes || size - kLengthBytes > proto::kMaxBlockBytes)
        return 0;
    const std::size_t announced =
        std::size_t{data[0]} | std::size_t{data[1]} << 8 | std::size_t{data[2]} << 16;
    const std::size_t length = 1 + announced % proto::kMaxBlockBytes; // as the decoders let pass
    const auto frame = frames.last(size - kLengthBytes);
    std::memcpy(frame.data(), data + kLengthBytes, frame.size());
    const auto block = blocks.last(length);
    const auto margin = blocks.last(length + kMargin).first(kMargin);
    std::ranges::fill(margin, kUntouched);
    const bool whole = decompressor.decompress(frame, block);
    require(!whole || !frame.empty());
    require(std::ranges::all_of(margin, [](std::byte b) { return b == kUntouched; }));
    return 0;
}
