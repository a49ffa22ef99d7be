#include "common/tls_transport.hpp"

#include "common/usage.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <new>
#include <openssl/bio.h>
#include <sys/socket.h>
#include <utility>

namespace sluice {

namespace {

// Buffers that connections of this thread have given back: they are only in use while bytes are
// passing, so many connections need few of them.
constexpr std::size_t kMaxSpares = 2;
struct Spares {
    std::array<std::unique_ptr<std::byte[]>, kMaxSpares> buffers;
};

Spares& spares() noexcept {
    thread_local Spares kept;
    return kept;
}

void take_buffer(std::unique_ptr<std::byte[]>& buffer, std::size_t bytes) {
    if (buffer) {
        return;
    }
    for (auto& spare : spares().buffers) {
        if (spare) {
            buffer = std::move(spare);
            return;
        }
    }
    buffer = std::make_unique_for_overwrite<std::byte[]>(bytes);
}

void give_back(std::unique_ptr<std::byte[]>& buffer) noexcept {
    for (auto& spare : spares().buffers) {
        if (!spare) {
            spare = std::move(buffer);
            return;
        }
    }
    buffer.reset();
}

bool is_full_or_empty(int error_number) noexcept {
    return error_number == EAGAIN || error_number == EWOULDBLOCK;
}

} // namespace

// The functions that OpenSSL calls.
struct TlsTransportBio {
    static TlsTransport& transport(BIO* bio) noexcept {
        return *static_cast<TlsTransport*>(BIO_get_data(bio));
    }

    static int read(BIO* bio, char* space, int length) {
        BIO_clear_retry_flags(bio);
        return length <= 0 ? 0 : transport(bio).read(bio, space, length);
    }

    static int write(BIO* bio, const char* bytes, int length) {
        BIO_clear_retry_flags(bio);
        return length <= 0 ? 0 : transport(bio).write(bio, bytes, length);
    }

    // All that concerns kTLS is for the socket's BIO.
    static long control(BIO* bio, int command, long number, void* pointer) {
        if (command == BIO_CTRL_FLUSH) {
            return 1;
        }
        BIO* const next = BIO_next(bio);
        return next == nullptr ? 0 : BIO_ctrl(next, command, number, pointer);
    }

    static int create(BIO* bio) {
        BIO_set_init(bio, 1);
        return 1;
    }

    static BIO_METHOD* make_method() noexcept {
        BIO_METHOD* const method =
            BIO_meth_new(BIO_get_new_index() | BIO_TYPE_FILTER, "sluice transport");
        if (method != nullptr) {
            BIO_meth_set_read(method, read);
            BIO_meth_set_write(method, write);
            BIO_meth_set_ctrl(method, control);
            BIO_meth_set_create(method, create);
        }
        return method;
    }

