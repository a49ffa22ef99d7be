// What is between OpenSSL and the socket of a TLS connection: a BIO that reads and writes many
// records with one system call. Belongs to one thread at a time.
//
// OpenSSL's own BIO for sockets takes a write(2) for each record of 16 KiB and two read(2), and
// raises SIGPIPE. It is still there, below this one, for what the kernel has to be told (kTLS).
#pragma once

#include "common/tls.hpp"

#include <cstddef>
#include <memory>
#include <openssl/types.h>

namespace sluice {

class TlsTransport {
public:
    static constexpr std::size_t kMaxPlaintextBytes = std::size_t{16} << 10;
    static constexpr std::size_t kMaxRecordBytes = kTlsMaxRecordBytes;

    // The socket is borrowed. Nothing is gathered until gather().
    explicit TlsTransport(int socket) noexcept : socket_(socket) {}
    ~TlsTransport();
    TlsTransport(const TlsTransport&) = delete;
    TlsTransport& operator=(const TlsTransport&) = delete;

    // A chain of BIOs that refers to this object. Null: no memory.
    [[nodiscard]] BIO* make_bio();

    // From now on, after the handshake, writes are kept until flush(), and reads take more than
    // what was asked for.
    void gather() noexcept { gathers_ = true; }

    // How many bytes are wanted next, decrypted: reads take these and little more, so that a
    // connection that is left alone for a while holds little.
    void expect(std::size_t plaintext_bytes) noexcept;
    // Gives the buffer for input back, but for what is in it.
    void shrink() noexcept;
    [[nodiscard]] bool holds_input() const noexcept { return in_begin_ < in_end_; }

    // Whether another record fits.
    [[nodiscard]] bool has_room() const noexcept { return out_end_ + kMaxRecordBytes <= kBuffer; }
    [[nodiscard]] bool holds_output() const noexcept { return out_begin_ < out_end_; }
    // Sends what was gathered. 0: all of it; else errno.
    [[nodiscard]] int flush(bool more) noexcept;

    // Of the last read or write that failed; 0 where it was the end of the stream.
    [[nodiscard]] int error_number() const noexcept { return error_number_; }

private:
    friend struct TlsTransportBio;
    // 2 GiB over loopback with 64 KiB, 256 KiB and 1 MiB: see ARCHITECTURE.md.
    static constexpr std::size_t kBuffer = std::size_t{256} << 10;
    // Before the handshake is done nobody knows who this is: an honest one takes 400 bytes.
    static constexpr std::size_t kMaxHandshakeBytes = std::size_t{8} << 10;

    [[nodiscard]] int read(BIO* bio, char* space, int length) noexcept;
    [[nodiscard]] int write(BIO* bio, const char* bytes, int length) noexcept;
    [[nodiscard]] int read_directly(BIO* bio, char* space, std::size_t length) noexcept;
    [[nodiscard]] bool fill(BIO* bio) noexcept;
    void drop_input() noexcept;

    const int socket_;
    bool gathers_ = false;
    int error_number_ = 0;
    std::size_t handshake_bytes_ = 0;
    std::size_t wanted_ = 0;          // by expect()
    std::unique_ptr<std::byte[]> in_; // null where it is empty; the same of out_
    bool in_shrunk_ = false;          // it is smaller than kBuffer
    std::size_t in_begin_ = 0;
    std::size_t in_end_ = 0;
    std::unique_ptr<std::byte[]> out_;
    std::size_t out_begin_ = 0;
    std::size_t out_end_ = 0;
};

} // namespace sluice
