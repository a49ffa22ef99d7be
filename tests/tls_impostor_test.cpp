// TLS with somebody who speaks it well, and has no key: OpenSSL by itself, set up as for the web.
#include "tests/support/tls_support.hpp"

#include <catch2/catch.hpp>
#include <memory>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

using namespace sluice;
using namespace sluice::test;

namespace {

template <auto Free>
struct Freed {
    template <typename T>
    void operator()(T* object) const {
        Free(object);
    }
};
using Context = std::unique_ptr<SSL_CTX, Freed<SSL_CTX_free>>;
using Ssl = std::unique_ptr<SSL, Freed<SSL_free>>;
using Key = std::unique_ptr<EVP_PKEY, Freed<EVP_PKEY_free>>;
using Certificate = std::unique_ptr<X509, Freed<X509_free>>;

// A server with a certificate of its own making.
Context certificate_server() {
    Context context(SSL_CTX_new(TLS_server_method()));
    const Key key(EVP_EC_gen("P-256"));
    const Certificate certificate(X509_new());
    REQUIRE((context && key && certificate));
    X509_set_version(certificate.get(), X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate.get()), 1);
    X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -3600);
    X509_gmtime_adj(X509_getm_notAfter(certificate.get()), 3600);
    X509_set_pubkey(certificate.get(), key.get());
    REQUIRE(X509_sign(certificate.get(), key.get(), EVP_sha256()) > 0);
    REQUIRE(SSL_CTX_use_certificate(context.get(), certificate.get()) == 1);
    REQUIRE(SSL_CTX_use_PrivateKey(context.get(), key.get()) == 1);
    return context;
}

} // namespace

TEST_CASE("TLS: a server with a certificate is not the receiver") {
    const Context context = certificate_server();
    const Ssl server(SSL_new(context.get()));
    const TcpPair sockets;
    SSL_set_fd(server.get(), sockets.receiver.get());
    const auto client = sender_context(make_key(1));
    auto begun = client->begin(sockets.sender.get());
    REQUIRE(begun);
    TlsConnection& sender = **begun;
    REQUIRE(sender.handshake() == TlsConnection::Progress::wants_to_read);
    REQUIRE(wait_for(sockets.receiver.get(), POLLIN));
    CHECK(SSL_accept(server.get()) != 1);
    TlsConnection::Progress progress = sender.handshake();
    while (progress == TlsConnection::Progress::wants_to_read) {
        REQUIRE(wait_for(sockets.sender.get(), POLLIN));
        progress = sender.handshake();
    }
    CHECK(progress == TlsConnection::Progress::failed);
    CHECK(sender.failure().kind == ErrorKind::refused);
    CHECK_THAT(sender.failure().message, Catch::Contains("does not have this key"));
}

TEST_CASE("TLS: a client without a key is not let in") {
    const Context context(SSL_CTX_new(TLS_client_method()));
    if (GENERATE(false, true)) {
        SSL_CTX_set_max_proto_version(context.get(), TLS1_2_VERSION);
    }
    const Ssl client(SSL_new(context.get()));
    const TcpPair sockets;
    SSL_set_fd(client.get(), sockets.sender.get());
    const auto server = receiver_context({make_key(1)});
    auto begun = server->begin(sockets.receiver.get());
    REQUIRE(begun);
    CHECK(SSL_connect(client.get()) != 1);
    REQUIRE(wait_for(sockets.receiver.get(), POLLIN));
    CHECK((*begun)->handshake() == TlsConnection::Progress::failed);
    CHECK((*begun)->failure().kind == ErrorKind::refused);
    REQUIRE(wait_for(sockets.sender.get(), POLLIN));
    CHECK(SSL_connect(client.get()) != 1);
    CHECK(SSL_get_error(client.get(), -1) == SSL_ERROR_SSL); // an alert
}
