// The token of a session, for streams that begin to connect before the receiver has given it: that
// saves a round trip. Thread-safe.
#pragma once

#include "proto/messages.hpp"

#include <condition_variable>
#include <mutex>
#include <optional>

namespace sluice {

class SessionToken {
public:
    void set(const proto::Token& token);
    // There will be none, or nobody needs it any more.
    void cancel();

    // Waits for either. Nothing: cancelled.
    [[nodiscard]] std::optional<proto::Token> wait();

private:
    std::mutex mutex_;
    std::condition_variable changed_;
    std::optional<proto::Token> token_; // guarded by mutex_
    bool cancelled_ = false;            // guarded by mutex_
};

} // namespace sluice
