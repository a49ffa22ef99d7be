// What the programs print with --json.
#pragma once

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

namespace sluice::test {

using Json = nlohmann::json;

inline std::vector<std::string> lines_of(const std::string& text) {
    std::vector<std::string> lines;
    std::istringstream stream(text);
    for (std::string line; std::getline(stream, line);) {
        lines.push_back(line);
    }
    return lines;
}

// Fails the test at a line that is no JSON object with an "event".
inline std::vector<Json> events_of(const std::string& text) {
    std::vector<Json> events;
    CHECK((text.empty() || text.back() == '\n'));
    for (const std::string& line : lines_of(text)) {
        INFO(line);
        const Json event = Json::parse(line, nullptr, false);
        REQUIRE(event.is_object());
        REQUIRE(event.at("event").is_string());
        events.push_back(event);
    }
    return events;
}
inline std::vector<Json> events_of(const std::string& text, const std::string& kind) {
    std::vector<Json> events = events_of(text);
    std::erase_if(events, [&](const Json& event) { return event["event"] != kind; });
    return events;
}

// The last event, which must be of that kind.
inline Json last_event(const std::string& text, const std::string& kind) {
    const std::vector<Json> events = events_of(text);
    REQUIRE_FALSE(events.empty());
    REQUIRE(events.back()["event"] == kind);
    return events.back();
}

} // namespace sluice::test
