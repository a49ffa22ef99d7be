#include "sender/session_token.hpp"

namespace sluice {

void SessionToken::set(const proto::Token& token) {
    {
        const std::scoped_lock lock(mutex_);
        token_ = token;
    }
    changed_.notify_all();
}

void SessionToken::cancel() {
    {
        const std::scoped_lock lock(mutex_);
        cancelled_ = true;
    }
    changed_.notify_all();
}

std::optional<proto::Token> SessionToken::wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return cancelled_ || token_.has_value(); });
    return cancelled_ ? std::nullopt : token_;
}

} // namespace sluice
