// For tests with keys: keys of several senders, and a receiver that knows them.
#pragma once

#include "tests/e2e/checks.hpp"
#include "tests/support/programs.hpp"
#include "tests/support/temp_dir.hpp"

#include <string>
#include <vector>

namespace sluice::test {

struct KeyPlace {
    TempDir keys;
    TempDir source;
    TempDir stored;

    KeyPlace() {
        source.write_file("tree/file", "content");
        source.write_file("tree/large", std::string(200'000, 'x'));
        source.symlink("file", "tree/link");
    }

    // Makes a key of that name, once. Its file.
    std::string key(const std::string& name) const {
        if (!keys.exists(name)) {
            REQUIRE(run({kRecvProgram, "--generate-key", keys.path(name)}).code == 0);
        }
        return keys.path(name);
    }
    // The line of a receiver's file.
    std::string line(const std::string& name, const std::string& rights = "") const {
        static_cast<void>(key(name));
        std::string text = keys.read_file(name);
        text = text.substr(text.find("sluice-key-"));
        text.pop_back();
        return name + " " + text + " " + rights + "\n";
    }
    // The receiver's file.
    std::string ring(const std::string& lines) const {
        keys.write_file("ring", lines, 0600);
        return keys.path("ring");
    }
    std::vector<std::string> receiver_options(const std::string& lines) const {
        return {"--json", "-v", "--key-file", ring(lines)};
    }
};

// A push of the tree with that key; none where it is empty.
inline Finished push(const KeyPlace& place, const std::string& port, const std::string& name,
                     const std::string& path, std::vector<std::string> options = {}) {
    if (!name.empty()) {
        options.insert(options.end(), {"--key-file", place.key(name)});
    }
    options.push_back(place.source.path("tree"));
    return run(send_command(port, options, path));
}
inline Finished push(const KeyPlace& place, const ReceiverProcess& receiver,
                     const std::string& name, const std::string& path,
                     std::vector<std::string> options = {}) {
    return push(place, receiver.port(), name, path, std::move(options));
}

} // namespace sluice::test
