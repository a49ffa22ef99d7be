// What many end-to-end tests ask of a program that has run.
#pragma once

#include "tests/support/process.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <iostream>
#include <string>

namespace sluice::test {

inline bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

inline bool is_one_line(const std::string& text) {
    return std::count(text.begin(), text.end(), '\n') == 1 && text.back() == '\n';
}

inline void skip(const std::string& reason) {
    std::cout << "skipped: " << reason << '\n';
}

inline void check_exit(const Finished& finished, int code, const std::string& word) {
    INFO(finished.err);
    CHECK(finished.code == code);
    CHECK(is_one_line(finished.err));
    CHECK(contains(finished.err, word));
    CHECK(finished.out.empty());
}

} // namespace sluice::test
