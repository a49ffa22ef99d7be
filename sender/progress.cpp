#include "sender/progress.hpp"

#include "common/text.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <vector>

namespace sluice {

namespace {

constexpr std::chrono::seconds kWindow{5};
constexpr std::chrono::milliseconds kShortest{100}; // between two points; bounds their number
constexpr double kLongestLeft_s = 100.0 * 3600;     // above that an estimate says nothing

struct Field {
    int priority = 0; // the lowest goes first when the line is too long
    std::string text;
};

std::string percent(const ProgressSample& sample) {
    if (!sample.total_known) {
        return "counting";
    }
    if (sample.bytes_done >= sample.bytes_total) {
        // Empty files and directories come last now and then: all bytes need not be all.
        return sample.files_done >= sample.files_total ? "100%" : "99%";
    }
    const double share =
        static_cast<double>(sample.bytes_done) / static_cast<double>(sample.bytes_total);
    return fmt::format("{}%", std::min(99, static_cast<int>(share * 100)));
}

std::string files(const ProgressSample& sample) {
    const bool many = (sample.total_known ? sample.files_total : sample.files_done) != 1;
    const char* const noun = many ? "files" : "file";
    if (!sample.total_known) {
        return fmt::format("{} {}", format_count(sample.files_done), noun);
    }
    return fmt::format("{} of {} {}", format_count(sample.files_done),
                       format_count(sample.files_total), noun);
}

std::string bytes(const ProgressSample& sample) {
    if (!sample.total_known) {
        return format_bytes(sample.bytes_done);
    }
    return fmt::format("{} of {}", format_bytes(sample.bytes_done),
                       format_bytes(sample.bytes_total));
}

// Minutes and seconds even for a few seconds, so that the line does not jump near the end.
std::optional<std::string> time_left(const ProgressSample& sample, double rate) {
    if (!sample.total_known || sample.bytes_done >= sample.bytes_total || !(rate > 0)) {
        return std::nullopt;
    }
    const double seconds = static_cast<double>(sample.bytes_total - sample.bytes_done) / rate;
    if (!(seconds < kLongestLeft_s)) {
        return std::nullopt;
    }
    return seconds < 60 ? fmt::format("0:{:02} left", static_cast<int>(seconds))
                        : format_seconds(seconds) + " left";
}

std::size_t width(const std::vector<Field>& fields) {
    std::size_t sum = 0;
    for (const Field& field : fields) {
        sum += field.text.size() + 2;
    }
    return sum == 0 ? 0 : sum - 2;
}

} // namespace

void RateMeter::add(Clock::time_point now, std::uint64_t bytes_done) {
    if (!points_.empty() && bytes_done < points_.back().bytes) {
        points_.clear(); // something has to be sent again: what was measured is no longer true
    }
    if (points_.size() >= 2 && now - points_[points_.size() - 2].time < kShortest) {
        points_.back() = {now, bytes_done};
    } else {
        points_.push_back({now, bytes_done});
    }
    // The oldest point may lie before the window if nothing was reported for long: with two
    // points there is still a rate.
    while (points_.size() > 2 && now - points_.front().time > kWindow) {
        points_.pop_front();
    }
}

std::optional<double> RateMeter::rate() const {
    if (points_.empty()) {
        return std::nullopt;
    }
    const auto elapsed = points_.back().time - points_.front().time;
    if (elapsed < kShortest) {
        return std::nullopt;
    }
    return static_cast<double>(points_.back().bytes - points_.front().bytes) /
           std::chrono::duration<double>(elapsed).count();
}

std::string progress_line(const ProgressSample& sample, std::optional<double> rate,
                          std::size_t columns) {
    std::vector<Field> fields;
    fields.push_back({5, percent(sample)});
    fields.push_back({2, bytes(sample)});
    fields.push_back({1, files(sample)});
    if (rate) {
        fields.push_back({4, format_rate(*rate)});
        if (auto left = time_left(sample, *rate)) {
            fields.push_back({3, std::move(*left)});
        }
    }
    while (fields.size() > 1 && width(fields) > columns) {
        fields.erase(
            std::min_element(fields.begin(), fields.end(), [](const Field& a, const Field& b) {
                return a.priority < b.priority;
            }));
    }
    std::string line;
    for (const Field& field : fields) {
        line += line.empty() ? "" : "  ";
        line += field.text;
    }
    line.resize(std::min(line.size(), columns)); // ASCII only, so bytes are columns
    return line;
}

} // namespace sluice
