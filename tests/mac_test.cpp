// Keyed codes: published vectors, and that no nonce is used twice.
#include "common/data_keys.hpp"
#include "tests/support/scratch_file.hpp"
#include "tests/support/temp_dir.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <set>
#include <string_view>
#include <vector>

using namespace sluice;
using namespace sluice::test;

namespace {

using Bytes = std::vector<std::byte>;

Bytes from_hex(std::string_view text) {
    Bytes bytes;
    for (std::size_t at = 0; at + 1 < text.size(); at += 2) {
        bytes.push_back(
            static_cast<std::byte>(std::stoi(std::string(text.substr(at, 2)), nullptr, 16)));
    }
    return bytes;
}

Secret secret(std::string_view hex) {
    const Bytes bytes = from_hex(hex);
    REQUIRE(bytes.size() == Secret::kBytes);
    return Secret(std::span(bytes).first<Secret::kBytes>());
}

MacNonce nonce(std::string_view hex) {
    const Bytes bytes = from_hex(hex);
    MacNonce nonce{};
    REQUIRE(bytes.size() == nonce.size());
    std::ranges::copy(bytes, nonce.begin());
    return nonce;
}

Secret some_key(std::byte fill) {
    Secret key;
    std::ranges::fill(key.bytes(), fill);
    return key;
}

MacTag tag_of(const Secret& key, const MacNonce& with, std::span<const std::byte> message) {
    Mac mac(key);
    mac.begin(with);
    mac.add(message);
    return mac.finish();
}

struct Vector {
    std::string_view key;
    std::string_view nonce;
    std::string_view message;
    std::string_view tag;
};

// Of Project Wycheproof (chacha20_poly1305_test.json), the two of the beginning without plaintext.
constexpr Vector kVectors[] = {
    {"80ba3192c803ce965ea371d5ff073cf0f43b6a2ab576b208426e11409c09b9b0", "4da5bf8dfd5852c1ea12379d",
     "", "76acb342cf3166a5b63c0c0ea1383c8d"},
    {"7a4cd759172e02eb204db2c3f5c746227df584fc1345196391dbb9577a250742", "a92ef0ac991dd516a3c6f689",
     "bd506764f2d2c410", "906fa6284b52f87b7359cbaa7563c709"},
};

} // namespace

TEST_CASE("codes are those of the published vectors") {
    for (const Vector& vector : kVectors) {
        const Bytes message = from_hex(vector.message);
        CHECK(to_hex(tag_of(secret(vector.key), nonce(vector.nonce), message)) == vector.tag);
    }
}

