// The second half of the contract: peers that go away, files that refuse or fail, no resources.
#include "tests/support/zero_copy_support.hpp"

#include <algorithm>
#include <filesystem>
#include <functional>
#include <grp.h>
#include <iostream>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>

using namespace sluice;
using namespace sluice::test;

namespace {

// A soft resource limit for one scope; SIGXFSZ is ignored so that RLIMIT_FSIZE gives EFBIG.
class LimitGuard {
public:
    LimitGuard(int resource, rlim_t value) : resource_(resource) {
        std::signal(SIGXFSZ, SIG_IGN);
        require(::getrlimit(static_cast<__rlimit_resource>(resource_), &before_) == 0, "limit");
        const rlimit lowered{value, before_.rlim_max};
        require(::setrlimit(static_cast<__rlimit_resource>(resource_), &lowered) == 0, "limit");
    }
    ~LimitGuard() { ::setrlimit(static_cast<__rlimit_resource>(resource_), &before_); }
    LimitGuard(const LimitGuard&) = delete;
    LimitGuard& operator=(const LimitGuard&) = delete;

private:
    int resource_;
    rlimit before_{};
};

constexpr int kChildSkipped = 77;

// Runs `body` in a forked child, which may change what cannot be changed back: 0 is success,
// kChildSkipped means that the machine does not allow the test.
int in_child(const std::function<int()>& body) {
    const pid_t child = ::fork();
    if (child == 0) {
        int code = 99;
        try {
            code = body();
        } catch (const std::exception& error) {
            std::cerr << error.what() << '\n';
        }
        ::_exit(code);
    }
    int status = 0;
    require(child > 0 && ::waitpid(child, &status, 0) == child, "fork");
    return WIFEXITED(status) ? WEXITSTATUS(status) : 98;
}

std::size_t open_descriptors() {
    const std::filesystem::directory_iterator entries("/proc/self/fd");
    return static_cast<std::size_t>(std::distance(begin(entries), end(entries)));
}

} // namespace

TEST_CASE("sending after the peer closed is socket_failed with EPIPE") {
    const auto mover = make_file_to_socket(any_path());
    TcpPair pair;
    const ScratchFile file(noise_bytes(1000));
    pair.receiver.reset();
    Step step = mover->step(file.fd(), 0, pair.sender.get(), 1000);
    while (step.status == StepStatus::progress) { // until the peer's reset has arrived
        REQUIRE(wait_for(pair.sender.get(), POLLHUP | POLLIN));
        step = mover->step(file.fd(), 0, pair.sender.get(), 1000);
    }
    CHECK(step.status == StepStatus::socket_failed);
    CHECK(step.error_number == EPIPE);
    CHECK(step.moved == 0);
}

TEST_CASE("a reset by the peer is socket_failed with ECONNRESET, for sending and receiving") {
    const CopyPath path = any_path();
    const ScratchFile file(noise_bytes(1000));
    TcpPair sending;
    reset_connection(sending.receiver);
    REQUIRE(wait_for(sending.sender.get(), POLLERR));
    const Step sent = make_file_to_socket(path)->step(file.fd(), 0, sending.sender.get(), 1000);
    CHECK(sent.status == StepStatus::socket_failed);
    CHECK(sent.error_number == ECONNRESET);
    TcpPair receiving;
    reset_connection(receiving.sender);
    REQUIRE(wait_for(receiving.receiver.get(), POLLERR));
    const Step got = make_socket_to_file(path)->step(receiving.receiver.get(), file.fd(), 0, 1000);
    CHECK(got.status == StepStatus::socket_failed);
    CHECK(got.error_number == ECONNRESET);
    CHECK(got.moved == 0);
}

TEST_CASE("an unusable socket is socket_failed, not a file error") {
    const CopyPath path = any_path();
    const ScratchFile file(noise_bytes(1000));
    const Step sent = make_file_to_socket(path)->step(file.fd(), 0, -1, 1000);
    CHECK(sent.status == StepStatus::socket_failed);
    CHECK(sent.error_number == EBADF);
    const Step received = make_socket_to_file(path)->step(-1, file.fd(), 0, 1000);
    CHECK(received.status == StepStatus::socket_failed);
    CHECK(received.error_number == EBADF);
}

TEST_CASE("copying raises no SIGPIPE") {
    const int code = in_child([] {
        std::signal(SIGPIPE, SIG_DFL);
        const TcpPair pair;
        const ScratchFile file(noise_bytes(10));
        ::shutdown(pair.sender.get(), SHUT_WR);
        const auto mover = make_file_to_socket(CopyPath::copy);
        return mover->step(file.fd(), 0, pair.sender.get(), 10).error_number == EPIPE ? 0 : 1;
    });
    CHECK(code == 0);
}

