#include "sender/console.hpp"

#include "common/text.hpp"
#include "sender/summary.hpp"

#include <chrono>
#include <cstdio>
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

namespace sluice {

namespace {

constexpr std::size_t kDefaultColumns = 80;

std::size_t terminal_columns() {
    winsize size{};
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col
                                                                           : kDefaultColumns;
}

class ConsoleObserver final : public SenderObserver {
public:
    explicit ConsoleObserver(LogLevel level)
        : level_(level), terminal_(level != LogLevel::quiet && isatty(STDERR_FILENO) == 1) {}

    void file_failed(const Error& error) override {
        clear_line();
        log_error(error.message);
    }
    void warning(const std::string& line) override {
        clear_line();
        log_warning(line);
    }
    void detail(const std::string& line) override {
        clear_line();
        log_verbose(line);
    }
    void would_send(const std::string& path, std::uint64_t) override {
        if (level_ != LogLevel::quiet) {
            std::fputs((path + "\n").c_str(), stdout);
        }
    }
    void reconnecting(const Error& reason, unsigned attempt, double delay_seconds) override {
        detail(fmt::format("{}; attempt {} in {:.1f} s", reason.message, attempt, delay_seconds));
    }
    [[nodiscard]] std::chrono::milliseconds progress_interval() const noexcept override {
        return terminal_ ? kProgressInterval : std::chrono::milliseconds{0};
    }
    void progress(const ProgressSample& sample) override {
        meter_.add(RateMeter::Clock::now(), sample.bytes_done);
        // The last column stays free: some terminals wrap when it is written.
        const std::string line = progress_line(sample, meter_.rate(), terminal_columns() - 1);
        std::fputs(("\r\033[K" + line).c_str(), stderr); // ECMA-48: erase to the end of the line
        std::fflush(stderr);
        line_shown_ = true;
    }
    void finished(const SenderReport& report) override {
        clear_line();
        if (report.failure) {
            log_error(report.failure->message);
            return;
        }
        if (level_ != LogLevel::quiet) {
            std::fputs(summary(report).c_str(), stderr);
        }
    }

private:
    void clear_line() {
        if (line_shown_) {
            std::fputs("\r\033[K", stderr);
            line_shown_ = false;
        }
    }

    static constexpr std::chrono::milliseconds kProgressInterval{200};

    const LogLevel level_;
    const bool terminal_;
    RateMeter meter_;
    bool line_shown_ = false;
};

} // namespace

std::unique_ptr<SenderObserver> make_console_observer(LogLevel level) {
    return std::make_unique<ConsoleObserver>(level);
}

} // namespace sluice
