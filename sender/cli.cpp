#include "sender/cli.hpp"

#include "common/compress.hpp"
#include "common/rate_limit.hpp"
#include "common/text.hpp"
#include "common/version.hpp"
#include "proto/limits.hpp"

#include <cstdint>
// Names may hold commas, at which cxxopts would split lists otherwise.
#define CXXOPTS_VECTOR_DELIMITER '\0'
#include <cxxopts.hpp>
#include <fmt/format.h>
#include <optional>
#include <vector>

namespace sluice {

namespace {

constexpr const char* kProgram = "sluice-send";
// Below it a session would spend its life on joining the connections.
constexpr std::uint64_t kMinRate = 1024;
constexpr std::string_view kAutomatic = "auto";

cxxopts::Options describe_options() {
    cxxopts::Options options(
        kProgram, "Pushes files and trees to a sluice-recv on HOST.\n\n"
                  "A trailing / on a source directory means its contents. PATH is below the "
                  "receiver's\ndirectory; a single file sent to a PATH that is no directory gets "
                  "that name.\n");
    options.custom_help("[OPTIONS]").positional_help("SOURCE... HOST:[PATH]").set_width(100);
    const auto text = [] { return cxxopts::value<std::string>(); };
    // One option after the other:
    // clang-format off
    options.add_options("Connecting")
        ("p,port", "port of the receiver", text()->default_value(std::to_string(kDefaultPort)),
         "N")
        ("P,streams", "parallel data connections, or auto: as many as pay",
         text()->default_value("auto"), "N")
        ("bwlimit", "send at most RATE bytes per second, counted as they travel: compressed, all data "
         "connections together (500K, 1.5M; 0: no limit)", text()->default_value("0"), "RATE")
        ("congestion", "TCP congestion control, or auto: the system's, but BBR on long paths and not on "
         "local ones", text()->default_value("auto"), "NAME")
        ("timeout", "give up a receiver that is silent for so long; 0: never",
         text()->default_value("30"), "TIME")
        ("retry-for", "reconnect for so long once the connection is lost (default: 60), or cannot "
         "be made (0)", text(), "TIME");
    options.add_options("Security")
        ("key-file", "the key that opens the receiver; else SLUICE_KEY_FILE (empty: none), else "
         "~/.config/sluice/key if there is one", text(), "FILE")
        ("security", "tls, signed (data in clear, but authenticated) or none; default: tls with a "
         "key, none without", text(), "LEVEL")
        ("insecure", "send to any address although nothing is authenticated or encrypted");
    options.add_options("Sending")
        ("n,dry-run", "change nothing, print what would be sent")
        ("include", "send names that match PATTERN (rsync's rules; the first match decides)",
         text(), "PATTERN")
        ("exclude", "do not send names that match PATTERN", text(), "PATTERN")
        ("ignore-times", "send files although size and mtime match")
        ("no-preserve", "do not keep mode and mtime")
        ("publish", "tree: a new tree appears at once, when it is complete; file: each file as it "
         "arrives", text()->default_value("tree"), "WHEN")
        ("fsync", "all is on the receiver's medium before success is reported")
        ("verify", "compare digests of what was sent and what arrived: digest or none",
         text()->default_value("digest"), "HOW")
        ("z,compress", "compress with zstd what looks worth it; auto: where, and at the level at which, "
         "that is faster",
         text()->implicit_value(std::to_string(kDefaultCompressionLevel)), "LEVEL")
        ("send-path", "how bytes reach the socket: auto, sendfile or copy",
         text()->default_value("auto"), "PATH");
    // clang-format on
    options.add_options("Benchmark")(
        "generate", "send one file of SIZE made-up bytes (K, M, G, T) instead of a SOURCE", text(),
        "SIZE");
    options.add_options("Output")("q,quiet", "errors only")("v,verbose", "more")(
        "J,json", "events as newline-delimited JSON on stdout")("version", "print the version")(
        "h,help", "print this text");
    options.add_options()("arguments", "", cxxopts::value<std::vector<std::string>>());
    options.parse_positional({"arguments"});
    return options;
}

SenderExit usage_error(const std::string& what) {
    return {ExitCode::usage, fmt::format("{}: {} (try --help)\n", kProgram, what)};
}

// The options about waiting; otherwise as read_values().
std::optional<std::string> read_times(const cxxopts::ParseResult& parsed, SenderOptions& options) {
    const auto read = [&](const char* name, auto& out) -> std::optional<std::string> {
        const std::string text = parsed[name].as<std::string>();
        const auto time = parse_duration(text);
        if (!time) {
            return fmt::format("--{}: '{}' is not a time such as 30, 0.5 or 2m", name,
                               escape(text));
        }
        out = *time;
        return std::nullopt;
    };
    if (auto error = read("timeout", options.timeout); error) {
        return error;
    }
    return parsed.count("retry-for") != 0 ? read("retry-for", options.retry_for) : std::nullopt;
}

// Fills `options` from options that are numbers or words; the text of an error otherwise.
std::optional<std::string> read_values(const cxxopts::ParseResult& parsed, SenderOptions& options) {
    const auto text = [&](const char* name) { return parsed[name].as<std::string>(); };
    const auto bad = [&](const char* name, std::string_view wanted) {
        return fmt::format("--{}: '{}' is not {}", name, escape(text(name)), wanted);
    };
    const auto port = parse_number(text("port"), 1, UINT16_MAX);
    if (!port) {
        return bad("port", "a port number from 1 to 65535");
    }
    if (text("streams") != kAutomatic) {
        const auto streams = parse_number(text("streams"), 1, proto::kMaxStreams);
        if (!streams) {
            return bad("streams", fmt::format("auto or a number from 1 to {}", proto::kMaxStreams));
        }
        options.streams = static_cast<std::uint16_t>(*streams);
    }
    if (parsed.count("compress") != 0) {
        const auto level =
            parse_number(text("compress"), 1, static_cast<std::uint64_t>(max_compression_level()));
        if (level) {
            options.compress = Compress::always;
            options.compression_level = static_cast<int>(*level);
        } else if (text("compress") == kAutomatic) {
            options.compress = Compress::automatic;
        } else {
            return bad("compress",
                       fmt::format("auto, or a level from 1 to {}", max_compression_level()));
        }
    }
    if (parsed.count("generate") != 0) {
        options.generate_bytes = parse_size(text("generate"));
        if (!options.generate_bytes || *options.generate_bytes > proto::kMaxFileBytes) {
            return bad("generate", "a size such as 500M or 64G");
        }
    }
    const auto path = parse_copy_path(text("send-path"), "sendfile");
    if (!path) {
        return bad("send-path", "auto, sendfile or copy");
    }
    const std::string publish = text("publish");
    if (publish != "tree" && publish != "file") {
        return bad("publish", "tree or file");
    }
    const std::string verify = text("verify");
    if (verify != "digest" && verify != "none") {
        return bad("verify", "digest or none");
    }
    const auto rate = parse_size(text("bwlimit"));
    if (!rate || (*rate != 0 && *rate < kMinRate) || *rate > RateSchedule::kMaxRate) {
        return bad("bwlimit",
                   "a rate in bytes per second such as 500K or 1.5M, from 1K to 1T, or 0");
    }
    options.bandwidth_limit = *rate;
    options.port = static_cast<std::uint16_t>(*port);
    options.send_path = *path;
    options.publish_by_file = publish == "file";
    options.congestion = text("congestion");
    options.verify = verify == "digest";
    return read_times(parsed, options);
}

// What is wrong with the sources and the destination, if anything.
std::optional<std::string> check_arguments(const cxxopts::ParseResult& parsed,
                                           const std::vector<std::string>& arguments) {
    if (parsed.count("generate") == 0) {
        return arguments.size() < 2
                   ? std::optional("what shall be sent where? Give SOURCE... and HOST:[PATH]")
                   : std::nullopt;
    }
    if (arguments.empty()) {
        return "where shall it be sent? Give HOST:[PATH]";
    }
    if (arguments.size() > 1) {
        return fmt::format("--generate takes no SOURCE, but '{}' is given: leave one of them out",
                           escape(arguments.front()));
    }
    if (parsed.count("include") != 0 || parsed.count("exclude") != 0) {
        return "--include and --exclude choose among the files of a SOURCE, and --generate has "
               "none";
    }
    return std::nullopt;
}

// What is asked for, as read_values().
std::optional<std::string> read_security(const cxxopts::ParseResult& parsed,
                                         SenderCommand& command) {
    if (parsed.count("security") != 0) {
        const auto text = parsed["security"].as<std::string>();
        command.security = parse_security(text);
        if (!command.security) {
            return fmt::format("--security: '{}' is not tls, signed or none", escape(text));
        }
    }
    if (parsed.count("key-file") != 0) {
        command.key_file = parsed["key-file"].as<std::string>();
        if (command.key_file->empty()) {
            return "--key-file names no file; --security none does without a key";
        }
        if (command.security == Security::none) {
            return "--security none uses no key: leave out --key-file";
        }
    }
    if (command.security == Security::signed_data && !command.options.verify) {
        return "--security signed is to verify all data: leave out --verify none";
    }
    command.options.insecure = parsed.count("insecure") != 0;
    return std::nullopt;
}

// The order among --include and --exclude matters, so they are taken from the command line as it
// is, not from the parser's lists of values.
void read_filter(const cxxopts::ParseResult& parsed, Filter& filter) {
    for (const cxxopts::KeyValue& argument : parsed.arguments()) {
        if (argument.key() == "include") {
            filter.include(argument.value());
        } else if (argument.key() == "exclude") {
            filter.exclude(argument.value());
        }
    }
}

// cxxopts knows no value that is attached to a short option and may be missing: -z9, -z=9 and
// -zauto become --compress=... So does "auto" in a word of its own, where a number would be a
// source.
std::vector<std::string> spell_out_compression(int argc, char** argv) {
    std::vector<std::string> arguments;
    for (int at = 0; at < argc; ++at) {
        const std::string_view word = argv[at];
        if (word == "--") {
            arguments.insert(arguments.end(), argv + at, argv + argc);
            break;
        }
        const bool alone = word == "-z" || word == "--compress";
        std::string_view value = word.substr(0, 2) == "-z" ? word.substr(2) : std::string_view{};
        value.remove_prefix(value.substr(0, 1) == "=" ? 1 : 0);
        if (alone && at + 1 < argc && argv[at + 1] == kAutomatic) {
            arguments.push_back(fmt::format("--compress={}", kAutomatic));
            ++at;
        } else if (!alone && word.substr(0, 2) == "-z" &&
                   (value == kAutomatic ||
                    value.find_first_not_of("0123456789") == std::string_view::npos)) {
            arguments.push_back(fmt::format("--compress={}", value));
        } else {
            arguments.emplace_back(word);
        }
    }
    return arguments;
}

} // namespace

std::variant<SenderCommand, SenderExit> parse_sender_command(int argc, char** argv) {
    cxxopts::Options options = describe_options();
    SenderCommand command;
    try {
        const std::vector<std::string> words = spell_out_compression(argc, argv);
        std::vector<const char*> pointers;
        pointers.reserve(words.size());
        for (const std::string& word : words) {
            pointers.push_back(word.c_str());
        }
        const cxxopts::ParseResult parsed =
            options.parse(static_cast<int>(pointers.size()), pointers.data());
        if (parsed.count("help") != 0) {
            return SenderExit{ExitCode::done, options.help({"Connecting", "Security", "Sending",
                                                            "Benchmark", "Output"})};
        }
        if (parsed.count("version") != 0) {
            return SenderExit{ExitCode::done, fmt::format("{} {}\n", kProgram, kVersionNumber)};
        }
        if (auto error = read_values(parsed, command.options); error) {
            return usage_error(*error);
        }
        if (auto error = read_security(parsed, command); error) {
            return usage_error(*error);
        }
        read_filter(parsed, command.options.filter);
        auto arguments = parsed.count("arguments") != 0
                             ? parsed["arguments"].as<std::vector<std::string>>()
                             : std::vector<std::string>{};
        if (auto error = check_arguments(parsed, arguments); error) {
            return usage_error(*error);
        }
        Result<Destination> destination = parse_destination(arguments.back());
        if (!destination) {
            return usage_error(destination.error().message);
        }
        arguments.pop_back();
        command.options.destination = std::move(*destination);
        command.options.sources = std::move(arguments);
        command.options.dry_run = parsed.count("dry-run") != 0;
        command.options.ignore_times = parsed.count("ignore-times") != 0;
        command.options.sync = parsed.count("fsync") != 0;
        command.options.preserve = parsed.count("no-preserve") == 0;
        command.json = parsed.count("json") != 0;
        if (parsed.count("quiet") != 0 && parsed.count("verbose") != 0) {
            return usage_error("--quiet and --verbose exclude each other");
        }
        command.log_level = parsed.count("quiet") != 0     ? LogLevel::quiet
                            : parsed.count("verbose") != 0 ? LogLevel::verbose
                                                           : LogLevel::normal;
    } catch (const std::exception& error) { // cxxopts speaks in exceptions
        return usage_error(error.what());
    }
    return command;
}

} // namespace sluice
