// One side of the protocol, spoken by a test byte by byte: as a hostile sender against the real
// receiver, or as a receiver that lets the test choose the moment against the real sender.
#pragma once

#include "common/net.hpp"
#include "common/unique_fd.hpp"
#include "proto/frame_reader.hpp"
#include "proto/messages.hpp"

#include <catch2/catch.hpp>
#include <chrono>
#include <poll.h>
#include <string>
#include <sys/socket.h>
#include <utility>

namespace sluice::test {

// A frame as it came in.
struct Frame {
    proto::FrameType type;
    proto::Bytes body;
};

class RawPeer {
public:
    // Takes over a connected socket and makes it blocking. `expect_preamble`: the other side
    // connected, and speaks first.
    RawPeer(UniqueFd socket, proto::Role role, bool expect_preamble)
        : socket_(std::move(socket)), reader_(role, expect_preamble) {
        const int flags = ::fcntl(socket_.get(), F_GETFL);
        REQUIRE(::fcntl(socket_.get(), F_SETFL, flags & ~O_NONBLOCK) == 0);
        const timeval limit{30, 0}; // a test that hangs shall fail
        REQUIRE(::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0);
    }

    // Connects to a receiver and says the preamble.
    [[nodiscard]] static RawPeer connect(const std::string& port, proto::Role role) {
        auto socket = connect_tcp("127.0.0.1", static_cast<std::uint16_t>(std::stoul(port)),
                                  std::chrono::seconds{10}, -1);
        REQUIRE(socket);
        RawPeer peer(std::move(*socket), role, false);
        const auto preamble = proto::encode_preamble({proto::kVersion, role});
        peer.send(proto::Bytes(preamble.begin(), preamble.end()));
        return peer;
    }

    // Sends everything; false where the other side has closed. Not left to a blocking send(2): a
    // socket that was closed while its window was full never opens it again, and does not reset the
    // connection before a minute has passed.
    bool send(const proto::Bytes& bytes) {
        std::size_t at = 0;
        while (at < bytes.size()) {
            const ssize_t sent = ::send(socket_.get(), bytes.data() + at, bytes.size() - at,
                                        MSG_NOSIGNAL | MSG_DONTWAIT);
            if (sent > 0) {
                at += static_cast<std::size_t>(sent);
                continue;
            }
            pollfd watched{socket_.get(), POLLOUT | POLLRDHUP, 0};
            if (sent == 0 || errno != EAGAIN || ::poll(&watched, 1, -1) != 1 ||
                (watched.revents & POLLOUT) == 0) {
                return false;
            }
        }
        return true;
    }
    template <typename Message>
    bool send_message(const Message& message) {
        proto::Bytes bytes;
        proto::encode(message, bytes);
        return send(bytes);
    }

    // The next frame. Type `error` with an empty body stands for the end of the stream.
    [[nodiscard]] Frame receive() {
        while (!reader_.frame_ready()) {
            const auto space = reader_.space();
            const ssize_t got = ::recv(socket_.get(), space.data(), space.size(), 0);
            if (got <= 0) {
                INFO("recv: " << got << ", errno " << errno);
                REQUIRE((got == 0 || errno == ECONNRESET));
                return {proto::FrameType::error, {}};
            }
            REQUIRE(reader_.commit(static_cast<std::size_t>(got)) == proto::Fault::none);
        }
        Frame frame{reader_.type(), {reader_.body().begin(), reader_.body().end()}};
        reader_.next();
        return frame;
    }
    // The next frame, which must be of that kind. Views in the message live as long as `frame`.
    template <typename Message>
    [[nodiscard]] Message receive_message(proto::FrameType type, Frame& frame) {
        frame = receive();
        REQUIRE(frame.type == type);
        Message message;
        REQUIRE(proto::decode(frame.body, message) == proto::Fault::none);
        return message;
    }

    // Payload bytes that follow a frame; fewer than asked at the end of the stream.
    [[nodiscard]] std::string receive_payload(std::size_t bytes) {
        std::string payload(bytes, '\0');
        std::size_t filled = 0;
        while (filled < bytes) {
            const ssize_t got = ::recv(socket_.get(), payload.data() + filled, bytes - filled, 0);
            if (got <= 0) {
                break;
            }
            filled += static_cast<std::size_t>(got);
        }
        payload.resize(filled);
        return payload;
    }

    [[nodiscard]] int socket() const noexcept { return socket_.get(); }
    void shut_down_sending() const { ::shutdown(socket_.get(), SHUT_WR); }
    // Whether something (the end of the stream, too) can be read within this time.
    [[nodiscard]] bool readable_within(std::chrono::milliseconds limit) const {
        pollfd watched{socket_.get(), POLLIN, 0};
        return ::poll(&watched, 1, static_cast<int>(limit.count())) == 1;
    }
    void close() { socket_.reset(); }

private:
    UniqueFd socket_;
    proto::FrameReader reader_;
};

// A data connection, with its number on the control connection.
class DataPeer : public RawPeer {
public:
    DataPeer(RawPeer peer, std::uint32_t number) : RawPeer(std::move(peer)), number_(number) {}
    [[nodiscard]] std::uint32_t number() const noexcept { return number_; }

private:
    std::uint32_t number_;
};

} // namespace sluice::test
