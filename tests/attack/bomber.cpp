#include "tests/attack/bomber.hpp"

#include "common/channel.hpp"
#include "common/compress.hpp"
#include "common/net.hpp"
#include "proto/frame_reader.hpp"

#include <cerrno>
#include <chrono>
#include <string>
#include <sys/random.h>
#include <utility>

namespace sluice::attack {

namespace {

using std::chrono::milliseconds;

// The file that is written again and again: it must not fill the disk.
constexpr std::uint64_t kFileBytes = proto::kMaxExtentBytes;
// Announced by a frame that nobody may unpack.
constexpr std::size_t kTooMuch = std::size_t{64} << 20;
constexpr milliseconds kPause{50}; // before another session
constexpr milliseconds kPingInterval{1'000};

proto::Bytes packed(std::size_t raw_bytes) {
    const proto::Bytes raw(raw_bytes);
    proto::Bytes frame(raw_bytes);
    frame.resize(Compressor(3).compress(raw, frame));
    return frame;
}

// One connection, with waiting instead of would-block.
class Peer {
public:
    Peer(UniqueFd socket, proto::Role role, const std::atomic<bool>& stopping)
        : channel_(std::move(socket)), reader_(role, false), stopping_(stopping) {
        const auto preamble = proto::encode_preamble({proto::kVersion, role});
        alive_ = send(proto::Bytes(preamble.begin(), preamble.end()));
    }

    [[nodiscard]] bool send(const proto::Bytes& bytes) {
        for (std::size_t at = 0; at < bytes.size();) {
            const ssize_t sent = channel_.send(std::span(bytes).subspan(at));
            if (sent < 0 && errno != EAGAIN && errno != EINTR) {
                return alive_ = false;
            }
            at += sent > 0 ? static_cast<std::size_t>(sent) : 0;
            if (stopping_) {
                return alive_ = false;
            }
            if (sent <= 0) {
                static_cast<void>(wait_for_socket(channel_.fd(), true, -1, milliseconds{100}));
            }
        }
        return true;
    }
    template <typename Message>
    [[nodiscard]] bool send_message(const Message& message) {
        proto::Bytes bytes;
        proto::encode(message, bytes);
        return send(bytes);
    }

    // Takes what has come within `time`; the last frame of that type stays in `body`.
    bool receive(proto::FrameType wanted, milliseconds time) {
        const auto end = std::chrono::steady_clock::now() + time;
        for (;;) {
            const ssize_t got = channel_.recv(reader_.space());
            if (got > 0) {
                if (reader_.commit(static_cast<std::size_t>(got)) != proto::Fault::none) {
                    return alive_ = false;
                }
                if (reader_.frame_ready()) {
                    last_type = reader_.type();
                    if (proto::Ack ack; last_type == proto::FrameType::ack &&
                                        proto::decode(reader_.body(), ack) == proto::Fault::none) {
                        acknowledged += ack.ids.size();
                    }
                    body.assign(reader_.body().begin(), reader_.body().end());
                    reader_.next();
                    if (last_type == wanted || last_type == proto::FrameType::error) {
                        return last_type == wanted;
                    }
                }
                continue;
            }
            if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
                return alive_ = false;
            }
            const auto left =
                std::chrono::duration_cast<milliseconds>(end - std::chrono::steady_clock::now());
            if (left.count() <= 0 || stopping_) {
                return false;
            }
            static_cast<void>(
                wait_for_socket(channel_.fd(), false, -1, std::min(left, milliseconds{100})));
        }
    }

    [[nodiscard]] bool alive() const noexcept { return alive_; }

    proto::FrameType last_type = proto::FrameType::ping;
    proto::Bytes body;
    std::uint64_t acknowledged = 0; // extents

private:
    Channel channel_;
    proto::FrameReader reader_;
    const std::atomic<bool>& stopping_;
    bool alive_ = false;
};

Result<UniqueFd> connect_to(std::uint16_t port) {
    return connect_tcp("127.0.0.1", port, milliseconds{5'000}, -1);
}

} // namespace

Bomber::Bomber(Kind kind, std::uint16_t port, unsigned number)
    : kind_(kind), port_(port), number_(number),
      payload_(packed(kind == Kind::beyond_it ? kTooMuch : proto::kMaxBlockBytes)),
      thread_([this] { run(); }) {}

Bomber::~Bomber() {
    stopping_ = true;
    thread_.join();
}

void Bomber::run() {
    while (!stopping_) {
        run_session();
        std::this_thread::sleep_for(kPause);
    }
}

void Bomber::run_session() {
    auto control_socket = connect_to(port_);
    if (!control_socket) {
        return;
    }
    Peer control(std::move(*control_socket), proto::Role::control, stopping_);
    proto::Open open;
    const std::string destination = "bomb-" + std::to_string(number_);
    open.destination = destination;
    open.software = "attack";
    static_cast<void>(getrandom(open.run.data(), open.run.size(), 0));
    proto::Welcome welcome;
    if (!control.send_message(open) ||
        !control.receive(proto::FrameType::welcome, milliseconds{10'000}) ||
        proto::decode(control.body, welcome) != proto::Fault::none) {
        return;
    }
    ++sessions_;
    auto data_socket = connect_to(port_);
    if (!data_socket) {
        return;
    }
    Peer data(std::move(*data_socket), proto::Role::data, stopping_);
    if (!data.send_message(proto::Join{welcome.token, 1, 0})) {
        return;
    }
    const bool beyond = kind_ == Kind::beyond_it;
    proto::Bytes blocks;
    for (std::uint64_t bytes = 0; bytes < kFileBytes; bytes += proto::kMaxBlockBytes) {
        proto::encode(proto::Block{proto::Encoding::zstd, proto::kMaxBlockBytes, payload_}, blocks);
        if (beyond) {
            break;
        }
    }
    auto pinged = std::chrono::steady_clock::now();
    for (std::uint64_t id = 1; control.alive() && data.alive() && !stopping_; ++id) {
        const proto::Extent extent{
            id, 1, 0, kFileBytes, kFileBytes, {}, 0644, 1, proto::Encoding::zstd, "bomb"};
        static_cast<void>(data.send_message(extent) && data.send(blocks));
        if (beyond) { // the answer is an Error
            control.receive(proto::FrameType::done, milliseconds{10'000});
            refused_ += control.last_type == proto::FrameType::error ? 1 : 0;
            return;
        }
        control.receive(proto::FrameType::done, milliseconds{0});
        unpacked_bytes_ += kFileBytes * std::exchange(control.acknowledged, 0);
        const auto now = std::chrono::steady_clock::now();
        if (now - pinged > kPingInterval) {
            pinged = now;
            proto::Bytes ping;
            proto::encode_ping(ping);
            static_cast<void>(control.send(ping));
        }
    }
    refused_ += control.last_type == proto::FrameType::error ? 1 : 0;
}

} // namespace sluice::attack
