#include "receiver/cli.hpp"

#include "common/text.hpp"
#include "common/version.hpp"

#include <cstdint>
// Names may hold commas, at which cxxopts would split lists otherwise.
#define CXXOPTS_VECTOR_DELIMITER '\0'
#include <cxxopts.hpp>
#include <fmt/format.h>
#include <functional>
#include <optional>
#include <vector>

namespace sluice {

namespace {

constexpr const char* kProgram = "sluice-recv";
constexpr std::uint64_t kMaxGraceSeconds = 86'400;
constexpr std::uint64_t kMaxSessionsLimit = 100'000;
constexpr std::uint64_t kMaxPendingLimit = 65'536;
// No path has more components: kMaxPathBytes / 2.
constexpr std::uint64_t kMaxDepthLimit = 2'048;

void add_limits(cxxopts::Options& options) {
    options.add_options("Limits")("max-sessions", "sessions at a time",
                                  cxxopts::value<std::string>()->default_value("256"), "N")(
        "max-pending", "connections that have yet to say what they want",
        cxxopts::value<std::string>()->default_value("1024"),
        "N")("max-per-address",
             fmt::format("sessions of one address, with {} such connections for each",
                         kPendingPerSession),
             cxxopts::value<std::string>()->default_value("1024"),
             "N")("handshake-timeout", "how long a connection may take to say it",
                  cxxopts::value<std::string>()->default_value("10"),
                  "TIME")("max-files", "files, directories, links of a session (0: any)",
                          cxxopts::value<std::string>()->default_value("0"),
                          "N")("max-bytes", "sum of file sizes of a session (0: any)",
                               cxxopts::value<std::string>()->default_value("0"),
                               "SIZE")("max-depth", "levels below the destination",
                                       cxxopts::value<std::string>()->default_value("512"), "N")(
        "min-rate", "least bytes per second amid a payload (0: none)",
        cxxopts::value<std::string>()->default_value("0"),
        "SIZE")("min-free", "refuse data that would leave less than SIZE free (K, M, G, T)",
                cxxopts::value<std::string>()->default_value("0"),
                "SIZE")("timeout", "give up a sender that is silent for so long (0: never)",
                        cxxopts::value<std::string>()->default_value("30"),
                        "TIME")("grace", "how long sessions may go on after SIGTERM",
                                cxxopts::value<std::string>()->default_value("5"), "SECONDS");
}

cxxopts::Options describe_options() {
    cxxopts::Options options(
        kProgram, "Listens for sluice-send and stores what it pushes below DIRECTORY.\n");
    options.custom_help("[OPTIONS]").positional_help("DIRECTORY").set_width(100);
    options.add_options("Listening")(
        "l,listen", "address to listen on; any but loopback needs a key, or --insecure",
        cxxopts::value<std::string>()->default_value("127.0.0.1"),
        "ADDR")("p,port", "port, 0 for any free one",
                cxxopts::value<std::string>()->default_value(std::to_string(kDefaultPort)),
                "N")("1,once", "serve one session, then exit with its result");
    options.add_options("Security")(
        "key-file",
        "the keys of those who may come in; else SLUICE_KEY_FILE (empty: none), else "
        "~/.config/sluice/key if there is one; SIGHUP reads it again",
        cxxopts::value<std::string>(), "FILE")(
        "security",
        "the least to accept: tls, signed (data in clear, but authenticated) or none; default: "
        "tls with keys, none without",
        cxxopts::value<std::string>(), "LEVEL")(
        "insecure", "listen on any address although nothing is authenticated or encrypted")(
        "generate-key", "make a new key in FILE, and nothing else", cxxopts::value<std::string>(),
        "FILE");
    options.add_options("Receiving")("receive-path",
                                     "how bytes reach the file: auto, splice or copy",
                                     cxxopts::value<std::string>()->default_value("auto"), "PATH")(
        "digests",
        "append the XXH3-128 of each file to FILE, for xxhsum -c in DIRECTORY; with -J as events, "
        "too",
        cxxopts::value<std::string>()->default_value(""),
        "FILE")("fsync", "everything is on the medium before success is reported")(
        "keep-partial",
        "how long what a broken session left is kept for its sender to come back (s, m, h, d; 0: "
        "not at all)",
        cxxopts::value<std::string>()->default_value("7d"), "TIME");
    options.add_options("Benchmark")(
        "discard", "drop what arrives, verified where asked; DIRECTORY is neither needed nor used");
    add_limits(options);
    options.add_options("Rights")("user",
                                  "once it listens, give up root's rights for those of NAME",
                                  cxxopts::value<std::string>()->default_value(""), "NAME")(
        "sandbox",
        "keep the process inside DIRECTORY (Landlock, seccomp): auto, where the kernel "
        "can; require; off",
        cxxopts::value<std::string>()->default_value("auto"), "MODE");
    options.add_options("Output")("q,quiet", "errors only")("v,verbose", "more")(
        "J,json", "events as newline-delimited JSON on stdout")("version", "print the version")(
        "h,help", "print this text");
    options.add_options()("directory", "", cxxopts::value<std::vector<std::string>>());
    options.parse_positional({"directory"});
    return options;
}

ReceiverExit usage_error(const std::string& what) {
    return {ExitCode::usage, fmt::format("{}: {} (try --help)\n", kProgram, what)};
}

std::optional<SandboxMode> parse_sandbox_mode(std::string_view text) {
    if (text == "auto") {
        return SandboxMode::automatic;
    }
    if (text == "require") {
        return SandboxMode::required;
    }
    return text == "off" ? std::optional(SandboxMode::off) : std::nullopt;
}

// Fills the limits; the text of an error otherwise.
std::optional<std::string> read_limits(const cxxopts::ParseResult& parsed,
                                       ReceiverOptions& options) {
    const auto text = [&](const char* name) { return parsed[name].as<std::string>(); };
    const auto bad = [&](const char* name, std::string_view wanted) {
        return fmt::format("--{}: '{}' is not {}", name, escape(text(name)), wanted);
    };
    struct Number {
        const char* name;
        std::uint64_t least;
        std::uint64_t most;
        std::function<void(std::uint64_t)> set;
    };
    SessionLimits& limits = options.session_limits;
    for (const Number& number : {
             Number{"max-sessions", 1, kMaxSessionsLimit,
                    [&](auto n) { options.max_sessions = n; }},
             Number{"max-pending", kPendingPerSession, kMaxPendingLimit,
                    [&](auto n) { options.max_pending = n; }},
             Number{"max-per-address", 1, kMaxSessionsLimit,
                    [&](auto n) { options.max_per_address = n; }},
             Number{"max-files", 0, INT64_MAX, [&](auto n) { limits.max_files = n; }},
             Number{"max-depth", 1, kMaxDepthLimit, [&](auto n) { limits.max_depth = n; }},
         }) {
        const auto value = parse_number(text(number.name), number.least, number.most);
        if (!value) {
            return bad(number.name,
                       fmt::format("a number from {} to {}", number.least, number.most));
        }
        number.set(*value);
    }
    struct Size {
        const char* name;
        std::uint64_t& value;
    };
    for (const Size& size : {Size{"max-bytes", limits.max_bytes}, Size{"min-rate", limits.min_rate},
                             Size{"min-free", options.min_free_bytes}}) {
        const auto value = parse_size(text(size.name));
        if (!value) {
            return bad(size.name, "a size such as 500M or 2G");
        }
        size.value = *value;
    }
    const auto handshake = parse_duration(text("handshake-timeout"));
    if (!handshake || handshake->count() == 0) {
        return bad("handshake-timeout", "a time such as 10, 0.5 or 1m");
    }
    options.handshake_timeout = *handshake;
    return std::nullopt;
}

// Fills `command` from options that are numbers or words; the text of an error otherwise.
std::optional<std::string> read_values(const cxxopts::ParseResult& parsed,
                                       ReceiverCommand& command) {
    ReceiverOptions& options = command.options;
    const auto text = [&](const char* name) { return parsed[name].as<std::string>(); };
    const auto bad = [&](const char* name, std::string_view wanted) {
        return fmt::format("--{}: '{}' is not {}", name, escape(text(name)), wanted);
    };
    const auto port = parse_number(text("port"), 0, UINT16_MAX);
    if (!port) {
        return bad("port", "a port number from 0 to 65535");
    }
    if (auto error = read_limits(parsed, options); error) {
        return error;
    }
    const auto grace = parse_number(text("grace"), 0, kMaxGraceSeconds);
    if (!grace) {
        return bad("grace", fmt::format("a number of seconds from 0 to {}", kMaxGraceSeconds));
    }
    const auto timeout = parse_duration(text("timeout"));
    if (!timeout) {
        return bad("timeout", "a time such as 30, 0.5 or 2m");
    }
    const auto keep = parse_duration(text("keep-partial"));
    if (!keep) {
        return bad("keep-partial", "a time such as 90s, 12h or 7d");
    }
    const auto path = parse_copy_path(text("receive-path"), "splice");
    if (!path) {
        return bad("receive-path", "auto, splice or copy");
    }
    const auto sandbox = parse_sandbox_mode(text("sandbox"));
    if (!sandbox) {
        return bad("sandbox", "auto, require or off");
    }
    if (parsed.count("user") != 0 && text("user").empty()) {
        return bad("user", "the name of a user");
    }
    options.sandbox = *sandbox;
    options.user = text("user");
    options.port = static_cast<std::uint16_t>(*port);
    options.stop_grace = std::chrono::seconds(*grace);
    options.timeout = *timeout;
    options.digests_file = text("digests");
    options.keep_partial = std::chrono::ceil<std::chrono::seconds>(*keep);
    options.receive_path = *path;
    options.listen_address = text("listen");
    return std::nullopt;
}

// What is asked for besides --discard and cannot be had with it.
std::optional<std::string> check_discard(const cxxopts::ParseResult& parsed) {
    if (parsed.count("discard") != 0) {
        for (const char* const name : {"fsync", "digests", "keep-partial", "min-free"}) {
            if (parsed.count(name) != 0) {
                return fmt::format("--discard stores nothing: leave out --{}", name);
            }
        }
    }
    return std::nullopt;
}

// What is asked for, as read_values().
std::optional<std::string> read_security(const cxxopts::ParseResult& parsed,
                                         ReceiverCommand& command) {
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
            return "--key-file names no file; SLUICE_KEY_FILE= does without keys";
        }
    }
    if (parsed.count("generate-key") != 0) {
        command.generate_key = parsed["generate-key"].as<std::string>();
        if (command.generate_key.empty() || command.generate_key == "-") {
            return "--generate-key: a key goes into a file of its own: name one";
        }
        if (parsed.count("directory") != 0 || parsed.count("key-file") != 0) {
            return "--generate-key makes a key and nothing else: leave out DIRECTORY and "
                   "--key-file";
        }
    }
    command.options.insecure = parsed.count("insecure") != 0;
    return std::nullopt;
}

} // namespace

