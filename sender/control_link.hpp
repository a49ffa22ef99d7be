// The control connection as the sender sees it: frames out, answers in. Lives on the thread of its
// loop.
//
//     AwaitWelcome --welcome--> Active --finish--> Finishing --done--> Over
//     any state --error, end of stream--> Over
#pragma once

#include "common/loop.hpp"
#include "common/result.hpp"
#include "common/unique_fd.hpp"
#include "proto/frame_reader.hpp"

#include <cstddef>
#include <functional>
#include <string>

namespace sluice {

class ControlLink {
public:
    struct Callbacks {
        std::function<void(const proto::Welcome&)> welcome;
        // False: the verdict answers no offer.
        std::function<bool(const proto::Verdict&)> verdict;
        std::function<void(const proto::FileError&)> file_error;
        std::function<void(const proto::Done&)> done;
        std::function<void(Error)> failed; // once, and nothing after it
    };

    ControlLink(Loop& loop, UniqueFd socket, Callbacks callbacks);

    // Queues complete frames. Whoever calls bounds what is under way.
    void send(const proto::Bytes& frames);
    // Queues the Finish, after which the receiver may say Done.
    void finish(const proto::Finish& message);
    // Handles what has already come in, whatever the loop is doing.
    void read_pending();
    // Sends as much as the socket takes at once: a last word before everything ends.
    void send_last(const proto::Bytes& frames);

private:
    enum class State : unsigned char { await_welcome, active, finishing, over };

    void on_ready(Readiness ready);
    [[nodiscard]] bool read_frame();
    [[nodiscard]] proto::Fault handle_frame();
    void flush();
    void fail(Error error);

    UniqueFd socket_;
    Callbacks callbacks_;
    proto::FrameReader reader_;
    State state_ = State::await_welcome;
    proto::Bytes out_;
    std::size_t out_sent_ = 0;
    Poll poll_;
};

} // namespace sluice
