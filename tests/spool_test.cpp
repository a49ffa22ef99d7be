// Records kept in memory and then in a file: none that was accepted is lost, changed or moved.
#include "receiver/spool.hpp"
#include "tests/support/temp_dir.hpp"

#include <catch2/catch.hpp>
#include <csignal>
#include <fcntl.h>
#include <sys/resource.h>
#include <thread>

using namespace sluice;
using namespace sluice::test;

namespace {

// About 300 bytes: 5,000 of them are more than a MiB.
std::string record(std::size_t number) {
    return std::to_string(number) + std::string(300, 'r');
}

int fill(Spool& spool) {
    int error = 0;
    for (std::size_t number = 0; number < 5'000 && error == 0; ++number) {
        error = spool.append(record(number), "");
    }
    return error;
}

std::vector<std::string> read_all(const Spool& spool) {
    std::vector<std::string> records;
    CHECK(spool.for_each([&](std::string_view one) { records.emplace_back(one); }) == 0);
    return records;
}

UniqueFd open_directory(const TempDir& directory) {
    return UniqueFd::adopt(::open(directory.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

} // namespace

TEST_CASE("head and tail become one record, and either may be empty") {
    Spool spool([] { return -EIO; }, "spool");
    CHECK(read_all(spool).empty());
    CHECK(spool.append("head", "tail") == 0);
    CHECK(spool.append("", std::string_view("\0\n", 2)) == 0);
    CHECK(spool.append("", "") == 0);
    CHECK(spool.append("head", "") == 0);
    const std::vector<std::string> expected{"headtail", std::string("\0\n", 2), "", "head"};
    CHECK(read_all(spool) == expected);
    CHECK(read_all(spool) == expected); // reading does not use them up
}

TEST_CASE("records beyond what fits into memory go to a private file of the given name") {
    const TempDir directory;
    const UniqueFd fd = open_directory(directory);
    Spool spool([&] { return fd.get(); }, "some-name");
    std::vector<std::string> expected;
    for (std::size_t number = 0; number < 20'000; ++number) {
        expected.push_back(record(number));
        REQUIRE(spool.append(expected.back(), "") == 0);
        CHECK((number > 0 || directory.list().empty()));
    }
    CHECK((read_all(spool) == expected));
    REQUIRE(directory.list() == std::vector<std::string>{"some-name"});
    CHECK((directory.status("some-name").st_mode & 0777) == 0600);
    expected.push_back("one more");
    CHECK(spool.append("one ", "more") == 0); // goes on after reading
    directory.remove("some-name");            // it is open
    CHECK((read_all(spool) == expected));
}

TEST_CASE("one record may be larger than all that fits into memory") {
    const TempDir directory;
    const UniqueFd fd = open_directory(directory);
    Spool spool([&] { return fd.get(); }, "spool");
    const std::vector<std::string> expected{"small", std::string(std::size_t{5} << 20, 'x'), "end"};
    for (const std::string& one : expected) {
        CHECK(spool.append(one, "") == 0);
    }
    CHECK((read_all(spool) == expected));
}

TEST_CASE("a directory for the file that cannot be had is the errno of append") {
    Spool spool([] { return -EMFILE; }, "spool");
    CHECK(fill(spool) == EMFILE);
    CHECK(read_all(spool).size() > 1'000); // those before it stay
}

TEST_CASE("what an earlier session spooled under the name is replaced") {
    const TempDir directory;
    const UniqueFd fd = open_directory(directory);
    directory.write_file("spool", std::string(std::size_t{8} << 20, 'o'));
    Spool spool([&] { return fd.get(); }, "spool");
    REQUIRE(fill(spool) == 0);
    const std::vector<std::string> records = read_all(spool);
    REQUIRE(records.size() == 5'000);
    CHECK(records.front() == record(0));
    CHECK(records.back() == record(4'999));
    CHECK(directory.status("spool").st_size < 2 << 20);
}

TEST_CASE("a symbolic link under the name of the file is not followed") {
    const TempDir directory;
    const UniqueFd fd = open_directory(directory);
    directory.write_file("victim", "somebody's");
    directory.symlink("victim", "spool");
    Spool spool([&] { return fd.get(); }, "spool");
    CHECK(fill(spool) == ELOOP);
    CHECK(directory.read_file("victim") == "somebody's");
}

TEST_CASE("a write that fails for a while loses no record that was accepted, and keeps the order") {
    const TempDir directory;
    const UniqueFd fd = open_directory(directory);
    Spool spool([&] { return fd.get(); }, "spool");
    std::vector<std::string> accepted;
    rlimit before{};
    REQUIRE(::getrlimit(RLIMIT_FSIZE, &before) == 0);
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit tight{std::size_t{1} << 19, before.rlim_max};
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &tight) == 0);
    std::size_t number = 0;
    for (int failures = 0; failures < 3 && number < 10'000; ++number) {
        const int error = spool.append(record(number), "");
        failures += error != 0 ? 1 : 0;
        if (error == 0) {
            accepted.push_back(record(number));
        }
    }
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &before) == 0);
    for (const std::size_t end = number + 5'000; number < end; ++number) {
        accepted.push_back(record(number));
        REQUIRE(spool.append(accepted.back(), "") == 0);
    }
    CHECK((read_all(spool) == accepted)); // and none that was refused
}

TEST_CASE("records of several threads stay whole, and those of one thread in their order") {
    const TempDir directory;
    const UniqueFd fd = open_directory(directory);
    Spool spool([&] { return fd.get(); }, "spool");
    std::vector<std::thread> threads;
    for (std::size_t thread = 0; thread < 4; ++thread) {
        threads.emplace_back([&spool, thread] {
            for (std::size_t number = 0; number < 2'000; ++number) {
                static_cast<void>(spool.append("", record(thread * 10'000 + number)));
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    const std::vector<std::string> records = read_all(spool);
    CHECK(records.size() == 8'000);
    std::vector<std::size_t> next{0, 10'000, 20'000, 30'000};
    bool in_order = true;
    for (const std::string& one : records) {
        const std::size_t number = std::stoul(one);
        in_order = in_order && one == record(number) && number == next[number / 10'000]++;
    }
    CHECK(in_order);
}