TEST_CASE("a source that cannot be read is file_failed, not a socket error") {
    const auto mover = make_file_to_socket(any_path());
    const TcpPair pair;
    const ScratchFile file(noise_bytes(1000));
    const UniqueFd write_only = file.reopen(O_WRONLY);
    const Step step = mover->step(write_only.get(), 0, pair.sender.get(), 1000);
    CHECK(step.status == StepStatus::file_failed);
    CHECK(step.error_number == EBADF);
    CHECK(step.moved == 0);
}

TEST_CASE("a source that sendfile refuses is copied, or an error where zero-copy is demanded") {
    const CopyPath path = any_path();
    const TcpPair pair;
    const auto special = UniqueFd::adopt(::open("/proc/self/auxv", O_RDONLY | O_CLOEXEC));
    Bytes content(4096);
    const ssize_t length = ::pread(special.get(), content.data(), content.size(), 0);
    REQUIRE(length > 16);
    content.resize(static_cast<std::size_t>(length));
    const Step step =
        make_file_to_socket(path)->step(special.get(), 8, pair.sender.get(), content.size() - 8);
    if (path == CopyPath::zero_copy) {
        CHECK(step.status == StepStatus::file_failed);
        CHECK(step.error_number == EINVAL);
        CHECK(step.moved == 0);
        return;
    }
    CHECK(step.status == StepStatus::progress);
    CHECK_FALSE(step.zero_copy);
    REQUIRE(step.moved == content.size() - 8);
    CHECK((receive_exactly(pair.receiver.get(), step.moved) == part(content, 8, step.moved)));
}

