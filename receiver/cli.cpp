#include "receiver/cli.hpp"

#include "common/text.hpp"
#include "common/version.hpp"

#include <cstdint>
// Names may hold commas, at which cxxopts would split lists otherwise.
#define CXXOPTS_VECTOR_DELIMITER '\0'
#include <cxxopts.hpp>
#include <fmt/format.h>
#include <optional>
#include <vector>

namespace sluice {

namespace {

constexpr const char* kProgram = "sluice-recv";
constexpr std::uint64_t kMaxGraceSeconds = 86'400;
constexpr std::uint64_t kMaxSessionsLimit = 100'000;

cxxopts::Options describe_options() {
    cxxopts::Options options(
        kProgram, "Listens for sluice-send and stores what it pushes below DIRECTORY.\n");
    options.custom_help("[OPTIONS]").positional_help("DIRECTORY").set_width(100);
    options.add_options("Listening")(
        "l,listen", "address to listen on; any but loopback needs --insecure",
        cxxopts::value<std::string>()->default_value("127.0.0.1"),
        "ADDR")("p,port", "port, 0 for any free one",
                cxxopts::value<std::string>()->default_value(std::to_string(kDefaultPort)), "N")(
        "insecure", "listen on any address although nothing is authenticated or encrypted")(
        "1,once", "serve one session, then exit with its result");
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
    options.add_options("Limits")("max-sessions", "sessions at a time",
                                  cxxopts::value<std::string>()->default_value("256"), "N")(
        "min-free", "refuse data that would leave less than SIZE free (K, M, G, T)",
        cxxopts::value<std::string>()->default_value("0"),
        "SIZE")("timeout", "give up a sender that is silent for so long (0: never)",
                cxxopts::value<std::string>()->default_value("30"),
                "TIME")("grace", "how long sessions may go on after SIGTERM",
                        cxxopts::value<std::string>()->default_value("5"), "SECONDS");
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
    const auto sessions = parse_number(text("max-sessions"), 1, kMaxSessionsLimit);
    if (!sessions) {
        return bad("max-sessions", fmt::format("a number from 1 to {}", kMaxSessionsLimit));
    }
    const auto min_free = parse_size(text("min-free"));
    if (!min_free) {
        return bad("min-free", "a size such as 500M or 2G");
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
    options.port = static_cast<std::uint16_t>(*port);
    options.max_sessions = *sessions;
    options.min_free_bytes = *min_free;
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

} // namespace

std::variant<ReceiverCommand, ReceiverExit> parse_receiver_command(int argc, char** argv) {
    cxxopts::Options options = describe_options();
    ReceiverCommand command;
    try {
        const cxxopts::ParseResult parsed = options.parse(argc, argv);
        if (parsed.count("help") != 0) {
            return ReceiverExit{ExitCode::done, options.help({"Listening", "Receiving", "Limits",
                                                              "Benchmark", "Output"})};
        }
        if (parsed.count("version") != 0) {
            return ReceiverExit{ExitCode::done, fmt::format("{} {}\n", kProgram, kVersionNumber)};
        }
        if (auto error = read_values(parsed, command); error) {
            return usage_error(*error);
        }
        const auto directories = parsed.count("directory") != 0
                                     ? parsed["directory"].as<std::vector<std::string>>()
                                     : std::vector<std::string>{};
        command.options.discard = parsed.count("discard") != 0;
        if (directories.size() > 1) {
            return usage_error("only one DIRECTORY can be served");
        }
        if (directories.empty() && !command.options.discard) {
            return usage_error("which DIRECTORY shall things land in?");
        }
        if (auto error = check_discard(parsed); error) {
            return usage_error(*error);
        }
        command.options.directory = directories.empty() ? std::string{} : directories.front();
        command.options.insecure = parsed.count("insecure") != 0;
        command.options.sync = parsed.count("fsync") != 0;
        command.options.once = parsed.count("once") != 0;
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
