#include "sender/scout.hpp"

#include "common/secure_connect.hpp"
#include "common/text.hpp"
#include "sender/generated.hpp"
#include "sender/key_setup.hpp"

#include <fmt/format.h>
#include <utility>

namespace sluice {

namespace {

// Files up to this size share a chunk; a larger one is a chunk of its own.
constexpr std::uint64_t kSharedChunkBytes = proto::kMaxInlineFileBytes;

} // namespace

// Sorts what the walk finds into offers and chunks.
class Scout::Collector final : public WalkSink {
public:
    Collector(Scout& scout, bool fresh) : scout_(scout), fresh_(fresh) {}

    bool found(SourceEntry entry) override {
        if (!scout_.queue_.reserve(1)) {
            return false;
        }
        const bool file = entry.kind == EntryKind::file;
        if (file) {
            ++scout_.found_.files;
            scout_.found_.bytes += entry.size;
        }
        if (file && !fresh_) {
            offer(std::move(entry));
        } else if (file && entry.size > kSharedChunkBytes) {
            Chunk alone;
            alone.push_back(std::move(entry));
            scout_.callbacks_.chunk(std::move(alone));
        } else {
            chunk_.push_back(std::move(entry));
            if (chunk_.size() >= kMaxChunkEntries) {
                flush_chunk();
            }
        }
        return true;
    }

    void failed(Error error) override { scout_.callbacks_.file_failed(std::move(error)); }
    void skipped(std::string what) override { scout_.callbacks_.skipped(std::move(what)); }

    void flush() {
        flush_offer();
        flush_chunk();
    }

private:
    void offer(SourceEntry entry) {
        const std::size_t bytes = proto::kOfferEntryBytes + entry.wire_path.size();
        if (offer_bytes_ + bytes > proto::kMaxOfferBytes ||
            offer_.size() >= proto::kMaxOfferEntries) {
            flush_offer();
        }
        offer_bytes_ += bytes;
        offer_.push_back(std::move(entry));
    }

    void flush_offer() {
        if (!offer_.empty()) {
            scout_.callbacks_.offer(std::exchange(offer_, {}));
        }
        offer_bytes_ = proto::kOfferHeaderBytes;
    }

    void flush_chunk() {
        if (!chunk_.empty()) {
            scout_.callbacks_.chunk(std::exchange(chunk_, {}));
        }
    }

    Scout& scout_;
    const bool fresh_;
    Chunk offer_;
    std::size_t offer_bytes_ = proto::kOfferHeaderBytes;
    Chunk chunk_;
};

Scout::Scout(const SenderOptions& options, ScoutCallbacks callbacks, WorkQueue& queue,
             FoundTotals& found, int cancel_fd)
    : options_(options), callbacks_(std::move(callbacks)), queue_(queue), found_(found),
      cancel_fd_(cancel_fd), thread_([this] { run(); }) {}

Scout::~Scout() {
    join();
}

void Scout::join() {
    if (thread_.joinable()) {
        thread_.join();
    }
}

void Scout::welcome(std::vector<bool> fresh_roots) {
    {
        const std::scoped_lock lock(mutex_);
        fresh_roots_ = std::move(fresh_roots);
    }
    answered_.notify_one();
}

void Scout::cancel() {
    {
        const std::scoped_lock lock(mutex_);
        cancelled_ = true;
    }
    answered_.notify_one();
}

void Scout::run() {
    std::optional<Error> error = scout();
    usage_.add(thread_usage());
    callbacks_.ended(std::move(error));
}

std::vector<std::shared_ptr<const SourceRoot>> Scout::open_sources() {
    std::vector<std::shared_ptr<const SourceRoot>> roots;
    if (options_.generate_bytes) {
        roots.push_back(std::make_shared<const SourceRoot>(generated_root()));
    }
    for (const std::string& argument : options_.sources) {
        Result<SourceRoot> root = open_source(argument);
        if (root) {
            roots.push_back(std::make_shared<const SourceRoot>(std::move(*root)));
        } else {
            callbacks_.file_failed(std::move(root).error());
        }
    }
    return roots;
}

// False: the sink stopped it.
bool Scout::explore(const std::shared_ptr<const SourceRoot>& root, WalkSink& sink) const {
    return root->generated ? sink.found(generated_entry(root, *options_.generate_bytes))
                           : walk(root, options_.filter, sink);
}

std::optional<Error> Scout::scout() {
    const std::vector<std::shared_ptr<const SourceRoot>> roots = open_sources();
    if (roots.empty()) {
        return Error{ErrorKind::some_files, "there is nothing to send", 0};
    }
    const std::uint16_t port = options_.destination.port.value_or(options_.port);
    Result<Channel> channel =
        connect_channel(options_.destination.host, port, options_.effective_connect_timeout(),
                        cancel_fd_, options_.tls.get());
    if (!channel) {
        return std::move(channel).error();
    }
    if (Status allowed = check_peer(options_, channel->fd()); !allowed) {
        return std::move(allowed).error();
    }
    callbacks_.connected(std::move(*channel), roots);

    std::vector<bool> fresh_roots;
    {
        std::unique_lock lock(mutex_);
        answered_.wait(lock, [this] { return cancelled_ || fresh_roots_.has_value(); });
        if (cancelled_) {
            return std::nullopt;
        }
        fresh_roots = std::move(*fresh_roots_);
    }
    for (std::size_t index = 0; index < roots.size(); ++index) {
        const bool fresh = index < fresh_roots.size() && fresh_roots[index];
        Collector collector(*this, fresh);
        if (!explore(roots[index], collector)) {
            return std::nullopt; // cancelled
        }
        collector.flush();
    }
    found_.complete = true;
    return std::nullopt;
}

} // namespace sluice
