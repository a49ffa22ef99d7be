#include "receiver/gate.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/support/tls_support.hpp"

#include <catch2/catch.hpp>
#include <memory>
#include <string>

namespace sluice {
namespace {

using namespace test;

// A key ring with one key, "alice", whose secret is of one digit.
std::shared_ptr<KeyRing> ring_of(const TempDir& directory, char digit,
                                 const std::string& rights = "") {
    directory.write_file(
        "keys", "alice " + std::string(kKeyPrefix) + std::string(64, digit) + rights, 0600);
    auto loaded = KeyRing::load(directory.path("keys"));
    REQUIRE(loaded);
    return std::move(*loaded);
}

SharedKey only_key(const TempDir& directory) {
    auto key = read_sender_key(directory.path("keys"));
    REQUIRE(key);
    return *key;
}

// The receiver's end of a connection, of a sender that has `key`.
struct Visitor {
    std::shared_ptr<TlsContext> sender;
    std::shared_ptr<TlsContext> receiver;
    TlsPair pair;
    std::pair<Channel, Channel> ends;

    explicit Visitor(const SharedKey& key)
        : sender(sender_context(key)), receiver(receiver_context({key})), pair(*sender, *receiver),
          ends(shaken()) {}
    Channel& channel() { return ends.second; }

private:
    std::pair<Channel, Channel> shaken() {
        pair.shake_hands();
        REQUIRE(pair.receiver_done);
        return pair.channels();
    }
};

bool says(const Result<SharedKey>& admitted, const std::string& part) {
    REQUIRE_FALSE(admitted);
    CHECK(admitted.error().kind == ErrorKind::refused);
    INFO(admitted.error().message);
    return admitted.error().message.find(part) != std::string::npos;
}

} // namespace

TEST_CASE("the gate lets in at the least level, and above it") {
    const TempDir directory;
    const auto ring = ring_of(directory, 'a');
    TcpPair sockets;
    Channel clear(std::move(sockets.receiver));
    Visitor visitor(only_key(directory));
    for (const Security least : {Security::none, Security::signed_data, Security::tls}) {
        const Gate gate(ring, least);
        const auto in_clear = gate.admit(clear, false);
        CHECK(static_cast<bool>(in_clear) == (least == Security::none));
        CHECK((least != Security::none || *in_clear == nullptr));
        CHECK(says(gate.admit(clear, true), "not authorised"));
        CHECK(static_cast<bool>(gate.admit(visitor.channel(), true)) == (least != Security::tls));
        const auto in_tls = gate.admit(visitor.channel(), false);
        REQUIRE(in_tls);
        CHECK((*in_tls)->name == "alice");
    }
    CHECK(says(Gate(ring, Security::tls).admit(clear, false), "a key is needed"));
    CHECK(says(Gate(ring, Security::tls).admit(visitor.channel(), true), "--security tls"));
}

TEST_CASE("the gate knows the rights and the revocation of a key since the handshake") {
    const TempDir directory;
    const auto ring = ring_of(directory, 'a', " dir=old");
    const Gate gate(ring, Security::tls);
    const SharedKey key = only_key(directory);
    Visitor visitor(key);
    const auto before = gate.admit(visitor.channel(), false);
    REQUIRE(before);
    CHECK((*before)->rights.directory == "old");
    static_cast<void>(ring_of(directory, 'a', " dir=new"));
    REQUIRE(ring->reload());
    CHECK((*gate.admit(visitor.channel(), false))->rights.directory == "new");
    CHECK_FALSE(gate.is_revoked(*before));
    static_cast<void>(ring_of(directory, 'b'));
    REQUIRE(ring->reload());
    CHECK(gate.is_revoked(*before));
    CHECK(says(gate.admit(visitor.channel(), false), "revoked"));
    CHECK_FALSE(gate.is_revoked(nullptr)); // who came without one has none to lose
}

} // namespace sluice