TEST_CASE("a destination opened O_APPEND is copied, or EINVAL where zero-copy is demanded") {
    const CopyPath path = any_path();
    const auto mover = make_socket_to_file(path);
    const TcpPair pair;
    const Bytes content = noise_bytes(200'000);
    const ScratchFile file;
    const UniqueFd appending = file.reopen(O_WRONLY | O_APPEND);
    send_all(pair.sender.get(), content);
    const Step step = receive_until(*mover, pair, appending.get(), 0, content.size());
    if (path == CopyPath::zero_copy) {
        CHECK(step.status == StepStatus::file_failed);
        CHECK(step.error_number == EINVAL);
        CHECK(step.moved > 0);
        CHECK(file.content().empty());
    } else {
        CHECK(step.status == StepStatus::progress);
        CHECK(step.moved == content.size());
        CHECK_FALSE(step.zero_copy);
        CHECK((file.content() == content));
    }
    CHECK(transfers(*mover, content)); // and that is not remembered for other files
}

TEST_CASE("a write that fails midway is file_failed, counts all that left the socket, and does "
          "not touch the next transfer") {
    const auto mover = make_socket_to_file(any_path());
    const TcpPair pair;
    const Bytes stream = noise_bytes(250'000);
    send_all(pair.sender.get(), stream);
    wait_queued(pair.receiver.get(), stream.size());
    const ScratchFile file;
    Step step;
    {
        const LimitGuard limit(RLIMIT_FSIZE, 150'000);
        step = mover->step(pair.receiver.get(), file.fd(), 0, 240'000);
    }
    CHECK(step.status == StepStatus::file_failed);
    CHECK(step.error_number == EFBIG);
    CHECK((step.moved >= 150'000 && step.moved <= 240'000));
    CHECK((file.content() == part(stream, 0, 150'000)));
    // Framing stays in step: what is left of the payload is exactly budget - moved.
    CHECK(mover->discard(pair.receiver.get(), 240'000 - step.moved).moved == 240'000 - step.moved);
    CHECK((receive_exactly(pair.receiver.get(), 10'000) == part(stream, 240'000, 10'000)));
    CHECK(transfers(*mover, stream));
}

TEST_CASE("a destination that cannot be written is file_failed") {
    const CopyPath path = any_path();
    const auto mover = make_socket_to_file(path);
    const ScratchFile file;
    const UniqueFd read_only = file.reopen(O_RDONLY);
    const auto full = UniqueFd::adopt(::open("/dev/full", O_WRONLY | O_CLOEXEC));
    for (const int fd : {read_only.get(), full.get()}) {
        const TcpPair pair;
        send_all(pair.sender.get(), noise_bytes(1000));
        const Step step = receive_until(*mover, pair, fd, 0, 1000);
        CHECK(step.status == StepStatus::file_failed);
        // The device has no splice operation, so only copying gets as far as its ENOSPC.
        const int device_says = path == CopyPath::zero_copy ? EINVAL : ENOSPC;
        CHECK(step.error_number == (fd == full.get() ? device_says : EBADF));
        CHECK(step.moved > 0);
        CHECK(transfers(*mover, noise_bytes(1000)));
    }
}

TEST_CASE("a full file system is file_failed with ENOSPC, and the next transfer is clean") {
    const CopyPath path = any_path();
    const int code = in_child([path] {
        if (::unshare(CLONE_NEWNS) != 0 ||
            ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
            ::mount("none", "/mnt", "tmpfs", 0, "size=64k") != 0) {
            return kChildSkipped;
        }
        const auto mover = make_socket_to_file(path);
        const TcpPair pair;
        const Bytes stream = noise_bytes(200'000);
        send_all(pair.sender.get(), stream);
        const auto file = UniqueFd::adopt(::open("/mnt/f", O_RDWR | O_CREAT | O_CLOEXEC, 0600));
        const Step step = receive_until(*mover, pair, file.get(), 0, stream.size());
        if (step.status != StepStatus::file_failed || step.error_number != ENOSPC) {
            return 1;
        }
        const Bytes left = receive_exactly(pair.receiver.get(), stream.size() - step.moved);
        if (left != part(stream, step.moved, left.size())) {
            return 2;
        }
        return transfers(*mover, stream) ? 0 : 3;
    });
    if (code == kChildSkipped) {
        std::cout << "skipped: mounting a tmpfs needs root\n";
        return;
    }
    CHECK(code == 0);
}

TEST_CASE("a pipe of two pages is slower but still zero-copy") {
    const CopyPath path = any_path();
    const int code = in_child([path] {
        if (::geteuid() == 0) { // its pipes are not limited; some user that nobody else is
            const int user = 60'000 + static_cast<int>(::getpid() % 5000);
            if (::setgroups(0, nullptr) != 0 || ::setuid(static_cast<uid_t>(user)) != 0) {
                return kChildSkipped;
            }
        }
        std::vector<Pipe> hoard;
        while (hoard.size() < 400 && (hoard.empty() || hoard.back().capacity_bytes > 8192)) {
            auto pipe = make_pipe(1 << 20);
            if (!pipe) {
                return kChildSkipped;
            }
            hoard.push_back(std::move(*pipe));
        }
        if (hoard.back().capacity_bytes > 8192) {
            return kChildSkipped;
        }
        const auto mover = make_socket_to_file(path);
        const TcpPair pair;
        const Bytes content = noise_bytes(300'000);
        send_all(pair.sender.get(), content);
        const ScratchFile file;
        const Step step = receive_until(*mover, pair, file.fd(), 0, content.size());
        return step.moved == content.size() && file.content() == content &&
                       step.zero_copy == (path != CopyPath::copy)
                   ? 0
                   : 1;
    });
    if (code == kChildSkipped) {
        std::cout << "skipped: the pipe budget of a user could not be exhausted\n";
        return;
    }
    CHECK(code == 0);
}

TEST_CASE("without descriptors for a pipe automatic copies and zero_copy says EMFILE, both only "
          "as long as that lasts") {
    const CopyPath path = any_path();
    const TcpPair pair;
    const Bytes content = noise_bytes(1000);
    send_all(pair.sender.get(), content);
    const ScratchFile file;
    std::unique_ptr<SocketToFile> mover;
    Step step;
    {
        const auto lowest_free = static_cast<rlim_t>(UniqueFd::adopt(::dup(file.fd())).get());
        const LimitGuard limit(RLIMIT_NOFILE, lowest_free);
        mover = make_socket_to_file(path);
        step = receive_until(*mover, pair, file.fd(), 0, content.size());
    }
    if (path == CopyPath::zero_copy) {
        CHECK(step.status == StepStatus::file_failed);
        CHECK(step.error_number == EMFILE);
        CHECK(step.moved == 0);
    } else {
        CHECK_FALSE(step.zero_copy);
        CHECK((file.content() == content));
    }
    CHECK(transfers(*mover, content));
}

TEST_CASE("urgent data, which splice never passes, is a socket error and not an endless loop") {
    const CopyPath path = any_path();
    if (path == CopyPath::copy) {
        return; // recv(2) skips the urgent byte
    }
    const auto mover = make_socket_to_file(path);
    const TcpPair pair;
    const ScratchFile file;
    REQUIRE(::send(pair.sender.get(), "!", 1, MSG_OOB) == 1);
    send_all(pair.sender.get(), noise_bytes(100));
    REQUIRE(wait_for(pair.receiver.get(), POLLIN));
    const Step step = receive_until(*mover, pair, file.fd(), 0, 100);
    CHECK(step.status == StepStatus::socket_failed);
    CHECK(step.error_number == EPROTO);
}

TEST_CASE("no descriptor leaks, also after failed writes") {
    const CopyPath path = any_path();
    const std::size_t before = open_descriptors();
    {
        const auto mover = make_socket_to_file(path);
        const ScratchFile file;
        const UniqueFd read_only = file.reopen(O_RDONLY);
        for (int round = 0; round < 5; ++round) {
            const TcpPair pair;
            send_all(pair.sender.get(), noise_bytes(100));
            CHECK(receive_until(*mover, pair, read_only.get(), 0, 50).moved > 0);
            CHECK(mover->discard(pair.receiver.get(), 1).status != StepStatus::file_failed);
        }
        CHECK(transfers(*mover, noise_bytes(100)));
    }
    CHECK(open_descriptors() == before);
}
