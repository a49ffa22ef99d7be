#include "sender/progress.hpp"

#include <catch2/catch.hpp>

using sluice::progress_line;
using sluice::ProgressSample;
using sluice::RateMeter;
using std::chrono::milliseconds;

namespace {

RateMeter::Clock::time_point at(std::int64_t time_ms) {
    return RateMeter::Clock::time_point{} + milliseconds(time_ms);
}

ProgressSample known(std::uint64_t files, std::uint64_t files_total, std::uint64_t bytes,
                     std::uint64_t bytes_total) {
    return {files, bytes, files_total, bytes_total, true};
}

} // namespace

TEST_CASE("rate meter says nothing before two samples a tenth of a second apart", "[progress]") {
    RateMeter meter;
    CHECK_FALSE(meter.rate().has_value());
    meter.add(at(0), 0);
    CHECK_FALSE(meter.rate().has_value());
    meter.add(at(99), 1000);
    CHECK_FALSE(meter.rate().has_value());
    meter.add(at(100), 1000);
    CHECK(meter.rate().value() == Approx(10'000));
}

TEST_CASE("rate meter forgets what happened before its window", "[progress]") {
    RateMeter meter;
    std::uint64_t bytes = 0;
    for (int i = 0; i < 100; ++i) { // ten seconds at 1 MB/s
        meter.add(at(i * 100), bytes);
        bytes += 100'000;
    }
    CHECK(meter.rate().value() == Approx(1e6));
    for (int i = 100; i < 200; ++i) { // ten seconds at 10 kB/s
        meter.add(at(i * 100), bytes);
        bytes += 1000;
    }
    CHECK(meter.rate().value() == Approx(1e4).epsilon(0.01));
}

TEST_CASE("rate meter sees a transfer that stands still", "[progress]") {
    RateMeter meter;
    meter.add(at(0), 5000);
    for (int i = 1; i < 100; ++i) {
        meter.add(at(i * 100), 5000);
    }
    CHECK(meter.rate().value() == Approx(0));
}

TEST_CASE("rate meter copes with samples far apart and close together", "[progress]") {
    RateMeter meter;
    meter.add(at(0), 0);
    meter.add(at(60'000), 60'000); // much longer than the window
    CHECK(meter.rate().value() == Approx(1000));
    for (int i = 0; i < 100'000; ++i) { // many a millisecond: memory stays bounded, rate right
        meter.add(at(60'000 + i / 10), 60'000 + static_cast<std::uint64_t>(i) / 10);
    }
    CHECK(meter.rate().value() == Approx(1000).epsilon(0.01));
}

TEST_CASE("rate meter starts anew when bytes have to be sent again", "[progress]") {
    RateMeter meter;
    meter.add(at(0), 0);
    meter.add(at(1000), 1'000'000);
    meter.add(at(2000), 500'000);
    CHECK_FALSE(meter.rate().has_value());
    meter.add(at(3000), 700'000);
    CHECK(meter.rate().value() == Approx(200'000));
}

TEST_CASE("progress line shows percent, bytes, files, rate and time left", "[progress]") {
    CHECK(progress_line(known(1234, 58'123, 1'500'000'000, 3'000'000'000), 100e6, 200) ==
          "50%  1.50 GB of 3.00 GB  1,234 of 58,123 files  100 MB/s  0:15 left");
    CHECK(progress_line(known(0, 1, 0, 3'600'000'000), 1e6, 200) ==
          "0%  0 B of 3.60 GB  0 of 1 file  1.00 MB/s  1:00:00 left");
}

TEST_CASE("progress line counts while the walk goes on", "[progress]") {
    const ProgressSample sample{1000, 2'000'000, 5000, 9'000'000, false};
    CHECK(progress_line(sample, 1e6, 200) == "counting  2.00 MB  1,000 files  1.00 MB/s");
    CHECK(progress_line({1, 10, 1, 10, false}, std::nullopt, 200) == "counting  10 B  1 file");
}

TEST_CASE("progress line says 100% only when everything is done", "[progress]") {
    using Catch::Matchers::StartsWith;
    CHECK_THAT(progress_line(known(0, 1, 999'999'999, 1'000'000'000), 1e9, 80), StartsWith("99%"));
    CHECK_THAT(progress_line(known(4, 5, 100, 100), 1e9, 80), StartsWith("99%"));
    CHECK_THAT(progress_line(known(5, 5, 100, 100), 1e9, 80), StartsWith("100%"));
    CHECK_THAT(progress_line(known(5, 5, 200, 100), 1e9, 80), StartsWith("100%")); // it grew
    CHECK_THAT(progress_line(known(0, 0, 0, 0), std::nullopt, 80), StartsWith("100%"));
}

TEST_CASE("progress line leaves the time out where it would be a guess", "[progress]") {
    using Catch::Matchers::Contains;
    CHECK_THAT(progress_line(known(0, 1, 0, 1'000'000), std::nullopt, 99), !Contains("left"));
    CHECK_THAT(progress_line(known(0, 1, 0, 1'000'000), 0.0, 99), !Contains("left"));
    CHECK_THAT(progress_line(known(0, 1, 0, UINT64_MAX), 1.0, 99), !Contains("left"));
    CHECK_THAT(progress_line(known(1, 1, 100, 100), 5.0, 99), !Contains("left"));
}

TEST_CASE("progress line is never wider than the terminal and keeps what matters most",
          "[progress]") {
    const auto sample = known(1234, 58'123, 1'500'000'000, 3'000'000'000);
    for (std::size_t columns = 0; columns < 120; ++columns) {
        const std::string line = progress_line(sample, 100e6, columns);
        CHECK(line.size() <= columns);
        CHECK(line.find('\n') == std::string::npos);
    }
    CHECK(progress_line(sample, 100e6, 50) == "50%  1.50 GB of 3.00 GB  100 MB/s  0:15 left");
    CHECK(progress_line(sample, 100e6, 30) == "50%  100 MB/s  0:15 left");
    CHECK(progress_line(sample, 100e6, 15) == "50%  100 MB/s");
    CHECK(progress_line(sample, 100e6, 3) == "50%");
    CHECK(progress_line(sample, 100e6, 2) == "50");
    CHECK(progress_line(sample, 100e6, 0).empty());
}
