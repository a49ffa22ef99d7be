// The parser of key files, which decides who gets in and with what rights. A file is nobody's but
// its owner's, but what is in it was often pasted together.
//
// Input: the file.
#include "common/key_file.hpp"
#include "tests/fuzz/fuzz.hpp"

#include <string>
#include <string_view>

using namespace sluice;
using namespace sluice::test;

namespace {

constexpr std::string_view kName = "keys";
constexpr std::string_view kHexDigits = "0123456789abcdefABCDEF";

// The first complete key in the text, nothing if there is none.
std::string_view find_key(std::string_view text) {
    constexpr std::size_t kDigits = 2 * Secret::kBytes;
    for (std::size_t at = text.find(kKeyPrefix); at != std::string_view::npos;
         at = text.find(kKeyPrefix, at + 1)) {
        const std::string_view digits = text.substr(at + kKeyPrefix.size(), kDigits);
        if (digits.size() == kDigits && digits.find_first_not_of(kHexDigits) == digits.npos)
            return digits;
    }
    return {};
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const auto entries = parse_key_file(text, std::string(kName));
    if (!entries) {
        const std::string& message = entries.error().message;
        require(message.substr(0, kName.size()) == kName);
        require_printable(message);
        return 0;
    }
    require(!entries->empty() && entries->size() <= kMaxKeys);
    for (const KeyFileEntry& entry : *entries) {
        require(!entry.key.name.empty() && entry.key.name.size() <= kMaxKeyNameBytes);
        require_printable(entry.key.name);
        require(entry.key.identity == key_identity(entry.key.secret));
        require(entry.line >= 1 && entry.line <= size);
    }
    require(!find_key(text).empty());
    return 0;
}
