#include "common/tls_connection.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <utility>

#if defined(__aarch64__)
#include <sys/auxv.h>
#endif

namespace sluice {

namespace {

struct ContextDeleter {
    void operator()(SSL_CTX* context) const noexcept { SSL_CTX_free(context); }
};
using UniqueContext = std::unique_ptr<SSL_CTX, ContextDeleter>;

// TLS_AES_128_GCM_SHA256 (RFC 8446, B.4), whose hash is that of the key.
constexpr std::array<unsigned char, 2> kSessionCipher{0x13, 0x01};

// Without such instructions AES is several times as slow as ChaCha20, and leaks its key through
// the cache.
bool processor_has_aes() noexcept {
#if defined(__x86_64__)
    return __builtin_cpu_supports("aes") != 0;
#elif defined(__aarch64__)
    return (getauxval(AT_HWCAP) & HWCAP_AES) != 0;
#else
    return false;
#endif
}

Error openssl_error(std::string_view what) {
    const unsigned long code = ERR_get_error();
    const char* const reason = code == 0 ? nullptr : ERR_reason_error_string(code);
    ERR_clear_error();
    return {ErrorKind::refused,
            fmt::format("{}: {}", what, reason == nullptr ? "no reason given" : reason)};
}

// The session that OpenSSL takes for an external pre-shared key. Null: no memory.
SSL_SESSION* make_session(SSL* ssl, const Secret& secret) noexcept {
    const SSL_CIPHER* const cipher = SSL_CIPHER_find(ssl, kSessionCipher.data());
    SSL_SESSION* const session = SSL_SESSION_new();
    if (session != nullptr && cipher != nullptr &&
        SSL_SESSION_set1_master_key(session,
                                    reinterpret_cast<const unsigned char*>(secret.bytes().data()),
                                    Secret::kBytes) == 1 &&
        SSL_SESSION_set_cipher(session, cipher) == 1 &&
        SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION) == 1) {
        return session;
    }
    SSL_SESSION_free(session);
    return nullptr;
}

// The same for both sides, whatever the system's configuration of OpenSSL says. Null: refused.
UniqueContext make_context(bool sender) {
    UniqueContext context(SSL_CTX_new(sender ? TLS_client_method() : TLS_server_method()));
    SSL_CTX* const raw = context.get();
    if (raw == nullptr) {
        return context;
    }
    const char* const ciphers = processor_has_aes()
                                    ? "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256"
                                    : "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256";
    SSL_CTX_set_security_level(raw, 2); // 112 bits and more
    const bool done = SSL_CTX_set_min_proto_version(raw, TLS1_3_VERSION) == 1 &&
                      SSL_CTX_set_max_proto_version(raw, TLS1_3_VERSION) == 1 &&
                      SSL_CTX_set_ciphersuites(raw, ciphers) == 1 &&
                      SSL_CTX_set1_groups_list(raw, "X25519:P-256") == 1 &&
                      SSL_CTX_set_num_tickets(raw, 0) == 1 &&
                      SSL_CTX_set_max_early_data(raw, 0) == 1;
    if (!done) {
        context.reset();
        return context;
    }
    SSL_CTX_set_session_cache_mode(raw, SSL_SESS_CACHE_OFF);
    // With nothing to trust: whoever shows a certificate instead of the key is refused.
    SSL_CTX_set_verify(raw, sender ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, nullptr);
    SSL_CTX_clear_options(raw, SSL_OP_ALLOW_NO_DHE_KEX);
    // The server's order, unless its client has no AES and so begins with the other cipher. An end
    // without close_notify is one: the protocol knows its own.
    SSL_CTX_set_options(raw, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA |
                                 SSL_OP_IGNORE_UNEXPECTED_EOF | SSL_OP_ENABLE_KTLS);
    // Else each connection keeps 34 KiB, also one at rest.
    SSL_CTX_set_mode(raw, SSL_MODE_RELEASE_BUFFERS);
    return context;
}

class OpensslContext final : public TlsContext {
public:
    OpensslContext(UniqueContext context, SharedKey key, FindKey find)
        : context_(std::move(context)), key_(std::move(key)), find_(std::move(find)) {
        SSL_CTX_set_app_data(context_.get(), this);
        if (key_) {
            SSL_CTX_set_psk_use_session_callback(context_.get(), use_session);
        } else {
            SSL_CTX_set_psk_find_session_callback(context_.get(), find_session);
        }
    }

    Result<std::unique_ptr<TlsConnection>> begin(int socket) override {
        auto connection = std::make_unique<OpensslConnection>(socket, key_ != nullptr);
        UniqueSsl ssl(SSL_new(context_.get()));
        if (!ssl || !connection->attach(std::move(ssl))) {
            return openssl_error("cannot begin a TLS connection");
        }
        return std::unique_ptr<TlsConnection>(std::move(connection));
    }

private:
    static OpensslContext& of(SSL* ssl) noexcept {
        return *static_cast<OpensslContext*>(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)));
    }

    // For the client (SSL_CTX_set_psk_use_session_callback(3)). Called for each ClientHello; `hash`
    // is that of the cipher, once it is known.
    static int use_session(SSL* ssl, const EVP_MD* hash, const unsigned char** identity,
                           std::size_t* identity_length, SSL_SESSION** session) {
        const SharedKey& key = of(ssl).key_;
        *session = hash == nullptr || EVP_MD_is_a(hash, "SHA256") == 1
                       ? make_session(ssl, key->secret)
                       : nullptr;
        if (*session == nullptr) {
            return 0;
        }
        *identity = reinterpret_cast<const unsigned char*>(key->identity.data());
        *identity_length = key->identity.size();
        OpensslConnection::of(ssl).set_key(key);
        return 1;
    }

    // For the server (SSL_CTX_set_psk_find_session_callback(3)). There is a session for whatever
    // identity: with a secret that nobody knows the handshake fails where it fails for a wrong key.
    static int find_session(SSL* ssl, const unsigned char* identity, std::size_t identity_length,
                            SSL_SESSION** session) {
        SharedKey key;
        KeyIdentity wanted;
        if (identity_length == wanted.size()) {
            std::copy_n(reinterpret_cast<const std::byte*>(identity), wanted.size(),
                        wanted.begin());
            key = of(ssl).find_(wanted);
        }
        Secret secret;
        if (key) {
            secret = key->secret;
        } else if (RAND_bytes(reinterpret_cast<unsigned char*>(secret.bytes().data()),
                              Secret::kBytes) != 1) {
            return 0;
        }
        *session = make_session(ssl, secret);
        OpensslConnection::of(ssl).set_key(std::move(key));
        return *session == nullptr ? 0 : 1;
    }

    const UniqueContext context_;
    const SharedKey key_; // null: of a receiver
    const FindKey find_;
};

} // namespace

Result<std::unique_ptr<TlsContext>> TlsContext::for_sender(SharedKey key) {
    UniqueContext context = make_context(true);
    if (!context) {
        return openssl_error("cannot set up TLS 1.3");
    }
    return std::unique_ptr<TlsContext>(
        std::make_unique<OpensslContext>(std::move(context), std::move(key), FindKey{}));
}

Result<std::unique_ptr<TlsContext>> TlsContext::for_receiver(FindKey find) {
    UniqueContext context = make_context(false);
    if (!context) {
        return openssl_error("cannot set up TLS 1.3");
    }
    return std::unique_ptr<TlsContext>(
        std::make_unique<OpensslContext>(std::move(context), nullptr, std::move(find)));
}

} // namespace sluice
