// The part of ControlConnection that brings a session to its end: files that are complete, and the
// tree that is.
#include "common/text.hpp"
#include "common/usage.hpp"
#include "receiver/control_connection.hpp"

#include <cstdint>
#include <fmt/format.h>
#include <memory>
#include <optional>
#include <utility>

namespace sluice {

namespace {

// What was received is published: whatever goes wrong here is a matter of this side only.
void list_digests(Storage& store, DigestFile& file, const ControlConnection::Callbacks& tell) {
    DigestFile::Lines lines;
    std::uint64_t left_out = 0;
    std::uint64_t odd_names = 0;
    Status written = ok();
    const Status listed = store.list_files(
        [&](const ListedFile& one) {
            if (tell.file_listed) {
                tell.file_listed(one);
            }
            odd_names += lines.add(one) ? 0U : 1U;
            if (written && DigestFile::is_full(lines)) {
                written = file.append(lines);
            }
        },
        left_out);
    if (written) {
        written = file.append(lines);
    }
    for (const auto* const status : {&listed, &std::as_const(written)}) {
        if (!*status) {
            tell.notice(status->error().message);
        }
    }
    if (odd_names > 0) {
        tell.notice(fmt::format("{} file(s) with a line break in the name are not in the list of "
                                "digests",
                                odd_names));
    }
    if (left_out > 0) {
        tell.notice(fmt::format("{} file(s) could not be read for the list of digests", left_out));
    }
}

} // namespace

proto::Fault ControlConnection::on_all_sent() {
    proto::AllSent message;
    const auto fault = proto::decode(reader_.body(), message);
    if (fault == proto::Fault::none) {
        std::get<Receiving>(state_).all_sent = message;
        finish_if_all_arrived();
    }
    return fault;
}

// Where that never comes true, because a connection was lost, there will be another, or a Finish.
bool ControlConnection::has_everything() const {
    const Receiving* const receiving = std::get_if<Receiving>(&state_);
    return receiving != nullptr && receiving->all_sent && files_ending_ == 0 &&
           session_->has_received(*receiving->all_sent);
}

void ControlConnection::finish_if_all_arrived() {
    if (has_everything()) {
        finish_to_come_ = std::get<Receiving>(state_).all_sent->files;
        begin_finishing(*finish_to_come_);
    }
}

proto::Fault ControlConnection::on_finish() {
    proto::Finish finish;
    const auto fault = proto::decode(reader_.body(), finish);
    if (fault == proto::Fault::none) {
        begin_finishing(finish.files);
    }
    return fault;
}

// What the sender has sent before it could know that this end has gone on without it: the Finish,
// and before that Drop for connections that it sees end.
proto::Fault ControlConnection::handle_late_frame() {
    if (!finish_to_come_) {
        return proto::Fault::misplaced_frame;
    }
    if (reader_.type() == proto::FrameType::drop) {
        proto::Drop drop;
        return proto::decode(reader_.body(), drop);
    }
    if (reader_.type() != proto::FrameType::finish) {
        return proto::Fault::misplaced_frame;
    }
    proto::Finish finish;
    const auto fault = proto::decode(reader_.body(), finish);
    const std::uint64_t expected = *std::exchange(finish_to_come_, std::nullopt);
    return fault == proto::Fault::none && finish.files != expected ? proto::Fault::bad_value
                                                                   : fault;
}

void ControlConnection::begin_finishing(std::uint64_t files) {
    session_->close_to_connections();
    state_ = Finishing{files};
    publish_if_finished();
}

proto::Fault ControlConnection::on_file_end() {
    proto::FileEnd message;
    if (const auto fault = proto::decode(reader_.body(), message); fault != proto::Fault::none) {
        return fault;
    }
    if (!session_->store().syncs()) {
        const auto ended = session_->store().end_file(message.file_id, worker_.tools().directories);
        if (ended.problem) {
            session_->file_failed(ended.path, *ended.problem);
        }
        return ended.fault;
    }
    // Waits for the disk. No more of them than there can be files: others' ids are made up.
    if (files_ending_ >= proto::kMaxOpenFiles) {
        return proto::Fault::limit_exceeded;
    }
    ++files_ending_;
    const auto ended = std::make_shared<Storage::EndedFile>();
    run_aside(
        [ended, id = message.file_id](Session& session) {
            DirectoryCache directories(2);
            *ended = session.store().end_file(id, directories);
        },
        [this, ended] { file_ended(*ended); });
    return proto::Fault::none;
}

void ControlConnection::file_ended(const Storage::EndedFile& ended) {
    --files_ending_;
    if (ended.problem) {
        session_->file_failed(ended.path, *ended.problem);
    }
    if (ended.fault != proto::Fault::none) {
        fail({ErrorKind::protocol,
              fmt::format("the sender broke the protocol: {}", proto::describe(ended.fault))});
        return;
    }
    finish_if_all_arrived();
    publish_if_finished();
    flush();
}

void ControlConnection::publish_if_finished() {
    const Finishing* const finishing = std::get_if<Finishing>(&state_);
    // A data connection that is still there may bring what nobody has counted yet.
    if (finishing == nullptr || files_ending_ > 0 || session_->has_connections()) {
        return;
    }
    if (const std::optional<Error> failure = session_->failure(); failure) {
        fail(*failure); // its news may still be on the way
        return;
    }
    const std::uint64_t settled = session_->store().counts().settled;
    if (settled != finishing->files) {
        fail({ErrorKind::protocol,
              fmt::format("the sender sent {} files, but {} arrived", finishing->files, settled)});
        return;
    }
    if (session_->store().has_unfinished_files()) {
        fail({ErrorKind::protocol, "the sender finished, but not all of its files", 0});
        return;
    }
    state_ = Publishing{};
    const auto published = std::make_shared<Status>(ok());
    run_aside(
        [published, digests = settings_.digests, tell = callbacks_](Session& session) {
            *published =
                session.store().publish([&](const std::string& path, const StoreProblem& problem) {
                    session.file_failed(path, problem);
                });
            if (*published && digests != nullptr) {
                list_digests(session.store(), *digests, tell);
            }
        },
        [this, published] { on_published(*published); });
}

void ControlConnection::on_published(const Status& published) {
    if (!std::holds_alternative<Publishing>(state_)) {
        return; // it has failed meanwhile
    }
    if (!published) {
        fail(published.error());
        return;
    }
    if (std::optional<Error> failure = session_->failure(); failure) {
        fail(*failure); // a fatal problem while publishing
        return;
    }
    // All of it: after Done there is no other chance, and the session keeps a few MiB at most.
    send_news(SIZE_MAX);
    send_failed_files(SIZE_MAX);
    send_done();
    flush();
}

void ControlConnection::send_done() {
    worker_.charge_now(*session_);
    const SessionReport report = session_->report();
    proto::Done done;
    done.files = report.files;
    done.unchanged = report.unchanged;
    done.directories = report.directories;
    done.symlinks = report.symlinks;
    done.failed = report.failed;
    done.reused_files = report.reused_files;
    done.reused_bytes = report.reused_bytes;
    done.bytes_spliced = report.bytes.zero_copy;
    done.bytes_copied = report.bytes.copied;
    done.bytes_inline = report.bytes.inlined;
    done.bytes_decompressed = report.bytes.compressed;
    // What the work has cost differs with what was there already.
    if (const SharedKey& key = session_->key(); !key || key->rights.may_probe) {
        done.cpu_us = report.usage.cpu_us;
        done.system_calls = report.usage.system_calls;
        done.context_switches = report.usage.context_switches;
    }
    proto::encode(done, out_);
    state_ = Ending{};
}

} // namespace sluice
