#include "common/key_file.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/support/unprivileged.hpp"

#include <catch2/catch.hpp>
#include <cstdlib>
#include <iostream>
#include <optional>
#include <string>
#include <sys/stat.h>
#include <unistd.h>

namespace sluice {
namespace {

using test::TempDir;

std::string key_text(char digit) {
    return std::string(kKeyPrefix) + std::string(64, digit);
}

// What parsing complains about; it never shows what could be a key.
std::string complaint(const std::string& text) {
    const auto parsed = parse_key_file(text, "keys");
    REQUIRE_FALSE(parsed);
    CHECK(parsed.error().kind == ErrorKind::usage);
    const std::string message = parsed.error().message;
    CHECK(message.find("aaaa") == std::string::npos);
    CHECK(message.find("bbbb") == std::string::npos);
    return message;
}

bool has(const std::string& text, const std::string& part) {
    INFO(text);
    return text.find(part) != std::string::npos;
}

} // namespace

TEST_CASE("a line of a key file has a name, a key and rights") {
    const auto parsed =
        parse_key_file("# heading\n\n  \t\n" + key_text('0') + "\nalice\t" + key_text('a') +
                           "  dir=backups/alice/ access=write max-bytes=1.5G"
                           " max-files=7 max-sessions=2\r\nbob " +
                           key_text('b') + " access=read",
                       "keys");
    REQUIRE(parsed);
    REQUIRE(parsed->size() == 3);
    const AccessKey& first = (*parsed)[0].key;
    CHECK(first.name == "default");
    CHECK((*parsed)[0].line == 4);
    CHECK(first.rights.directory.empty());
    CHECK((first.rights.may_write && first.rights.may_probe));
    CHECK(first.rights.max_bytes == 0);
    CHECK(first.identity == key_identity(first.secret));
    const AccessKey& alice = (*parsed)[1].key;
    CHECK(alice.name == "alice");
    CHECK(alice.rights.directory == "backups/alice");
    CHECK((alice.rights.may_write && !alice.rights.may_probe));
    CHECK(alice.rights.max_bytes == 1'610'612'736);
    CHECK(alice.rights.max_files == 7);
    CHECK(alice.rights.max_sessions == 2);
    CHECK(alice.secret.bytes()[31] == std::byte{0xaa});
    const AccessKey& bob = (*parsed)[2].key;
    CHECK((!bob.rights.may_write && bob.rights.may_probe));
    CHECK(bob.identity != alice.identity);
}

TEST_CASE("a bad line of a key file is named, and nothing of it is shown") {
    const std::string a = key_text('a');
    const std::string good = "alice " + a;
    CHECK(has(complaint(""), "keys holds no key"));
    CHECK(has(complaint("# nothing\n"), "holds no key"));
    CHECK(has(complaint(good + "\nalice " + key_text('b')), "keys:2: the name 'alice'"));
    CHECK(has(complaint(good + "\n\nbob " + a), "keys:3: the key is that of line 1"));
    CHECK(has(complaint(a + "\n" + key_text('b')), "keys:2: the name 'default'"));
    CHECK(has(complaint("alice"), "keys:1: there is no key"));
    CHECK(has(complaint("alice " + std::string(64, 'a')), "no key"));
    CHECK(has(complaint(std::string(64, 'a')), "keys:1: the first word"));
    CHECK(has(complaint("al\x1b[1mice " + a), "keys:1: the first word"));
    CHECK(has(complaint("alice " + a.substr(0, a.size() - 1)), "damaged"));
    CHECK(has(complaint("alice " + a + "a"), "damaged"));
    CHECK(
        has(complaint("alice " + std::string(kKeyPrefix) + std::string(63, 'a') + 'A'), "damaged"));
    CHECK(has(complaint("alice " + a.substr(0, 40) + " " + a.substr(40)), "damaged"));
    CHECK(has(complaint(good + " aaaa"), "word 3 is no OPTION=VALUE"));
    CHECK(has(complaint(good + " aaaa=1"), "word 3: there is no such option"));
    CHECK(has(complaint(good + " access=all"), "access: 'all' is not"));
    CHECK(complaint(good + " access=" + key_text('c')) ==
          "keys:1: word 3: access: a key is not read, write or read-write");
    CHECK(has(complaint(good + " max-bytes=0"), "max-bytes: '0' is not"));
    CHECK(has(complaint(good + " max-files=-1"), "max-files: '-1' is not"));
    CHECK(has(complaint(good + " max-sessions=1x"), "max-sessions: '1x' is not"));
    CHECK(has(complaint(good + " dir="), "dir: a path is missing"));
    CHECK(has(complaint(good + " dir=a dir=b"), "dir is given twice"));
    CHECK(has(complaint("# " + std::string(kMaxKeyLineBytes, 'x')), "keys:1: the line is longer"));
}

TEST_CASE("a key file has a bounded number of keys") {
    std::string text;
    for (std::size_t index = 0; index <= kMaxKeys; ++index) {
        std::string digits = std::to_string(index);
        digits.insert(0, 64 - digits.size(), '0');
        text += "n" + std::to_string(index) + " " + std::string(kKeyPrefix) + digits + "\n";
    }
    CHECK(has(complaint(text), "keys:" + std::to_string(kMaxKeys + 1) + ": more than"));
    text.resize(text.rfind("n" + std::to_string(kMaxKeys)));
    CHECK(parse_key_file(text, "keys"));
}

TEST_CASE("damaged key files are parsed or refused, and never shown") {
    const std::string text =
        "alice " + key_text('a') + " dir=x access=read\nbob " + key_text('b') + " max-files=3\n";
    for (std::size_t at = 0; at < text.size(); ++at) {
        for (const char damage : {'\0', '\n', ' ', '=', 'x', '\xff'}) {
            std::string damaged = text;
            damaged[at] = damage;
            const auto parsed = parse_key_file(damaged, "keys");
            if (!parsed) {
                CHECK(parsed.error().message.find("aaaa") == std::string::npos);
                CHECK(parsed.error().message.find("bbbb") == std::string::npos);
            }
        }
        CHECK((at == 0 || !parse_key_file(text.substr(0, at), "keys") ||
               parse_key_file(text.substr(0, at), "keys")->size() <= 2));
    }
}

TEST_CASE("a generated key is one that both ends can read, and nobody else") {
    const TempDir directory;
    const std::string path = directory.path("key");
    const mode_t umask_before = ::umask(0);
    const auto print = generate_key_file(path);
    ::umask(umask_before);
    REQUIRE(print);
    CHECK((directory.status("key").st_mode & 07777) == 0600);
    CHECK(has(directory.read_file("key"), "# A key of sluice, " + *print));
    const auto key = read_sender_key(path);
    REQUIRE(key);
    CHECK(fingerprint((*key)->identity) == *print);
    const auto keys = read_key_file(path);
    REQUIRE(keys);
    CHECK(keys->front().key.name == "default");

    const std::string before = directory.read_file("key");
    const auto again = generate_key_file(path);
    REQUIRE_FALSE(again);
    CHECK(again.error().kind == ErrorKind::usage);
    CHECK(directory.read_file("key") == before);
    directory.symlink("elsewhere", "link");
    CHECK_FALSE(generate_key_file(directory.path("link")));
    CHECK_FALSE(directory.exists("elsewhere"));
    const auto nowhere = generate_key_file(directory.path("no/key"));
    REQUIRE_FALSE(nowhere);
    CHECK(nowhere.error().kind == ErrorKind::file_io);
    const auto other = generate_key_file(directory.path("other"));
    REQUIRE(other);
    CHECK(*other != *print);
}

TEST_CASE("a key file that others can reach is refused") {
    const TempDir directory;
    for (const mode_t mode : {0640U, 0604U, 0620U, 0602U, 0610U, 0601U, 0644U, 0666U}) {
        directory.write_file("key", key_text('a'), mode);
        const auto read = read_key_file(directory.path("key"));
        REQUIRE_FALSE(read);
        CHECK(read.error().kind == ErrorKind::usage);
        CHECK(has(read.error().message, "chmod 600 " + directory.path("key")));
        CHECK_FALSE(has(read.error().message, "aaaa"));
    }
    for (const mode_t mode : {0600U, 0400U}) {
        directory.write_file("key", key_text('a'), mode);
        CHECK(read_key_file(directory.path("key")));
    }
}

TEST_CASE("what is no file cannot be a key file") {
    const TempDir directory;
    const auto missing = read_key_file(directory.path("missing"));
    REQUIRE_FALSE(missing);
    CHECK(missing.error().kind == ErrorKind::file_io);
    const auto folder = read_key_file(directory.path());
    REQUIRE_FALSE(folder);
    CHECK(has(folder.error().message, "regular file"));
    REQUIRE(::mkfifo(directory.path("fifo").c_str(), 0600) == 0);
    CHECK_FALSE(read_key_file(directory.path("fifo")));
    directory.make_hole("large", kMaxKeyFileBytes + 1);
    directory.set_mode("large", 0600);
    const auto large = read_key_file(directory.path("large"));
    REQUIRE_FALSE(large);
    CHECK(has(large.error().message, "larger than"));
}

TEST_CASE("a key in the place of its file's name is not shown") {
    const TempDir directory;
    const std::string shown = "(a key, not a file name)";
    for (const std::string& name :
         {key_text('a'), "x/" + key_text('a').substr(0, 27), "sluice-key-file." + key_text('a')}) {
        const std::string path = directory.path(name);
        CHECK(shown_path(path) == shown);
        for (const Error& error : {read_key_file(path).error(), read_sender_key(path).error(),
                                   key_file_error(path, 1, "")}) {
            CHECK(has(error.message, shown));
            CHECK_FALSE(has(error.message, "aaaa"));
        }
    }
    const std::string taken = directory.path(key_text('a'));
    REQUIRE(generate_key_file(taken));
    const auto again = generate_key_file(taken);
    REQUIRE_FALSE(again);
    CHECK_FALSE(has(again.error().message, "aaaa"));
    for (const char* const name : {"", "key", "sluice-key-", "sluice-key-of-alice",
                                   "sluice-key-aaaaaaaaaaaaaaa", "sluice-key-20261123/key"}) {
        CHECK(shown_path(name) == name);
    }
    CHECK(shown_path("a\nb") == "a\\nb");
}

TEST_CASE("a key file belongs to its reader, or to root, who may lend it") {
    if (::geteuid() != 0) {
        std::cout << "skipped: only root can give files away\n";
        return;
    }
    constexpr uid_t kNobody = 65'534;
    const TempDir directory;
    directory.set_mode("", 0755);
    const std::string path = directory.path("key");
    const auto refused = [&] {
        const auto read = read_key_file(path);
        return read ? std::string() : read.error().message;
    };
    directory.write_file("key", key_text('a'), 0600);
    REQUIRE(::chown(path.c_str(), kNobody, kNobody) == 0);
    CHECK(has(refused(), "belongs to user 65534"));
    CHECK(test::as_nobody([&] { test::expect(refused().empty(), refused()); }) == "");
    REQUIRE(::chown(path.c_str(), 0, kNobody) == 0);
    directory.set_mode("key", 0640);
    CHECK(has(refused(), "chmod 600"));  // root needs no help of a group
    CHECK(read_key_file(path, kNobody)); // but for one that it will become
    CHECK_FALSE(read_key_file(path, 1));
    CHECK(test::as_nobody([&] { test::expect(refused().empty(), refused()); }) == "");
    directory.set_mode("key", 0660);
    CHECK_FALSE(read_key_file(path, kNobody));
    CHECK(test::as_nobody([&] { test::expect(has(refused(), "change"), "accepted"); }) == "");
}

TEST_CASE("a sender's file has one key") {
    const TempDir directory;
    directory.write_file("one", "alice " + key_text('a') + " dir=x", 0600);
    const auto one = read_sender_key(directory.path("one"));
    REQUIRE(one);
    CHECK((*one)->rights.directory.empty()); // a matter of the receiver
    directory.write_file("two", key_text('a') + "\n\nbob " + key_text('b') + "\n", 0600);
    const auto two = read_sender_key(directory.path("two"));
    REQUIRE_FALSE(two);
    CHECK(has(two.error().message, "holds 2 keys (lines 1, 3): a sender's file has one"));
}

TEST_CASE("the key file is that of the option, of the environment, or the default") {
    const TempDir directory;
    const auto restore = [](const char* name, const char* value) {
        value != nullptr ? ::setenv(name, value, 1) : ::unsetenv(name);
    };
    const auto saved = [](const char* name) {
        const char* const value = std::getenv(name);
        return value != nullptr ? std::optional<std::string>(value) : std::nullopt;
    };
    const auto config = saved("XDG_CONFIG_HOME");
    const auto home = saved("HOME");
    const auto file = saved("SLUICE_KEY_FILE");

    ::setenv("SLUICE_KEY_FILE", "from environment", 1);
    CHECK(choose_key_file("from option").path == "from option");
    CHECK(choose_key_file(std::nullopt).path == "from environment");
    ::setenv("SLUICE_KEY_FILE", "", 1);
    CHECK(choose_key_file(std::nullopt).path.empty());
    ::unsetenv("SLUICE_KEY_FILE");
    ::setenv("HOME", directory.path("home").c_str(), 1);
    ::setenv("XDG_CONFIG_HOME", directory.path("config").c_str(), 1);
    CHECK(choose_key_file(std::nullopt).path.empty());
    directory.write_file("config/sluice/key", "");
    directory.write_file("home/.config/sluice/key", "");
    CHECK(choose_key_file(std::nullopt).path == directory.path("config/sluice/key"));
    ::setenv("XDG_CONFIG_HOME", "relative", 1);
    CHECK(choose_key_file(std::nullopt).path == directory.path("home/.config/sluice/key"));
    ::unsetenv("XDG_CONFIG_HOME");
    CHECK(choose_key_file(std::nullopt).path == directory.path("home/.config/sluice/key"));
    directory.write_file("file", "");
    ::setenv("HOME", directory.path("file").c_str(), 1);
    CHECK(choose_key_file(std::nullopt).path.empty());
    directory.symlink("loop", "loop");
    ::setenv("HOME", directory.path("loop").c_str(), 1); // what cannot be looked at may be a key
    CHECK(choose_key_file(std::nullopt).path == directory.path("loop/.config/sluice/key"));
    ::unsetenv("HOME");
    CHECK(choose_key_file(std::nullopt).path.empty());

    restore("XDG_CONFIG_HOME", config ? config->c_str() : nullptr);
    restore("HOME", home ? home->c_str() : nullptr);
    restore("SLUICE_KEY_FILE", file ? file->c_str() : nullptr);
}

} // namespace sluice
