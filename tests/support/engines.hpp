// For tests: a receiver on a thread of this process, and senders beside it.
#pragma once

#include "receiver/receiver.hpp"
#include "sender/sender.hpp"
#include "tests/support/temp_dir.hpp"

#include <catch2/catch.hpp>
#include <cstdint>
#include <cstdlib>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace sluice::test {

class EngineReceiver final : private ReceiverObserver {
public:
    explicit EngineReceiver(ReceiverOptions options) {
        options.port = 0;
        ReceiverObserver& observer = *this; // a private base: make_unique could not convert
        receiver_ = std::make_unique<Receiver>(std::move(options), observer);
        const Status started = receiver_->start();
        INFO((started ? "" : started.error().message));
        REQUIRE(started);
        thread_ = std::thread([this] { static_cast<void>(receiver_->run(false)); });
        port_ = listening_.get_future().get();
    }
    ~EngineReceiver() {
        receiver_->stop();
        receiver_->stop();
        thread_.join();
    }
    EngineReceiver(const EngineReceiver&) = delete;
    EngineReceiver& operator=(const EngineReceiver&) = delete;

    [[nodiscard]] std::uint16_t port() const noexcept { return port_; }
    // Of the sessions that have ended.
    [[nodiscard]] std::vector<SessionReport> reports() {
        const std::scoped_lock lock(mutex_);
        return reports_;
    }

private:
    void listening(const std::string& address, bool /*discards*/) override {
        const std::string port = address.substr(address.rfind(':') + 1);
        listening_.set_value(static_cast<std::uint16_t>(std::stoul(port)));
    }
    void session_started(std::uint64_t /*serial*/, const std::string& /*peer*/,
                         const std::string& /*key*/) override {}
    void file_failed(std::uint64_t /*serial*/, const std::string& /*path*/,
                     const std::string& /*reason*/) override {}
    void file_listed(std::uint64_t /*serial*/, const std::string& /*path*/, std::uint64_t /*size*/,
                     const std::string& /*digest*/) override {}
    void session_ended(const SessionReport& report) override {
        const std::scoped_lock lock(mutex_);
        reports_.push_back(report);
    }
    void refused(const Refusals& /*refusals*/) override {}
    void notice(const std::string& /*line*/) override {}

    std::unique_ptr<Receiver> receiver_;
    std::promise<std::uint16_t> listening_;
    std::uint16_t port_ = 0;
    std::mutex mutex_;
    std::vector<SessionReport> reports_;
    std::thread thread_;
};

class QuietSender final : private SenderObserver {
public:
    // To the receiver at `port` of this machine.
    [[nodiscard]] static SenderReport send(SenderOptions options, std::uint16_t port) {
        options.destination.host = "127.0.0.1";
        options.destination.port = port;
        QuietSender observer;
        return Sender(std::move(options), observer).run(false);
    }

private:
    void file_failed(const Error& /*error*/) override {}
    void warning(const std::string& /*line*/) override {}
    void detail(const std::string& /*line*/) override {}
    void would_send(const std::string& /*path*/, std::uint64_t /*bytes*/) override {}
    void reconnecting(const Error& /*reason*/, unsigned /*attempt*/, double /*delay*/) override {}
    [[nodiscard]] std::chrono::milliseconds progress_interval() const noexcept override {
        return std::chrono::milliseconds{0};
    }
    void progress(const ProgressSample& /*sample*/) override {}
    void finished(const SenderReport& /*report*/) override {}
};

} // namespace sluice::test