    static const BIO_METHOD* method() noexcept {
        static const BIO_METHOD* const made = make_method(); // for the life of the program
        return made;
    }
};

TlsTransport::~TlsTransport() {
    drop_input();
    if (out_) {
        give_back(out_);
    }
}

void TlsTransport::drop_input() noexcept {
    if (in_ && !std::exchange(in_shrunk_, false)) {
        give_back(in_);
    }
    in_.reset();
    in_begin_ = in_end_ = 0;
}

void TlsTransport::shrink() noexcept {
    if (!holds_input() || in_shrunk_) {
        return;
    }
    const std::size_t bytes = in_end_ - in_begin_;
    std::unique_ptr<std::byte[]> small(new (std::nothrow) std::byte[bytes]);
    if (small) {
        std::memcpy(small.get(), in_.get() + in_begin_, bytes);
        give_back(in_);
        in_ = std::move(small);
        in_shrunk_ = true;
        in_begin_ = 0;
        in_end_ = bytes;
    }
}

BIO* TlsTransport::make_bio() {
    const BIO_METHOD* const method = TlsTransportBio::method();
    BIO* const bio = method == nullptr ? nullptr : BIO_new(method);
    BIO* const below = bio == nullptr ? nullptr : BIO_new_socket(socket_, BIO_NOCLOSE);
    if (below == nullptr) {
        BIO_free(bio); // null does no harm
        return nullptr;
    }
    BIO_set_data(bio, this);
    return BIO_push(bio, below);
}

void TlsTransport::expect(std::size_t plaintext_bytes) noexcept {
    // A record header and tag per record, and one record that is already there in part.
    wanted_ = plaintext_bytes + (plaintext_bytes / kMaxPlaintextBytes + 1) * 22;
}

int TlsTransport::read(BIO* bio, char* space, int length) noexcept {
    auto wanted = static_cast<std::size_t>(length);
    if (!gathers_) {
        wanted = std::min(wanted, kMaxHandshakeBytes - handshake_bytes_);
        if (wanted == 0) {
            error_number_ = EMSGSIZE;
            return -1;
        }
        const int got = read_directly(bio, space, wanted);
        handshake_bytes_ += static_cast<std::size_t>(std::max(got, 0));
        return got;
    }
    if (!holds_input() && !fill(bio)) {
        return error_number_ == 0 ? 0 : -1;
    }
    const std::size_t bytes = std::min(wanted, in_end_ - in_begin_);
    std::memcpy(space, in_.get() + in_begin_, bytes);
    in_begin_ += bytes;
    if (!holds_input()) {
        drop_input();
    }
    return static_cast<int>(bytes);
}

int TlsTransport::read_directly(BIO* bio, char* space, std::size_t length) noexcept {
    for (;;) {
        count_system_call();
        const ssize_t got = ::recv(socket_, space, length, 0);
        if (got >= 0) {
            error_number_ = 0;
            return static_cast<int>(got);
        }
        if (errno != EINTR) {
            error_number_ = errno;
            if (is_full_or_empty(error_number_)) {
                BIO_set_retry_read(bio);
            }
            return -1;
        }
    }
}

bool TlsTransport::fill(BIO* bio) noexcept {
    take_buffer(in_, kBuffer);
    const std::size_t wanted = std::clamp(wanted_, kMaxRecordBytes, kBuffer);
    const int got = read_directly(bio, reinterpret_cast<char*>(in_.get()), wanted);
    if (got <= 0) {
        drop_input();
        return false;
    }
    in_begin_ = 0;
    in_end_ = static_cast<std::size_t>(got);
    wanted_ -= std::min(wanted_, in_end_);
    return true;
}

int TlsTransport::write(BIO* bio, const char* bytes, int length) noexcept {
    const auto wanted = static_cast<std::size_t>(length);
    if (gathers_) {
        take_buffer(out_, kBuffer);
        if (wanted > kBuffer - out_end_) { // an alert behind many others
            error_number_ = ENOBUFS;
            return -1;
        }
        std::memcpy(out_.get() + out_end_, bytes, wanted);
        out_end_ += wanted;
        return length;
    }
    // What comes after the keys went to the kernel can only be an alert, for which sendmsg(2) with
    // TLS_SET_RECORD_TYPE would be needed. The end of the connection says as much.
    if (BIO_get_ktls_send(BIO_next(bio))) {
        return length;
    }
    for (;;) {
        count_system_call();
        const ssize_t sent = ::send(socket_, bytes, wanted, MSG_NOSIGNAL);
        if (sent >= 0) {
            return static_cast<int>(sent);
        }
        if (errno != EINTR) {
            error_number_ = errno;
            if (is_full_or_empty(error_number_)) {
                BIO_set_retry_write(bio);
            }
            return -1;
        }
    }
}

int TlsTransport::flush(bool more) noexcept {
    while (holds_output()) {
        count_system_call();
        const ssize_t sent = ::send(socket_, out_.get() + out_begin_, out_end_ - out_begin_,
                                    MSG_NOSIGNAL | (more ? MSG_MORE : 0));
        if (sent >= 0) {
            out_begin_ += static_cast<std::size_t>(sent);
        } else if (errno != EINTR) {
            return errno;
        }
    }
    if (out_) {
        give_back(out_);
        out_begin_ = out_end_ = 0;
    }
    return 0;
}

} // namespace sluice