TEST_CASE("the code of a message of many blocks is that of RFC 8439, computed by hand") {
    Bytes message(1'000);
    for (std::size_t index = 0; index < message.size(); ++index) {
        message[index] = static_cast<std::byte>(index % 251);
    }
    const Secret key = secret("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");
    CHECK(to_hex(tag_of(key, nonce("010203040000000000000007"), message)) ==
          "2b70687a43a7c40150177778e165fac0");
}

TEST_CASE("a code is the same however its message is cut, and whatever the object did before") {
    const std::uint64_t seed = test_seed();
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    const Bytes content = noise_bytes(20'000, seed);
    const Secret key = some_key(std::byte{0x5a});
    Mac mac(key);
    for (int round = 0; round < 200; ++round) {
        const auto whole = std::span(content).first(random() % (round % 2 == 0 ? 70 : 20'000));
        const MacNonce with = FrameMac::nonce(1, random());
        if (round % 3 == 0) { // a message that was not brought to its end
            mac.begin(FrameMac::nonce(2, random()));
            mac.add(whole);
        }
        mac.begin(with);
        for (std::size_t done = 0; done < whole.size();) {
            const std::size_t next =
                std::min<std::size_t>(1 + random() % 3000, whole.size() - done);
            mac.add(whole.subspan(done, next));
            mac.add({});
            done += next;
        }
        REQUIRE(mac.finish() == tag_of(key, with, whole));
    }
}

TEST_CASE("another key, nonce or bit of the message makes another code") {
    Bytes message = noise_bytes(100, 1);
    const Secret key = some_key(std::byte{1});
    const MacNonce with = FrameMac::nonce(1, 2);
    const MacTag tag = tag_of(key, with, message);
    CHECK_FALSE(tag == tag_of(some_key(std::byte{2}), with, message));
    CHECK_FALSE(tag == tag_of(key, FrameMac::nonce(1, 3), message));
    for (std::size_t bit = 0; bit < 8 * message.size(); ++bit) {
        const auto flip = static_cast<std::byte>(1U << (bit % 8));
        message[bit / 8] ^= flip;
        REQUIRE_FALSE(equal_tags(tag, tag_of(key, with, message)));
        message[bit / 8] ^= flip;
    }
    CHECK(equal_tags(tag, tag_of(key, with, message)));
    // Nothing but its length tells a message from one with zeros behind it.
    Bytes longer = message;
    longer.push_back({});
    CHECK_FALSE(tag == tag_of(key, with, longer));
}

TEST_CASE("tags are equal where all of their bits are") {
    MacTag left{};
    MacTag right{};
    CHECK(equal_tags(left, right));
    for (std::size_t bit = 0; bit < 8 * left.size(); ++bit) {
        right = left;
        right[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
        CHECK_FALSE(equal_tags(left, right));
    }
}

TEST_CASE("nonces of frames and payloads are as the protocol says") {
    CHECK(FrameMac::nonce(0x04030201, 0x0c0b0a0908070605) == nonce("0102030405060708090a0b0c"));
    CHECK(PayloadDigester::nonce(0x0807060504030201) == nonce("000000000102030405060708"));
}

TEST_CASE("no two frames of a session have the same nonce, and no two payloads") {
    std::set<MacNonce> frames;
    std::set<MacNonce> payloads;
    // Around every carry from one byte to the next.
    for (unsigned shift = 0; shift < 64; shift += 8) {
        for (std::uint64_t near = 0; near < 4; ++near) {
            const std::uint64_t value = (std::uint64_t{1} << shift) + near - 2;
            payloads.insert(PayloadDigester::nonce(value));
            for (std::uint32_t connection = 1; connection <= 300; ++connection) {
                frames.insert(FrameMac::nonce(connection, value));
            }
        }
    }
    std::set<std::uint64_t> values;
    for (unsigned shift = 0; shift < 64; shift += 8) {
        for (std::uint64_t near = 0; near < 4; ++near) {
            values.insert((std::uint64_t{1} << shift) + near - 2);
        }
    }
    CHECK(payloads.size() == values.size());
    CHECK(frames.size() == 300 * values.size());
}

TEST_CASE("the n-th frame of a connection has the n-th code, and copies go on together") {
    const Secret key = some_key(std::byte{3});
    const Bytes head = noise_bytes(8, 1);
    const Bytes body = noise_bytes(1000, 2);
    Bytes message = head;
    message.insert(message.end(), body.begin(), body.end());
    const FrameCodes codes = frame_codes(key, 77);
    const FrameCodes copy = codes; // NOLINT(performance-unnecessary-copy-initialization): the point
    FrameMac other(key, 77);
    for (std::uint64_t counter = 0; counter < 10; ++counter) {
        const MacTag expected = tag_of(key, FrameMac::nonce(77, counter), message);
        CHECK((counter % 2 == 0 ? codes : copy)(head, body) == expected);
        CHECK(other.next(head, body) == expected);
    }
}

TEST_CASE("a payload has its digest without a key, and the code of its id with one") {
    const Bytes payload = noise_bytes(100'000, 3);
    const Secret key = some_key(std::byte{4});
    PayloadDigester plain(std::nullopt);
    PayloadDigester keyed(key);
    for (const std::uint64_t id : {1U, 9U, 4711U}) {
        for (PayloadDigester* const digester : {&plain, &keyed}) {
            digester->begin(id);
            digester->add(std::span(payload).first(33'333));
            digester->add(std::span(payload).subspan(33'333));
        }
        CHECK(plain.finish() == digest_of(payload));
        CHECK(keyed.finish() == tag_of(key, PayloadDigester::nonce(id), payload));
    }
}

TEST_CASE("a payload in a file has the same code, as far as the file goes") {
    const Bytes content = noise_bytes(3'000'000, 5);
    const ScratchFile file(content);
    const Secret key = some_key(std::byte{6});
    const auto expected = [&](std::uint64_t id, std::size_t offset, std::size_t length) {
        return tag_of(key, PayloadDigester::nonce(id), std::span(content).subspan(offset, length));
    };
    RangeDigest range = payload_digest(key, 8, file.fd(), 17, 2'500'000);
    CHECK(range.digest == expected(8, 17, 2'500'000));
    CHECK(range.length == 2'500'000);
    CHECK(range.error_number == 0);
    range = payload_digest(key, 9, file.fd(), 2'000'000, 5'000'000);
    CHECK(range.digest == expected(9, 2'000'000, 1'000'000));
    CHECK(range.length == 1'000'000);
    CHECK(range.error_number == 0);
    range = payload_digest(std::nullopt, 9, file.fd(), 17, 1000);
    CHECK(range.digest == digest_of(std::span(content).subspan(17, 1000)));
    CHECK(payload_digest(key, 1, -1, 0, 10).error_number == EBADF);
}