std::variant<ReceiverCommand, ReceiverExit> parse_receiver_command(int argc, char** argv) {
    cxxopts::Options options = describe_options();
    ReceiverCommand command;
    try {
        const cxxopts::ParseResult parsed = options.parse(argc, argv);
        if (parsed.count("help") != 0) {
            return ReceiverExit{ExitCode::done,
                                options.help({"Listening", "Security", "Receiving", "Limits",
                                              "Rights", "Benchmark", "Output"})};
        }
        if (parsed.count("version") != 0) {
            return ReceiverExit{ExitCode::done, fmt::format("{} {}\n", kProgram, kVersionNumber)};
        }
        if (auto error = read_values(parsed, command); error) {
            return usage_error(*error);
        }
        if (auto error = read_security(parsed, command); error) {
            return usage_error(*error);
        }
        const auto directories = parsed.count("directory") != 0
                                     ? parsed["directory"].as<std::vector<std::string>>()
                                     : std::vector<std::string>{};
        command.options.discard = parsed.count("discard") != 0;
        if (directories.size() > 1) {
            return usage_error("only one DIRECTORY can be served");
        }
        if (directories.empty() && !command.options.discard && command.generate_key.empty()) {
            return usage_error("which DIRECTORY shall things land in?");
        }
        if (auto error = check_discard(parsed); error) {
            return usage_error(*error);
        }
        command.options.directory = directories.empty() ? std::string{} : directories.front();
        command.options.sync = parsed.count("fsync") != 0;
        command.options.once = parsed.count("once") != 0;
        command.json = parsed.count("json") != 0;
        command.address_given = parsed.count("listen") + parsed.count("port") != 0;
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
