// A receiver's directory, and sessions that store into it without any connection.
#pragma once

#include "receiver/store.hpp"
#include "tests/support/temp_dir.hpp"

#include <catch2/catch.hpp>
#include <fcntl.h>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace sluice::test {

inline constexpr std::int64_t kStoredTime = 1'500'000'000;

struct StoreRoot {
    TempDir directory{TempDir::quick_base()};
    ReceiverRoot root = open(directory.path());

private:
    static ReceiverRoot open(const std::string& path) {
        auto opened = open_root(path);
        REQUIRE(opened);
        return std::move(*opened);
    }
};

// What a session asks for.
struct SessionRequest {
    std::string destination{};
    std::vector<std::string> roots{};
    std::uint32_t flags = proto::kOpenPreserve;
    StorePolicy policy{};
    std::uint8_t run = 1; // which run of the sender
};

// As long as it lives it stands for a session that goes on; if it ends without publish() or
// abandon(), for one that broke and was kept.
class StoreSession {
public:
    // Adopts what there is to adopt, as a control connection does.
    explicit StoreSession(const StoreRoot& root, const SessionRequest& request = {})
        : StoreSession(root.root, request) {}
    explicit StoreSession(const ReceiverRoot& root, const SessionRequest& request = {}) {
        static std::uint64_t serial = 0;
        proto::Open open;
        open.flags = request.flags;
        open.destination = request.destination;
        open.roots.assign(request.roots.begin(), request.roots.end());
        open.run.fill(std::byte{request.run});
        auto made = Store::open(root, ++serial, open, request.policy);
        if (made) {
            store_ = std::move(*made);
            if (store_->may_adopt()) {
                store_->adopt();
            }
        } else {
            error_ = made.error();
        }
    }

    [[nodiscard]] bool ok() const noexcept { return store_ != nullptr; }
    [[nodiscard]] const Error& error() const noexcept { return error_; }
    [[nodiscard]] Store& store() noexcept { return *store_; }
    [[nodiscard]] DirectoryCache& directories() noexcept { return directories_; }
    [[nodiscard]] std::unique_ptr<Store> take_store() noexcept { return std::move(store_); }

    // Each gives the text of the problem, or nothing.
    std::string put(proto::RecordKind kind, std::string_view path, std::string_view content,
                    std::uint32_t mode, const proto::Timestamp& mtime = {kStoredTime, 0}) {
        proto::Record record;
        record.kind = kind;
        record.mode = mode;
        record.mtime = mtime;
        record.path = path;
        record.content = std::as_bytes(std::span(content.data(), content.size()));
        return text(store_->put(record, directories_));
    }
    std::string file(std::string_view path, std::string_view content, std::uint32_t mode = 0644) {
        return put(proto::RecordKind::file, path, content, mode);
    }
    std::string link(std::string_view path, std::string_view target) {
        return put(proto::RecordKind::symlink, path, target, 0777);
    }
    std::string dir(std::string_view path, std::uint32_t mode = 0755) {
        return put(proto::RecordKind::directory, path, "", mode);
    }

    // Whether the file is to be sent; `present` gets what is there of it.
    bool wants(const proto::OfferEntry& offered, std::vector<proto::Range>& present) {
        present.clear();
        return store_->wants(offered, directories_, present);
    }
    bool wants(const proto::OfferEntry& offered) {
        std::vector<proto::Range> ignored;
        return wants(offered, ignored);
    }

    // Publishes; the problems by path. The work area must be gone afterwards.
    std::map<std::string, std::string> publish() {
        std::map<std::string, std::string> problems;
        const Status done =
            store_->publish([&](const std::string& path, const StoreProblem& problem) {
                problems[path] = problem.text;
            });
        if (!done) {
            problems["(all)"] = done.error().message;
        }
        return problems;
    }
    void abandon() { CHECK(store_->abandon()); }

    static std::string text(const std::optional<StoreProblem>& problem) {
        return problem ? problem->text : "";
    }

private:
    std::unique_ptr<Store> store_;
    Error error_;
    DirectoryCache directories_{128};
};

} // namespace sluice::test
