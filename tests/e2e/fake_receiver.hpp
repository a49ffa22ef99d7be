// A receiver that a test plays by hand, frame by frame, against the real sender: so the test, and
// not the clock, chooses the moment at which something goes wrong.
#pragma once

#include "common/net.hpp"
#include "proto/batch.hpp"
#include "tests/support/process.hpp"
#include "tests/support/raw_peer.hpp"

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace sluice::test {

class FakeReceiver {
public:
    // Buffers as small as the kernel has them: a large file cannot vanish into them.
    FakeReceiver() {
        auto listener = listen_tcp("127.0.0.1", 0);
        REQUIRE(listener);
        listener_ = std::move(*listener);
        const int bytes = 64 << 10;
        REQUIRE(::setsockopt(listener_.get(), SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes) == 0);
        for (std::size_t index = 0; index < token_.size(); ++index) {
            token_[index] = static_cast<std::byte>(index + 1);
        }
    }

    [[nodiscard]] const proto::Token& token() const noexcept { return token_; }

    // Starts a sender with one data stream.
    [[nodiscard]] std::unique_ptr<Process> start_sender(const std::vector<std::string>& arguments) {
        std::vector<std::string> command{
            kSendProgram, "--port", std::to_string(local_port(listener_.get())), "--streams", "1"};
        command.insert(command.end(), arguments.begin(), arguments.end());
        command.emplace_back("127.0.0.1:");
        return std::make_unique<Process>(std::move(command));
    }

    // The next connection, which must come within half a minute.
    [[nodiscard]] RawPeer accept() {
        pollfd watched{listener_.get(), POLLIN, 0};
        REQUIRE(::poll(&watched, 1, 30'000) == 1);
        auto socket = accept_tcp(listener_.get());
        REQUIRE(socket);
        return {std::move(*socket), proto::Role::control, true};
    }
    // The next connection, which must ask for a session; that is accepted. All roots are fresh, or
    // none is.
    [[nodiscard]] RawPeer accept_session(bool fresh = true) {
        RawPeer control = accept();
        Frame frame;
        const auto open = control.receive_message<proto::Open>(proto::FrameType::open, frame);
        proto::Welcome welcome;
        welcome.token = token_;
        for (std::uint16_t index = 0; fresh && index < open.roots.size(); ++index) {
            welcome.fresh.push_back(index);
        }
        welcome.software = "test";
        REQUIRE(control.send_message(welcome));
        return control;
    }
    // The next connection, which must join that session.
    [[nodiscard]] RawPeer accept_stream() {
        RawPeer data = accept();
        Frame frame;
        const auto join = data.receive_message<proto::Join>(proto::FrameType::join, frame);
        CHECK((join.token == token_));
        return data;
    }

private:
    UniqueFd listener_;
    proto::Token token_{};
};

// What came on one data connection.
struct StreamLog {
    std::map<std::string, std::string> content; // of files: records, and complete extents
    std::map<std::string, std::uint64_t> ids;   // of files that came as extents
    std::vector<std::uint64_t> ended;           // FileEnd
    std::vector<std::uint64_t> aborted;         // FileAbort
    bool stream_end = false;
    bool cut = false; // ended inside a payload

    [[nodiscard]] bool whole(const std::string& path) const {
        const auto id = ids.find(path);
        return content.count(path) == 1 &&
               (id == ids.end() ||
                std::find(ended.begin(), ended.end(), id->second) != ended.end());
    }
};

class StreamReader {
public:
    // `on_payload` is called with the path after each piece of the payload of an extent.
    explicit StreamReader(RawPeer& data, std::function<void(const std::string&)> on_payload = {})
        : data_(data), on_payload_(std::move(on_payload)) {}

    // Reads to the end of the connection. Raw data only.
    [[nodiscard]] StreamLog read() {
        while (!log_.stream_end && !log_.cut) {
            const Frame frame = data_.receive();
            switch (frame.type) {
            case proto::FrameType::batch: read_batch(frame); break;
            case proto::FrameType::extent: read_extent(frame); break;
            case proto::FrameType::file_end:
                log_.ended.push_back(decoded<proto::FileEnd>(frame).file_id);
                break;
            case proto::FrameType::file_abort:
                log_.aborted.push_back(decoded<proto::FileAbort>(frame).file_id);
                break;
            case proto::FrameType::stream_end: log_.stream_end = true; break;
            default: FAIL("frame type " << static_cast<int>(frame.type)); // the end, too
            }
        }
        return std::move(log_);
    }

private:
    template <typename Message>
    static Message decoded(const Frame& frame) {
        Message message;
        REQUIRE(proto::decode(frame.body, message) == proto::Fault::none);
        return message;
    }

    void read_batch(const Frame& frame) {
        const auto batch = decoded<proto::Batch>(frame);
        proto::BatchReader reader(batch.payload);
        while (!reader.at_end()) {
            proto::Record record;
            REQUIRE(reader.next(record) == proto::Fault::none);
            if (record.kind == proto::RecordKind::file) {
                log_.content[std::string(record.path)] = {
                    reinterpret_cast<const char*>(record.content.data()), record.content.size()};
            }
        }
    }

    void read_extent(const Frame& frame) {
        const auto extent = decoded<proto::Extent>(frame);
        const std::string path(extent.path);
        REQUIRE(extent.encoding == proto::Encoding::raw);
        log_.ids[path] = extent.file_id;
        std::string& content = log_.content[path];
        REQUIRE(extent.offset == content.size()); // one stream: in order
        constexpr std::uint64_t kPiece = 64 << 10;
        for (std::uint64_t left = extent.length; left > 0;) {
            const auto wanted = static_cast<std::size_t>(std::min(left, kPiece));
            const std::string piece = data_.receive_payload(wanted);
            content += piece;
            left -= piece.size();
            if (piece.size() < wanted) {
                log_.cut = true;
                return;
            }
            if (on_payload_) {
                on_payload_(path);
            }
        }
    }

    RawPeer& data_;
    std::function<void(const std::string&)> on_payload_;
    StreamLog log_;
};

} // namespace sluice::test
