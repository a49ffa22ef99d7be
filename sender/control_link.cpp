#include "sender/control_link.hpp"

#include "common/exit_code.hpp"
#include "common/text.hpp"
#include "common/usage.hpp"

#include <algorithm>
#include <cerrno>
#include <fmt/format.h>
#include <sys/socket.h>
#include <type_traits>
#include <utility>

namespace sluice {

namespace {

using std::chrono::milliseconds;

// A side that has sent nothing for this part of the shorter timeout sends a Ping: one of them may
// come late, and the other side still hears something in time.
constexpr int kPingPart = 4;
// Of the shorter timeout: how exactly it is kept.
constexpr int kTickPart = 20;
constexpr milliseconds kShortestTick{10};
constexpr milliseconds kLongestTick{500};

} // namespace

ControlLink::ControlLink(Loop& loop, Channel channel, std::string peer, milliseconds timeout,
                         Callbacks callbacks)
    : channel_(std::move(channel)), peer_(std::move(peer)), timeout_(timeout),
      callbacks_(std::move(callbacks)), reader_(proto::Role::control, false),
      poll_(loop, channel_.fd(), [this](Readiness ready) { on_ready(ready); }),
      timer_(loop, [this] { on_tick(); }) {
    poll_.wait_for({true, false});
    timer_.start(tick(), tick());
}

void ControlLink::send(const proto::Bytes& frames) {
    out_.insert(out_.end(), frames.begin(), frames.end());
    flush();
}

void ControlLink::finish(const proto::Finish& message) {
    proto::Bytes frame;
    proto::encode(message, frame);
    if (state_ == State::active) {
        state_ = State::finishing;
    }
    send(frame);
}

void ControlLink::read_pending() {
    while (read_frame()) {
    }
}

void ControlLink::send_last(const proto::Bytes& frames) {
    out_.insert(out_.end(), frames.begin(), frames.end());
    while (out_sent_ < out_.size()) {
        const ssize_t sent = channel_.send(std::span(out_).subspan(out_sent_));
        if (sent <= 0) {
            break;
        }
        out_sent_ += static_cast<std::size_t>(sent);
    }
    state_ = State::over;
    poll_.wait_for({});
}

milliseconds ControlLink::shorter_timeout() const noexcept {
    if (timeout_.count() == 0 || peer_timeout_.count() == 0) {
        return std::max(timeout_, peer_timeout_);
    }
    return std::min(timeout_, peer_timeout_);
}

milliseconds ControlLink::tick() const noexcept {
    const milliseconds shorter = shorter_timeout();
    return shorter.count() == 0 ? kLongestTick
                                : std::clamp(shorter / kTickPart, kShortestTick, kLongestTick);
}

void ControlLink::on_tick() {
    if (state_ == State::over) {
        return;
    }
    const Clock::time_point now = Clock::now();
    if (timeout_.count() > 0 && now - heard_at_ >= timeout_) {
        read_pending(); // this process may have been stopped while the receiver was not
        if (state_ == State::over) {
            return;
        }
        if (now - heard_at_ >= timeout_) {
            fail({ErrorKind::timed_out,
                  fmt::format("{} was silent for {:g} s", peer_,
                              std::chrono::duration<double>(timeout_).count()),
                  0},
                 false);
            return;
        }
    }
    const milliseconds shorter = shorter_timeout();
    // What waits in out_ is a sign of life itself, as soon as the socket takes it.
    if (shorter.count() > 0 && out_.empty() && now - sent_at_ >= shorter / kPingPart) {
        proto::Bytes frame;
        proto::encode_ping(frame);
        send(frame);
    }
}

void ControlLink::on_ready(Readiness ready) {
    // Reading first: an error message may explain why writing fails.
    if (ready.readable || send_error_ != 0) {
        read_pending();
    }
    if (send_error_ != 0) {
        fail(system_error(ErrorKind::network, "lost the connection to the receiver", send_error_),
             false);
    } else if (ready.writable) {
        flush();
    }
}

bool ControlLink::read_frame() {
    if (state_ == State::over) {
        return false;
    }
    const auto space = reader_.space();
    const ssize_t got = channel_.recv(space);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        return errno == EINTR;
    }
    if (got <= 0) {
        fail(got == 0 ? Error{ErrorKind::network, "the receiver closed the connection", 0}
             : errno == EPROTO
                 ? Error{ErrorKind::network,
                         "what came is not what the receiver sent: tampered with or damaged", 0}
                 : system_error(ErrorKind::network, "lost the connection to the receiver", errno),
             false);
        return false;
    }
    heard_at_ = Clock::now();
    proto::Fault fault = reader_.commit(static_cast<std::size_t>(got));
    if (fault == proto::Fault::none && reader_.frame_ready()) {
        fault = handle_frame();
        reader_.next();
    }
    if (fault == proto::Fault::corrupted) {
        fail({ErrorKind::network, "what came from the receiver was damaged on its way", 0}, false);
        return false;
    }
    if (fault != proto::Fault::none) {
        fail({ErrorKind::protocol,
              fmt::format("the receiver broke the protocol: {}", proto::describe(fault)), 0},
             false);
        return false;
    }
    return true;
}

