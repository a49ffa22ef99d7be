#include "sender/control_link.hpp"

#include "common/exit_code.hpp"
#include "common/text.hpp"
#include "common/usage.hpp"

#include <cerrno>
#include <fmt/format.h>
#include <sys/socket.h>
#include <utility>

namespace sluice {

ControlLink::ControlLink(Loop& loop, UniqueFd socket, Callbacks callbacks)
    : socket_(std::move(socket)), callbacks_(std::move(callbacks)),
      reader_(proto::Role::control, false),
      poll_(loop, socket_.get(), [this](Readiness ready) { on_ready(ready); }) {
    poll_.wait_for({true, false});
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
    count_system_call();
    static_cast<void>(::send(socket_.get(), out_.data() + out_sent_, out_.size() - out_sent_,
                             MSG_NOSIGNAL | MSG_DONTWAIT));
    state_ = State::over;
    poll_.wait_for({});
}

void ControlLink::on_ready(Readiness ready) {
    // Reading first: an error message may explain why writing fails.
    if (ready.readable) {
        read_pending();
    }
    if (ready.writable) {
        flush();
    }
}

bool ControlLink::read_frame() {
    if (state_ == State::over) {
        return false;
    }
    const auto space = reader_.space();
    count_system_call();
    const ssize_t got = ::recv(socket_.get(), space.data(), space.size(), 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        return errno == EINTR;
    }
    if (got <= 0) {
        fail(got == 0
                 ? Error{ErrorKind::network, "the receiver closed the connection", 0}
                 : system_error(ErrorKind::network, "lost the connection to the receiver", errno));
        return false;
    }
    proto::Fault fault = reader_.commit(static_cast<std::size_t>(got));
    if (fault == proto::Fault::none && reader_.frame_ready()) {
        fault = handle_frame();
        reader_.next();
    }
    if (fault != proto::Fault::none) {
        fail({ErrorKind::protocol,
              fmt::format("the receiver broke the protocol: {}", proto::describe(fault)), 0});
        return false;
    }
    return true;
}

proto::Fault ControlLink::handle_frame() {
    // Decodes, and calls back where that went well.
    const auto deliver = [this]<typename Message>(Message message, const auto& callback) {
        const proto::Fault fault = proto::decode(reader_.body(), message);
        if (fault == proto::Fault::none) {
            callback(message);
        }
        return fault;
    };
    const bool active = state_ == State::active;
    switch (reader_.type()) {
    case proto::FrameType::welcome:
        if (state_ != State::await_welcome) {
            break;
        }
        state_ = State::active;
        return deliver(proto::Welcome{}, callbacks_.welcome);
    case proto::FrameType::verdict: {
        bool expected = active;
        const auto fault = deliver(proto::Verdict{}, [&](const proto::Verdict& verdict) {
            expected = expected && callbacks_.verdict(verdict);
        });
        return fault == proto::Fault::none && !expected ? proto::Fault::misplaced_frame : fault;
    }
    case proto::FrameType::file_error:
        return active || state_ == State::finishing
                   ? deliver(proto::FileError{}, callbacks_.file_error)
                   : proto::Fault::misplaced_frame;
    case proto::FrameType::done:
        if (state_ != State::finishing) {
            break;
        }
        return deliver(proto::Done{}, [this](const proto::Done& done) {
            state_ = State::over;
            poll_.wait_for({});
            callbacks_.done(done);
        });
    case proto::FrameType::error:
        return deliver(proto::ErrorMessage{}, [this](const proto::ErrorMessage& message) {
            fail({error_kind(message.code),
                  fmt::format("the receiver says: {}", escape(message.text)), 0});
        });
    default: break;
    }
    return proto::Fault::misplaced_frame;
}

void ControlLink::flush() {
    while (out_sent_ < out_.size() && state_ != State::over) {
        count_system_call();
        const ssize_t sent =
            ::send(socket_.get(), out_.data() + out_sent_, out_.size() - out_sent_, MSG_NOSIGNAL);
        if (sent >= 0) {
            out_sent_ += static_cast<std::size_t>(sent);
        } else if (errno == EAGAIN) {
            break;
        } else if (errno != EINTR) {
            // Not the end of it yet: what the receiver said before it closed is still to be read.
            out_sent_ = out_.size();
        }
    }
    const bool pending = out_sent_ < out_.size();
    if (!pending) {
        out_.clear();
        out_sent_ = 0;
    }
    if (state_ != State::over) {
        poll_.wait_for({true, pending});
    }
}

void ControlLink::fail(Error error) {
    if (state_ != State::over) {
        state_ = State::over;
        poll_.wait_for({});
        callbacks_.failed(std::move(error));
    }
}

} // namespace sluice
