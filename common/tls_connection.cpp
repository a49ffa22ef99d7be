#include "common/tls_connection.hpp"

#include "common/usage.hpp"

#include <algorithm>
#include <cerrno>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <utility>

namespace sluice {

void SslDeleter::operator()(SSL* ssl) const noexcept {
    SSL_free(ssl);
}

bool OpensslConnection::attach(UniqueSsl ssl) {
    BIO* const bio = transport_.make_bio();
    if (bio == nullptr) {
        return false;
    }
    SSL_set_bio(ssl.get(), bio, bio); // owns them from here on
    if (SSL_set_app_data(ssl.get(), this) != 1) {
        return false;
    }
    ssl_ = std::move(ssl);
    if (sender_) {
        SSL_set_connect_state(ssl_.get());
    } else {
        SSL_set_accept_state(ssl_.get());
    }
    return true;
}

OpensslConnection& OpensslConnection::of(SSL* ssl) noexcept {
    return *static_cast<OpensslConnection*>(SSL_get_app_data(ssl));
}

TlsConnection::Progress OpensslConnection::handshake() noexcept {
    if (failure_ != Failure::none) {
        return Progress::failed;
    }
    ERR_clear_error();
    const int result = SSL_do_handshake(ssl_.get());
    if (result == 1) {
        return finish_handshake();
    }
    const int ssl_error = SSL_get_error(ssl_.get(), result);
    switch (ssl_error) {
    case SSL_ERROR_WANT_READ: return Progress::wants_to_read;
    case SSL_ERROR_WANT_WRITE: return Progress::wants_to_write;
    default: note_failure(ssl_error); return Progress::failed;
    }
}

TlsConnection::Progress OpensslConnection::finish_handshake() noexcept {
    // A handshake without the pre-shared key proves nothing. OpenSSL counts one with it as resumed.
    // (There is no certificate that would be accepted, so this does not happen.)
    if (SSL_session_reused(ssl_.get()) != 1 || !key_ || SSL_version(ssl_.get()) != TLS1_3_VERSION) {
        failure_ = sender_ ? Failure::wrong_key : Failure::wrong_peer;
        return Progress::failed;
    }
    kernel_sends_ = BIO_get_ktls_send(SSL_get_wbio(ssl_.get()));
    kernel_receives_ = BIO_get_ktls_recv(SSL_get_rbio(ssl_.get()));
    transport_.gather();
    return Progress::done;
}

void OpensslConnection::note_failure(int ssl_error) noexcept {
    const unsigned long error = ERR_peek_error();
    if (ssl_error == SSL_ERROR_SSL && error != 0) {
        failure_ = failure_of_reason(ERR_GET_REASON(error));
    } else { // SSL_ERROR_SYSCALL, or an orderly end
        failure_ = Failure::broken;
        error_number_ = transport_.error_number();
    }
    ERR_clear_error();
}

OpensslConnection::Failure OpensslConnection::failure_of_reason(int reason) const noexcept {
    switch (reason) {
    // Alerts (RFC 8446, section 6.2) of those who could not make sense of what came.
    case SSL_AD_REASON_OFFSET + SSL_AD_UNEXPECTED_MESSAGE:
    case SSL_AD_REASON_OFFSET + SSL_AD_BAD_RECORD_MAC:
    case SSL_AD_REASON_OFFSET + SSL_AD_RECORD_OVERFLOW:
    case SSL_AD_REASON_OFFSET + SSL_AD_DECODE_ERROR:
    case SSL_AD_REASON_OFFSET + SSL_AD_INTERNAL_ERROR: return Failure::damaged;
    case SSL_AD_REASON_OFFSET + SSL_AD_HANDSHAKE_FAILURE:
        return sender_ ? Failure::no_keys : Failure::wrong_peer;
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_HTTP_REQUEST:
    case SSL_R_HTTPS_PROXY_REQUEST: return Failure::not_tls;
    case SSL_R_UNEXPECTED_EOF_WHILE_READING: return Failure::broken;
    case SSL_R_CERTIFICATE_VERIFY_FAILED: return Failure::wrong_key; // it showed a certificate
    case SSL_R_BAD_RECORD_TYPE:
    case SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC:
    case SSL_R_DIGEST_CHECK_FAILED:
    case SSL_R_LENGTH_MISMATCH: return Failure::damaged;
    default: break;
    }
    if (!sender_) {
        return Failure::wrong_peer;
    }
    return reason > SSL_AD_REASON_OFFSET ? Failure::wrong_key : Failure::damaged;
}

Error OpensslConnection::failure() const {
    switch (failure_) {
    case Failure::none: break;
    case Failure::broken:
        return error_number_ == 0
                   ? Error{ErrorKind::network, "closed the connection during the TLS handshake"}
                   : system_error(ErrorKind::network, "the TLS handshake broke off", error_number_);
    case Failure::damaged: return {ErrorKind::network, "the TLS handshake was damaged on its way"};
    case Failure::not_tls:
        return {ErrorKind::refused, sender_ ? "not authorised: what answers there speaks no TLS"
                                            : "not authorised: no TLS 1.3"};
    case Failure::no_keys:
        return {ErrorKind::refused,
                "not authorised: the receiver takes no TLS connections: it has no keys"};
    case Failure::wrong_key:
        return {ErrorKind::refused,
                "not authorised: the receiver does not have this key: compare the fingerprints"};
    case Failure::wrong_peer:
        return {ErrorKind::refused, "not authorised: an unknown or a wrong key"};
    }
    return {ErrorKind::network, "the TLS handshake is not over"};
}

std::string_view OpensslConnection::cipher() const noexcept {
    const SSL_CIPHER* const cipher = SSL_get_current_cipher(ssl_.get());
    return cipher == nullptr ? "?" : SSL_CIPHER_get_name(cipher);
}

Status OpensslConnection::export_secret(std::string_view label, Secret& out) const {
    const auto bytes = out.bytes();
    if (SSL_export_keying_material(ssl_.get(), reinterpret_cast<unsigned char*>(bytes.data()),
                                   bytes.size(), label.data(), label.size(), nullptr, 0, 0) != 1) {
        ERR_clear_error();
        return Error{ErrorKind::network, "cannot derive a key from the TLS connection"};
    }
    return ok();
}

int OpensslConnection::error_of(int result) noexcept {
    switch (SSL_get_error(ssl_.get(), result)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE: return EAGAIN;
    case SSL_ERROR_ZERO_RETURN: return 0;
    case SSL_ERROR_SYSCALL: return transport_.error_number();
    default: break;
    }
    ERR_clear_error();
    // OpenSSL has an alert for the other side, which may still go out.
    static_cast<void>(transport_.flush(false));
    return EPROTO;
}

ssize_t OpensslConnection::recv(std::span<std::byte> space) noexcept {
    if (kernel_receives_) {
        count_system_call();
        const ssize_t got = ::recv(socket_, space.data(), space.size(), 0);
        // A record that does not verify; one that holds no data (tls.rst of the kernel).
        if (got < 0 && (errno == EBADMSG || errno == EIO)) {
            errno = EPROTO;
        }
        return got;
    }
    if (error_number_ != 0) {
        errno = error_number_;
        return -1;
    }
    transport_.expect(space.size());
    ERR_clear_error();
    std::size_t got = 0;
    while (got < space.size()) {
        std::size_t bytes = 0;
        const int result = SSL_read_ex(ssl_.get(), space.data() + got, space.size() - got, &bytes);
        got += bytes;
        if (result == 1) {
            continue;
        }
        const int error = error_of(result);
        if (error != EAGAIN) {
            error_number_ = error; // comes up with the next call, if not with this one
        }
        if (got == 0 && error != 0) {
            errno = error;
            return -1;
        }
        break;
    }
    return static_cast<ssize_t>(got);
}

ssize_t OpensslConnection::send(std::span<const std::byte> bytes, bool more) noexcept {
    if (kernel_sends_) {
        count_system_call();
        return ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL | (more ? MSG_MORE : 0));
    }
    if (const int error = transport_.flush(more); error != 0) {
        errno = error;
        return -1;
    }
    if (accepted_ > 0) { // by an earlier call, and now by the socket
        const std::size_t sent = std::min(accepted_, bytes.size());
        accepted_ -= sent;
        return static_cast<ssize_t>(sent);
    }
    ERR_clear_error();
    std::size_t done = 0;
    while (done < bytes.size() && transport_.has_room()) {
        const std::size_t length = std::min(bytes.size() - done, TlsTransport::kMaxPlaintextBytes);
        std::size_t written = 0;
        const int result = SSL_write_ex(ssl_.get(), bytes.data() + done, length, &written);
        if (result != 1) {
            const int error = error_of(result);
            errno = error == 0 ? EPIPE : error;
            return -1;
        }
        done += written;
    }
    if (const int error = transport_.flush(more); error != 0) {
        accepted_ = error == EAGAIN ? done : 0;
        errno = error;
        return -1;
    }
    return static_cast<ssize_t>(done);
}

bool OpensslConnection::holds_bytes() const noexcept {
    return error_number_ != 0 || transport_.holds_input() || SSL_pending(ssl_.get()) > 0;
}

} // namespace sluice