proto::Fault ControlLink::handle_frame() {
    switch (reader_.type()) {
    case proto::FrameType::ping: return proto::Fault::none; // heard_at_ says it all
    case proto::FrameType::error: {
        proto::ErrorMessage message;
        const proto::Fault fault = proto::decode(reader_.body(), message);
        if (fault == proto::Fault::none) {
            fail({error_kind(message.code),
                  fmt::format("the receiver says: {}", escape(message.text)), 0},
                 true);
        }
        return fault;
    }
    case proto::FrameType::welcome: {
        if (state_ != State::await_welcome) {
            return proto::Fault::misplaced_frame;
        }
        proto::Welcome message;
        const proto::Fault fault = proto::decode(reader_.body(), message);
        if (fault == proto::Fault::none) {
            state_ = State::active;
            peer_timeout_ = milliseconds{message.timeout_ms};
            timer_.start(tick(), tick());
            callbacks_.welcome(message);
        }
        return fault;
    }
    default:
        return state_ == State::active || state_ == State::finishing
                   ? handle_answer()
                   : proto::Fault::misplaced_frame;
    }
}

// Everything that only makes sense once the session is open.
proto::Fault ControlLink::handle_answer() {
    // Decodes, and calls back where that went well.
    const auto deliver = [this]<typename Message>(Message message, const auto& callback) {
        const proto::Fault fault = proto::decode(reader_.body(), message);
        if (fault != proto::Fault::none) {
            return fault;
        }
        if constexpr (std::is_void_v<decltype(callback(message))>) {
            callback(message);
            return proto::Fault::none;
        } else {
            return callback(message) ? proto::Fault::none : proto::Fault::misplaced_frame;
        }
    };
    switch (reader_.type()) {
    case proto::FrameType::lost: return deliver(proto::Lost{}, callbacks_.lost);
    case proto::FrameType::file_error: return deliver(proto::FileError{}, callbacks_.file_error);
    case proto::FrameType::done:
        if (state_ != State::finishing) {
            return proto::Fault::misplaced_frame;
        }
        return deliver(proto::Done{}, [this](const proto::Done& done) {
            state_ = State::over;
            poll_.wait_for({});
            callbacks_.done(done);
        });
    default: break;
    }
    if (state_ != State::active) {
        return proto::Fault::misplaced_frame; // everything has been answered
    }
    switch (reader_.type()) {
    case proto::FrameType::present: return deliver(proto::Present{}, callbacks_.present);
    case proto::FrameType::verdict: return deliver(proto::Verdict{}, callbacks_.verdict);
    case proto::FrameType::ack: return deliver(proto::Ack{}, callbacks_.ack);
    case proto::FrameType::again: return deliver(proto::Again{}, callbacks_.again);
    default: return proto::Fault::misplaced_frame;
    }
}

void ControlLink::flush() {
    while (out_sent_ < out_.size() && send_error_ == 0 && state_ != State::over) {
        const ssize_t sent = channel_.send(std::span(out_).subspan(out_sent_));
        if (sent >= 0) {
            out_sent_ += static_cast<std::size_t>(sent);
            sent_at_ = Clock::now();
        } else if (errno == EAGAIN) {
            break;
        } else if (errno != EINTR) {
            // Not the end of it yet: what the receiver said before it closed is still to be read.
            // But nothing must follow what is missing now.
            send_error_ = errno;
        }
    }
    const bool pending = out_sent_ < out_.size();
    if (!pending || send_error_ != 0) {
        out_.clear();
        out_sent_ = 0;
    }
    if (state_ != State::over) {
        poll_.wait_for({true, pending});
    }
}

void ControlLink::fail(Error error, bool said) {
    if (state_ != State::over) {
        state_ = State::over;
        poll_.wait_for({});
        callbacks_.failed(std::move(error), said);
    }
}

} // namespace sluice
