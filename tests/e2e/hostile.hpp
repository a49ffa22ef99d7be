// What the tests of a hostile sender share: a receiver in the middle of things that must not
// change, sessions spoken by hand, and frames that no encoder would make.
#pragma once

#include "proto/batch.hpp"
#include "tests/support/programs.hpp"
#include "tests/support/raw_peer.hpp"

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace sluice::test {

inline proto::ByteView as_bytes(std::string_view text) {
    return std::as_bytes(std::span(text.data(), text.size()));
}

// A frame, or a record, field by field; little-endian, and nothing is checked.
class FrameBuilder {
public:
    template <typename Integer>
    FrameBuilder& number(Integer value) {
        const auto bits = static_cast<std::uint64_t>(value);
        for (std::size_t byte = 0; byte < sizeof value; ++byte) {
            bytes_.push_back(static_cast<std::byte>(bits >> (8 * byte)));
        }
        return *this;
    }
    FrameBuilder& u8(unsigned value) { return number(static_cast<std::uint8_t>(value)); }
    FrameBuilder& u16(std::size_t value) { return number(static_cast<std::uint16_t>(value)); }
    FrameBuilder& u32(std::size_t value) { return number(static_cast<std::uint32_t>(value)); }
    FrameBuilder& u64(std::uint64_t value) { return number(value); }
    FrameBuilder& raw(proto::ByteView bytes) {
        bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
        return *this;
    }
    FrameBuilder& raw(std::string_view text) { return raw(as_bytes(text)); }
    FrameBuilder& string(std::string_view text) { return u16(text.size()).raw(text); }
    FrameBuilder& zeros(std::size_t count) {
        bytes_.resize(bytes_.size() + count);
        return *this;
    }

    [[nodiscard]] const proto::Bytes& bytes() const noexcept { return bytes_; }
    // With a frame header in front, whose check and digest are right.
    [[nodiscard]] proto::Bytes frame(proto::FrameType type) const {
        return frame(static_cast<unsigned>(type));
    }
    [[nodiscard]] proto::Bytes frame(unsigned type) const {
        FrameBuilder whole;
        whole.u32(bytes_.size()).u8(type).zeros(proto::kFrameHeaderBytes - 5).raw(bytes_);
        proto::seal_frame(whole.bytes_);
        return whole.bytes();
    }

private:
    proto::Bytes bytes_;
};

// Of batches and extents: no two of a session may have the same.
inline std::uint64_t fresh_id() {
    static std::uint64_t last = 0;
    return ++last;
}

// A raw batch of one record, whatever is wrong with its path.
inline proto::Bytes batch_frame(proto::RecordKind kind, std::string_view path,
                                std::string_view content, std::uint32_t mode = 0755) {
    FrameBuilder record;
    record.u8(static_cast<unsigned>(kind)).u8(0).u16(path.size()).u32(content.size());
    record.u32(mode).u32(0).u64(1'000'000'000).raw(path).raw(content);
    FrameBuilder batch;
    batch.u64(fresh_id()).u8(0).zeros(3).u32(record.bytes().size()).raw(record.bytes());
    return batch.frame(proto::FrameType::batch);
}
inline proto::Bytes file_frame(std::string_view path, std::string_view content,
                               std::uint32_t mode = 0644) {
    return batch_frame(proto::RecordKind::file, path, content, mode);
}

inline proto::Bytes extent_frame(const proto::Extent& extent) {
    FrameBuilder builder;
    builder.u64(extent.id).u64(extent.file_id).u64(extent.offset).u64(extent.length);
    builder.u64(extent.file_size).number(extent.mtime.seconds).number(extent.mtime.nanoseconds);
    builder.u32(extent.mode).u64(extent.version);
    builder.u8(static_cast<unsigned>(extent.encoding)).string(extent.path);
    return builder.frame(proto::FrameType::extent);
}
// All of a file, from 0 on.
inline proto::Extent extent_of(std::uint64_t file_id, std::string_view path, std::uint64_t size,
                               proto::Encoding encoding = proto::Encoding::raw) {
    return {fresh_id(), file_id, 0, size, size, {1'000'000'000, 0}, 0644, 7, encoding, path};
}

// How a connection ended: with an error frame, or without (code -1).
struct Refusal {
    int code = -1;
    std::string text;
};

// Reads to the error frame or to the end of the stream, then closes: a receiver that has said its
// last word waits for that.
inline Refusal read_refusal(RawPeer& peer) {
    Refusal refusal;
    for (;;) {
        const Frame frame = peer.receive();
        if (frame.type == proto::FrameType::error) {
            peer.close();
        }
        if (frame.type == proto::FrameType::done) {
            refusal.text = "Done";
        }
        if (frame.type != proto::FrameType::error) {
            continue;
        }
        if (frame.body.empty()) {
            return refusal;
        }
        proto::ErrorMessage message;
        REQUIRE(proto::decode(frame.body, message) == proto::Fault::none);
        return {message.code, std::string(message.text)};
    }
}

// A request of a run of its own, so that its session takes no other's place.
inline proto::Open fresh_open(std::uint32_t flags = proto::kOpenPreserve) {
    static std::uint8_t last = 0;
    proto::Open open;
    open.flags = flags;
    open.run.fill(std::byte{++last});
    return open;
}

// A session by hand.
struct RawSession {
    RawPeer control;
    std::string port;
    proto::Token token{};
    proto::Welcome welcome; // without its text
    // What the receiver has said so far.
    std::map<std::string, proto::FileFault> failed;
    std::set<std::uint64_t> acknowledged;
    std::map<std::uint64_t, proto::Digest> again;
    std::set<std::uint32_t> lost;
    std::map<std::uint64_t, std::vector<proto::Range>> present;
    std::uint32_t next_connection = 1;

    explicit RawSession(const ReceiverProcess& receiver, const proto::Open& request = fresh_open())
        : control(RawPeer::connect(receiver.port(), proto::Role::control)), port(receiver.port()) {
        REQUIRE(control.send_message(request));
        Frame frame = receive();
        REQUIRE(frame.type == proto::FrameType::welcome);
        REQUIRE(proto::decode(frame.body, welcome) == proto::Fault::none);
        welcome.software = {};
        token = welcome.token;
    }

    [[nodiscard]] DataPeer join(std::uint16_t stream = 0) {
        DataPeer data(RawPeer::connect(port, proto::Role::data), next_connection++);
        REQUIRE(data.send_message(proto::Join{token, data.number(), stream}));
        return data;
    }

    // The next frame that is not merely noted above (or a Ping).
    [[nodiscard]] Frame receive() {
        for (;;) {
            Frame frame = control.receive();
            if (frame.type != proto::FrameType::ping && !note(frame)) {
                return frame;
            }
        }
    }
    // Notes what comes until `condition` holds. False: something else came first.
    template <typename Condition>
    [[nodiscard]] bool note_until(Condition condition) {
        while (!condition()) {
            const Frame frame = control.receive();
            if (frame.type != proto::FrameType::ping && !note(frame)) {
                return false;
            }
        }
        return true;
    }
    void await_ack(std::uint64_t id) {
        REQUIRE(note_until([&] { return acknowledged.contains(id); }));
    }

    // Ends a data connection; comes back when the receiver has dealt with all that came on it.
    void end(DataPeer& data) {
        data.shut_down_sending();
        REQUIRE(note_until([&] { return lost.contains(data.number()); }));
    }
    // The same, and then says that these files are complete.
    void end(DataPeer& data, const std::vector<std::uint64_t>& file_ids) {
        end(data);
        for (const std::uint64_t id : file_ids) {
            REQUIRE(control.send_message(proto::FileEnd{id}));
        }
    }

    // Comes back once the receiver has handled everything that was sent on the control connection.
    void settle() {
        proto::Offer offer;
        offer.first_id = 1'000'000;
        offer.entries.push_back({1, {}, 0644, 0, "settle"});
        REQUIRE(control.send_message(offer));
        REQUIRE(receive().type == proto::FrameType::verdict);
    }

    // Finish, and what comes of it.
    [[nodiscard]] Frame finish(std::uint64_t files) {
        control.send_message(proto::Finish{files});
        Frame frame = receive();
        control.close(); // the receiver waits for that
        return frame;
    }

private:
    template <typename Message>
    static Message decoded(const Frame& frame) {
        Message message;
        REQUIRE(proto::decode(frame.body, message) == proto::Fault::none);
        return message;
    }

    // Whether it is one of those that are kept.
    bool note(const Frame& frame) {
        switch (frame.type) {
        case proto::FrameType::ack: {
            const auto message = decoded<proto::Ack>(frame);
            acknowledged.insert(message.ids.begin(), message.ids.end());
            return true;
        }
        case proto::FrameType::again: {
            const auto message = decoded<proto::Again>(frame);
            again[message.id] = message.digest;
            return true;
        }
        case proto::FrameType::lost:
            REQUIRE(lost.insert(decoded<proto::Lost>(frame).connection).second); // once each
            return true;
        case proto::FrameType::present: {
            const auto message = decoded<proto::Present>(frame);
            auto& ranges = present[message.id];
            ranges.insert(ranges.end(), message.ranges.begin(), message.ranges.end());
            return true;
        }
        case proto::FrameType::file_error: {
            const auto message = decoded<proto::FileError>(frame);
            failed.emplace(message.path, message.fault);
            return true;
        }
        default: return false;
        }
    }
};

// "Done", or the text of the error, or that there was neither.
inline std::string describe(const Frame& frame) {
    if (frame.type == proto::FrameType::done) {
        return "Done";
    }
    proto::ErrorMessage message;
    if (frame.type != proto::FrameType::error || frame.body.empty() ||
        proto::decode(frame.body, message) != proto::Fault::none) {
        return "closed without a word";
    }
    return std::to_string(message.code) + ' ' + std::string(message.text);
}

// A receiver of `inbox`, with things around it that no sender may touch.
class Sandbox {
public:
    explicit Sandbox(const std::vector<std::string>& options = {}) {
        outer_.make_dir("inbox");
        outer_.write_file("x", "canary");
        outer_.write_file("a/x", "canary in a directory");
        outer_.write_file("outside/deep/file", "canary deep down");
        outer_.symlink("x", "link");
        // So that removing and making a file again would show.
        for (const char* const name : {"x", "a/x", "outside/deep/file"}) {
            outer_.set_mtime(name, 1'234'567'890);
        }
        before_ = look_around();
        receiver_ = std::make_unique<ReceiverProcess>(inbox(), options);
        descriptors_ = receiver_->process().open_descriptors();
    }

    [[nodiscard]] const TempDir& outer() const noexcept { return outer_; }
    [[nodiscard]] std::string inbox(std::string_view name = {}) const {
        return outer_.path(name.empty() ? "inbox" : "inbox/" + std::string(name));
    }
    [[nodiscard]] std::string outside() const { return outer_.path("outside"); }
    [[nodiscard]] ReceiverProcess& receiver() noexcept { return *receiver_; }

    // A push that is as it should be.
    void check_serving() {
        RawSession session(*receiver_);
        DataPeer data = session.join();
        REQUIRE(data.send(file_frame("well", "behaved")));
        session.end(data);
        CHECK(describe(session.finish(1)) == "Done");
        CHECK(outer_.read_file("inbox/well") == "behaved");
        outer_.remove("inbox/well");
    }

    void check_outside_untouched() const { CHECK((look_around() == before_)); }

    // No descriptor is left open and nothing in the work area, once all sessions are over.
    void check_nothing_left() {
        // Each worker may have opened /dev/null, for bytes that it had to drop.
        const std::size_t workers = std::max(2U, std::thread::hardware_concurrency());
        eventually("the receiver has closed everything", [&] {
            return receiver_->process().open_descriptors() <= descriptors_ + workers;
        });
        eventually("the work area is gone", [this] { return !outer_.exists("inbox/.sluice"); });
    }

    // All of it.
    void check_survived() {
        check_serving();
        check_outside_untouched();
        check_nothing_left();
    }

    // Names below a directory of `outer` with what they are; without the inbox.
    [[nodiscard]] std::map<std::string, std::string> look_around() const {
        std::map<std::string, std::string> found;
        namespace fs = std::filesystem;
        for (fs::recursive_directory_iterator at(outer_.path()), end; at != end; ++at) {
            const std::string name = at->path().lexically_relative(outer_.path()).string();
            if (name == "inbox") {
                at.disable_recursion_pending();
                continue;
            }
            const struct stat status = outer_.status(name);
            std::string& what = found[name];
            what = std::to_string(status.st_mode) + ' ' + std::to_string(status.st_size);
            if (S_ISREG(status.st_mode)) {
                what += ' ' + std::to_string(status.st_mtim.tv_sec) + ' ' + outer_.read_file(name);
            } else if (S_ISLNK(status.st_mode)) {
                what += ' ' + outer_.read_link(name);
            }
        }
        return found;
    }

private:
    TempDir outer_{TempDir::quick_base()};
    std::map<std::string, std::string> before_;
    std::unique_ptr<ReceiverProcess> receiver_;
    std::size_t descriptors_ = 0;
};

} // namespace sluice::test
