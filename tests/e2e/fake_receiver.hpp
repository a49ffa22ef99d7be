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

    [[nodiscard]] std::string port() const { return std::to_string(local_port(listener_.get())); }

    // No further connection can be made.
    void stop_listening() { listener_.reset(); }

    // Starts a sender, with one data stream unless another number is among the arguments.
    [[nodiscard]] std::unique_ptr<Process> start_sender(const std::vector<std::string>& arguments) {
        std::vector<std::string> command{kSendProgram, "--port", port()};
        if (std::ranges::find(arguments, "--streams") == arguments.end()) {
            command.insert(command.end(), {"--streams", "1"});
        }
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
    // none is. `open` gets what was asked for, without the texts.
    [[nodiscard]] RawPeer accept_session(bool fresh = true, proto::Open* open = nullptr,
                                         std::uint32_t timeout_ms = 0) {
        RawPeer control = accept();
        Frame frame;
        auto request = control.receive_message<proto::Open>(proto::FrameType::open, frame);
        proto::Welcome welcome;
        welcome.token = token_;
        welcome.timeout_ms = timeout_ms;
        for (std::uint16_t index = 0; fresh && index < request.roots.size(); ++index) {
            welcome.fresh.push_back(index);
        }
        welcome.software = "test";
        REQUIRE(control.send_message(welcome));
        if (open != nullptr) {
            request.destination = request.software = {};
            request.roots.clear();
            *open = std::move(request);
        }
        return control;
    }
    // The next connection, which must join that session.
    [[nodiscard]] DataPeer accept_stream() {
        RawPeer data = accept();
        Frame frame;
        const auto join = data.receive_message<proto::Join>(proto::FrameType::join, frame);
        CHECK((join.token == token_));
        return {std::move(data), join.connection};
    }
    [[nodiscard]] bool connection_within(std::chrono::milliseconds limit) const {
        pollfd watched{listener_.get(), POLLIN, 0};
        return ::poll(&watched, 1, static_cast<int>(limit.count())) == 1;
    }

private:
    UniqueFd listener_;
    proto::Token token_{};
};

// What a session has brought.
struct SessionLog {
    std::map<std::string, std::string>
        content;                              // of files: records, and extents as far as they came
    std::map<std::string, std::uint64_t> ids; // of files that came as extents
    std::vector<std::uint64_t> ended;         // FileEnd
    std::vector<std::uint64_t> aborted;       // FileAbort
    std::vector<std::uint32_t> dropped;       // Drop
    std::map<std::uint64_t, proto::Digest> digests;
    bool cut = false; // the last connection ended inside a payload

    [[nodiscard]] bool whole(const std::string& path) const {
        const auto id = ids.find(path);
        return content.contains(path) &&
               (id == ids.end() || std::ranges::find(ended, id->second) != ended.end());
    }
};

// Takes what a session brings, over one data connection at a time. Raw data only.
class SessionReader {
public:
    explicit SessionReader(RawPeer& control) : control_(control) {}

    // Called with the path after each piece of the payload of an extent.
    std::function<void(const std::string&)> on_payload;
    // Called for each extent that came whole; true: instead of acknowledging it.
    std::function<bool(const proto::Extent&)> on_extent;

    // Reads to the end of a data connection, acknowledging what comes whole. The last Ack makes a
    // sender that has no more finish, and then it closes the connection.
    void read_stream(RawPeer& data) {
        log_.cut = false;
        for (;;) {
            const Frame frame = data.receive();
            if (frame.type == proto::FrameType::error) { // the end
                REQUIRE(frame.body.empty());
                return;
            }
            if (frame.type == proto::FrameType::batch) {
                read_batch(frame);
            } else {
                REQUIRE(frame.type == proto::FrameType::extent);
                if (!read_extent(data, frame)) {
                    return;
                }
            }
        }
    }
    // One extent, which must be what comes next.
    void read_one_extent(RawPeer& data) {
        const Frame frame = data.receive();
        REQUIRE(frame.type == proto::FrameType::extent);
        REQUIRE(read_extent(data, frame));
    }

    void acknowledge(std::uint64_t id) const { control_.send_message(proto::Ack{{id}}); }

    // Notes what comes on the control connection, up to and with a frame of this kind.
    void read_control_until(proto::FrameType type) {
        while (note_control() != type) {
        }
    }
    // The number of files that the Finish says.
    [[nodiscard]] std::uint64_t read_finish() {
        read_control_until(proto::FrameType::finish);
        return files_;
    }

    [[nodiscard]] const SessionLog& log() const noexcept { return log_; }

private:
    template <typename Message>
    static Message decoded(const Frame& frame) {
        Message message;
        REQUIRE(proto::decode(frame.body, message) == proto::Fault::none);
        return message;
    }

    proto::FrameType note_control() {
        const Frame frame = control_.receive();
        switch (frame.type) {
        case proto::FrameType::ping: break;
        case proto::FrameType::digests:
            for (const auto& entry : decoded<proto::Digests>(frame).entries) {
                log_.digests[entry.id] = entry.digest;
            }
            break;
        case proto::FrameType::file_end:
            log_.ended.push_back(decoded<proto::FileEnd>(frame).file_id);
            break;
        case proto::FrameType::file_abort:
            log_.aborted.push_back(decoded<proto::FileAbort>(frame).file_id);
            break;
        case proto::FrameType::drop:
            log_.dropped.push_back(decoded<proto::Drop>(frame).connection);
            break;
        case proto::FrameType::all_sent: break; // Finish says it, too
        case proto::FrameType::finish: files_ = decoded<proto::Finish>(frame).files; break;
        default: FAIL("frame type " << static_cast<int>(frame.type)); // the end, too
        }
        return frame.type;
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
        acknowledge(batch.id);
    }

    // False: the connection ended inside it.
    bool read_extent(RawPeer& data, const Frame& frame) {
        const auto extent = decoded<proto::Extent>(frame);
        const std::string path(extent.path);
        REQUIRE(extent.encoding == proto::Encoding::raw);
        log_.ids[path] = extent.file_id;
        std::string& content = log_.content[path];
        content.resize(std::max<std::size_t>(content.size(), extent.offset + extent.length));
        constexpr std::uint64_t kPiece = 64 << 10;
        for (std::uint64_t done = 0; done < extent.length;) {
            const auto wanted = static_cast<std::size_t>(std::min(extent.length - done, kPiece));
            const std::string piece = data.receive_payload(wanted);
            content.replace(extent.offset + done, piece.size(), piece);
            done += piece.size();
            if (piece.size() < wanted) {
                log_.cut = true;
                return false;
            }
            if (on_payload) {
                on_payload(path);
            }
        }
        if (!on_extent || !on_extent(extent)) {
            acknowledge(extent.id);
        }
        return true;
    }

    RawPeer& control_;
    std::uint64_t files_ = 0;
    SessionLog log_;
};

} // namespace sluice::test
