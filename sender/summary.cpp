#include "sender/summary.hpp"

#include "common/text.hpp"
#include "common/ways.hpp"

#include <fmt/format.h>
#include <initializer_list>
#include <string_view>

namespace sluice {

namespace {

struct Part {
    std::uint64_t bytes;
    std::string_view name;
};

std::string list_parts(std::initializer_list<Part> parts) {
    std::string text;
    for (const Part& part : parts) {
        if (part.bytes > 0) {
            text += fmt::format("{}{} {}", text.empty() ? "" : ", ", part.name,
                                format_bytes(part.bytes));
        }
    }
    return text.empty() ? "nothing" : text;
}

std::string describe_usage(const Usage& usage) {
    return fmt::format("CPU {}, {} system calls, {} context switches",
                       format_seconds(static_cast<double>(usage.cpu_us) / 1e6),
                       format_count(usage.system_calls), format_count(usage.context_switches));
}

std::string times(std::uint64_t count) {
    return count == 1 ? "once" : fmt::format("{} times", format_count(count));
}

std::string headline(const SenderReport& report) {
    const proto::Done& done = *report.receiver;
    const std::uint64_t bytes = report.bytes.total();
    std::string line;
    const bool nothing = report.files_sent == 0 && done.symlinks == 0;
    if (nothing) {
        line = "nothing to send";
    } else {
        line = fmt::format("sent {} in {} files", format_bytes(bytes),
                           format_count(report.files_sent));
        if (done.symlinks > 0) {
            line += fmt::format(", {} links", format_count(done.symlinks));
        }
    }
    line += fmt::format(" in {}", format_seconds(report.seconds));
    if (bytes > 0) {
        line += fmt::format(" ({})", format_rate(static_cast<double>(bytes) / report.seconds));
    }
    if (report.verified && !nothing) {
        line += ", verified";
    }
    if (report.discarded) {
        line += ", discarded by the receiver";
    }
    line += fmt::format("; {} files unchanged", format_count(done.unchanged));
    if (done.reused_files > 0 || done.reused_bytes > 0) {
        line += fmt::format("; {} files, {} reused", format_count(done.reused_files),
                            format_bytes(done.reused_bytes));
    }
    if (report.reconnects > 0) {
        line += fmt::format("; reconnected {}", times(report.reconnects));
    }
    if (report.failed > 0) {
        line += fmt::format("; {} FAILED", format_count(report.failed));
    }
    if (report.skipped > 0) {
        line += fmt::format("; {} special files left out", format_count(report.skipped));
    }
    return line;
}

} // namespace

std::string summary(const SenderReport& report) {
    if (!report.receiver) {
        return {};
    }
    if (report.dry_run) {
        return fmt::format("dry run: would send {} in {} files; {} files unchanged\n",
                           format_bytes(report.would_send_bytes),
                           format_count(report.would_send_files),
                           format_count(report.receiver->unchanged));
    }
    const proto::Done& done = *report.receiver;
    std::string text = headline(report) + "\n";
    if (report.security != Security::none) {
        text += fmt::format("  security: {}\n", security_name(report.security));
    }
    if (report.bytes.total() > 0) {
        const Ways sending = sending_ways(report.security);
        const Ways receiving = receiving_ways(report.security);
        text +=
            fmt::format("  sender:   {}\n", list_parts({{report.bytes.zero_copy, sending.zero_copy},
                                                        {report.bytes.copied, sending.copied},
                                                        {report.bytes.inlined, "inline"},
                                                        {report.bytes.compressed, "zstd"}}));
        if (report.bytes.compressed > 0) {
            text +=
                fmt::format("            zstd made {} of {}\n", format_bytes(report.compressed_to),
                            format_bytes(report.bytes.compressed));
        }
        text +=
            fmt::format("  receiver: {}\n", list_parts({{done.bytes_spliced, receiving.zero_copy},
                                                        {done.bytes_copied, receiving.copied},
                                                        {done.bytes_inline, "inline"},
                                                        {done.bytes_decompressed, "zstd"}}));
    }
    text += fmt::format("  sender:   {}\n", describe_usage(report.usage));
    text += fmt::format("  receiver: {}\n",
                        describe_usage({done.cpu_us, done.system_calls, done.context_switches}));
    return text;
}

} // namespace sluice
