// The beginning of a TLS handshake, as a receiver with a key takes it from whoever connects: our
// callbacks, and OpenSSL as we set it up. Whatever is sent by somebody who does not have the key,
// the handshake must not succeed. This is the one target with system calls, for a TlsConnection
// reads a socket.
//
// Input: one byte of choices (bit 0: the rest are edits of a genuine hello, three bytes each:
// where, and what is there instead; else it is what is sent), then the rest. A genuine hello has
// the right identity and a binder that only the key can make (RFC 8446, 4.2.11.2).
#include "common/net.hpp"
#include "common/tls.hpp"
#include "common/unique_fd.hpp"
#include "tests/fuzz/fuzz.hpp"

#include <array>
#include <sys/socket.h>

using namespace sluice;
using namespace sluice::proto;
using namespace sluice::test;

namespace {

using Progress = TlsConnection::Progress;

struct Pair {
    Pair() {
        std::array<int, 2> ends{};
        require(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends.data()) ==
                0);
        stranger = UniqueFd::adopt(ends[0]);
        receiver = UniqueFd::adopt(ends[1]);
    }
    UniqueFd stranger;
    UniqueFd receiver;
};

SharedKey make_key() {
    auto key = std::make_shared<AccessKey>();
    std::ranges::fill(key->secret.bytes(), std::byte{0x5a});
    key->identity = key_identity(key->secret);
    return key;
}

std::size_t drain(int socket, std::span<std::byte> space) {
    std::size_t got = 0;
    while (got < space.size()) {
        const ssize_t count = ::recv(socket, space.data() + got, space.size() - got, 0);
        if (count <= 0)
            break;
        got += static_cast<std::size_t>(count);
    }
    return got;
}

// What a sender with the key sends first.
Bytes genuine_hello(const SharedKey& key) {
    const Pair pair;
    auto context = TlsContext::for_sender(key);
    require(context.has_value());
    auto connection = (*context)->begin(pair.stranger.get());
    require(connection.has_value());
    require((*connection)->handshake() == Progress::wants_to_read);
    Bytes hello(4096);
    hello.resize(drain(pair.receiver.get(), hello));
    require(hello.size() > 100);
    return hello;
}

struct Fixture {
    Fixture() {
        auto made = TlsContext::for_receiver([this](const KeyIdentity& identity) {
            return identity == key->identity ? key : SharedKey();
        });
        require(made.has_value());
        receiver = std::move(*made);
        // Or else the edits would be of something that is refused anyway.
        auto connection = receiver->begin(pair.receiver.get());
        require(connection.has_value());
        require(::send(pair.stranger.get(), hello.data(), hello.size(), 0) > 0);
        require((*connection)->handshake() == Progress::wants_to_read);
        Bytes answer(4096);
        require(drain(pair.stranger.get(), answer) > 100);
    }
    SharedKey key = make_key();
    Bytes hello = genuine_hello(key);
    std::unique_ptr<TlsContext> receiver;
    Pair pair;
};

Bytes make_stream(ByteView input, const Fixture& fixture) {
    if ((std::to_integer<unsigned>(input[0]) & 1U) == 0)
        return {input.begin() + 1, input.end()};
    Bytes stream = fixture.hello;
    for (input = input.subspan(1); input.size() >= 3; input = input.subspan(3)) {
        const std::size_t at =
            std::to_integer<std::size_t>(input[0]) | std::to_integer<std::size_t>(input[1]) << 8;
        stream[at % stream.size()] = input[2];
    }
    return stream;
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static Fixture fixture;
    if (size == 0)
        return 0;
    const Bytes stream = make_stream(std::as_bytes(std::span(data, size)), fixture);
    auto connection = fixture.receiver->begin(fixture.pair.receiver.get());
    require(connection.has_value());
    require(::send(fixture.pair.stranger.get(), stream.data(), stream.size(), 0) >= 0);
    // A handshake that wants more has taken all there is.
    const Progress progress = (*connection)->handshake();
    require(progress != Progress::done);
    if (progress == Progress::failed) {
        const std::string why = (*connection)->failure().message;
        require(!why.empty());
        require_printable(why);
    }
    connection->reset();
    std::array<std::byte, 16'384> rest{};
    drain(fixture.pair.receiver.get(), rest);
    drain(fixture.pair.stranger.get(), rest);
    return 0;
}
