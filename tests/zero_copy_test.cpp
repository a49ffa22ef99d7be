// One contract for every implementation of FileToSocket and SocketToFile: each test runs for
// zero-copy, copying and automatic, over real TCP. What goes wrong: zero_copy_fault_test.cpp.
#include "tests/support/zero_copy_support.hpp"

#include <algorithm>
#include <iostream>
#include <sys/wait.h>

using namespace sluice;
using namespace sluice::test;

TEST_CASE("a sending step takes exactly its budget from its offset, not from the file position") {
    const auto mover = make_file_to_socket(any_path());
    const TcpPair pair;
    const Bytes content = noise_bytes(200'000);
    const ScratchFile file(content);
    REQUIRE(::lseek(file.fd(), 17, SEEK_SET) == 17);
    const std::uint64_t calls_before = thread_system_calls;
    const Step step = mover->step(file.fd(), 54'321, pair.sender.get(), 45'678);
    CHECK(step.status == StepStatus::progress);
    CHECK(step.moved == 45'678);
    CHECK(thread_system_calls > calls_before);
    CHECK(file.position() == 17);
    REQUIRE(::shutdown(pair.sender.get(), SHUT_WR) == 0);
    CHECK((receive_exactly(pair.receiver.get(), 45'678) == part(content, 54'321, 45'678)));
    std::byte after{};
    REQUIRE(wait_for(pair.receiver.get(), POLLIN));
    CHECK(::recv(pair.receiver.get(), &after, 1, 0) == 0);
}

TEST_CASE("a step with no budget does nothing") {
    const CopyPath path = any_path();
    const TcpPair pair;
    const ScratchFile file(noise_bytes(10));
    send_all(pair.sender.get(), noise_bytes(10));
    const Step sent = make_file_to_socket(path)->step(file.fd(), 0, pair.sender.get(), 0);
    CHECK((sent.status == StepStatus::progress && sent.moved == 0));
    const Step received = make_socket_to_file(path)->step(pair.receiver.get(), file.fd(), 0, 0);
    CHECK((received.status == StepStatus::progress && received.moved == 0));
}

TEST_CASE("a full socket is would_block, and sending goes on where it stopped") {
    const auto mover = make_file_to_socket(any_path());
    const TcpPair pair;
    const Bytes content = noise_bytes(24 << 20);
    const ScratchFile file(content);
    Step step = mover->step(file.fd(), 0, pair.sender.get(), content.size());
    REQUIRE(step.status == StepStatus::would_block);
    std::uint64_t sent = step.moved;
    CHECK((sent > 0 && sent < content.size()));
    Bytes received;
    while (received.size() < content.size()) {
        const Bytes next = receive_exactly(pair.receiver.get(),
                                           std::min<std::size_t>(sent - received.size(), 300'000));
        received.insert(received.end(), next.begin(), next.end());
        step = mover->step(file.fd(), sent, pair.sender.get(), content.size() - sent);
        REQUIRE((step.status == StepStatus::would_block || step.status == StepStatus::progress));
        sent += step.moved;
    }
    CHECK(sent == content.size());
    CHECK((received == content));
}

TEST_CASE("a source that was truncated is end, after the bytes it still had") {
    const auto mover = make_file_to_socket(any_path());
    const TcpPair pair;
    const Bytes content = noise_bytes(100'000);
    const ScratchFile file(content);
    REQUIRE(::ftruncate(file.fd(), 60'000) == 0);
    const Step step = mover->step(file.fd(), 10'000, pair.sender.get(), 90'000);
    CHECK(step.status == StepStatus::end);
    CHECK(step.moved == 50'000);
    CHECK((receive_exactly(pair.receiver.get(), 50'000) == part(content, 10'000, 50'000)));
}

TEST_CASE("a receiving step takes exactly its budget and leaves what follows in the socket") {
    const CopyPath path = any_path();
    const auto mover = make_socket_to_file(path);
    const TcpPair pair;
    const Bytes stream = noise_bytes(150'000);
    const ScratchFile file(noise_bytes(300'000, 2));
    Bytes expected = file.content();
    std::copy_n(stream.begin(), 130'000, expected.begin() + 77'777);
    REQUIRE(::lseek(file.fd(), 17, SEEK_SET) == 17);
    send_all(pair.sender.get(), stream);
    wait_queued(pair.receiver.get(), stream.size());
    const Step step = mover->step(pair.receiver.get(), file.fd(), 77'777, 130'000);
    CHECK(step.status == StepStatus::progress);
    CHECK(step.moved == 130'000);
    CHECK(step.zero_copy == (path != CopyPath::copy));
    CHECK(file.position() == 17);
    CHECK((file.content() == expected));
    CHECK((receive_exactly(pair.receiver.get(), 20'000) == part(stream, 130'000, 20'000)));
}

TEST_CASE("an empty socket is would_block, with the bytes that came before") {
    const auto mover = make_socket_to_file(any_path());
    const TcpPair pair;
    const ScratchFile file;
    Step step = mover->step(pair.receiver.get(), file.fd(), 0, 1000);
    CHECK(step.status == StepStatus::would_block);
    CHECK(step.moved == 0);
    const Bytes content = noise_bytes(700);
    send_all(pair.sender.get(), content);
    wait_queued(pair.receiver.get(), content.size());
    step = mover->step(pair.receiver.get(), file.fd(), 0, 1000);
    CHECK(step.status == StepStatus::would_block);
    CHECK(step.moved == 700);
    CHECK((file.content() == content));
}

TEST_CASE("a peer that closed is end, with the bytes that came before") {
    const auto mover = make_socket_to_file(any_path());
    TcpPair pair;
    const ScratchFile file;
    const Bytes content = noise_bytes(5000);
    send_all(pair.sender.get(), content);
    pair.sender.reset();
    Step step = receive_until(*mover, pair, file.fd(), 0, 6000);
    CHECK(step.status == StepStatus::end);
    CHECK(step.moved == 5000);
    CHECK((file.content() == content));
    step = mover->step(pair.receiver.get(), file.fd(), 0, 1);
    CHECK(step.status == StepStatus::end);
    step = mover->discard(pair.receiver.get(), 1);
    CHECK(step.status == StepStatus::end);
}

TEST_CASE("a socket that holds more than the pipe comes through in order") {
    const auto mover = make_socket_to_file(any_path());
    const TcpPair pair;
    const int room = 8 << 20;
    ::setsockopt(pair.receiver.get(), SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
    const ScratchFile source(noise_bytes(12 << 20));
    const ScratchFile file;
    const auto sender = make_file_to_socket(CopyPath::automatic);
    const Step sent = sender->step(source.fd(), 0, pair.sender.get(), 12 << 20);
    REQUIRE(sent.moved > (1 << 20));
    CHECK(receive_until(*mover, pair, file.fd(), 0, sent.moved).moved == sent.moved);
    CHECK((file.content() == part(source.content(), 0, sent.moved)));
}

TEST_CASE("discard drops exactly its budget and leaves what follows in the socket") {
    const CopyPath path = any_path();
    const auto mover = make_socket_to_file(path);
    const TcpPair pair;
    const Bytes stream = noise_bytes(100'000);
    send_all(pair.sender.get(), stream);
    wait_queued(pair.receiver.get(), stream.size());
    Step step = mover->discard(pair.receiver.get(), 99'000);
    CHECK(step.status == StepStatus::progress);
    CHECK(step.moved == 99'000);
    CHECK(step.zero_copy == (path != CopyPath::copy));
    CHECK((receive_exactly(pair.receiver.get(), 1000) == part(stream, 99'000, 1000)));
    step = mover->discard(pair.receiver.get(), 1);
    CHECK((step.status == StepStatus::would_block && step.moved == 0));
}

TEST_CASE("random budgets move several files through one object unchanged") {
    const CopyPath path = any_path();
    const std::uint64_t seed = test_seed();
    std::cout << "SLUICE_TEST_SEED=" << seed << '\n';
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    const auto sender = make_file_to_socket(path);
    const auto mover = make_socket_to_file(path);
    const TcpPair pair;
    for (int round = 0; round < 6; ++round) {
        const Bytes content = noise_bytes(random() % 4'000'000, random());
        const ScratchFile source(content);
        const ScratchFile file;
        std::uint64_t sent = 0;
        std::uint64_t received = 0;
        const auto budget = [&random](std::uint64_t left) {
            return std::min(left, random() % (std::uint64_t{1} << (random() % 22)));
        };
        while (received < content.size()) {
            const Step out =
                sender->step(source.fd(), sent, pair.sender.get(), budget(content.size() - sent));
            sent += out.moved;
            const Step in = mover->step(pair.receiver.get(), file.fd(), received,
                                        budget(content.size() - received));
            received += in.moved;
            REQUIRE(std::max(out.status, in.status) <= StepStatus::would_block);
            REQUIRE(received <= sent);
        }
        REQUIRE((file.content() == content));
    }
}

TEST_CASE("a step on a blocking socket waits for all of its budget, while the peer sends") {
    const CopyPath path = any_path();
    const TcpPair pair;
    set_blocking(pair.receiver.get(), true);
    const int tight = 64 << 10; // makes for short sends that are not yet a full socket
    REQUIRE(::setsockopt(pair.sender.get(), SOL_SOCKET, SO_SNDBUF, &tight, sizeof tight) == 0);
    const Bytes content = noise_bytes(12 << 20);
    const ScratchFile source(content);
    const pid_t child = ::fork();
    if (child == 0) {
        const auto sender = make_file_to_socket(path);
        std::uint64_t sent = 0;
        while (sent < content.size() && wait_for(pair.sender.get(), POLLOUT)) {
            sent += sender->step(source.fd(), sent, pair.sender.get(), content.size() - sent).moved;
        }
        ::_exit(0);
    }
    REQUIRE(child > 0);
    const ScratchFile file;
    const Step step =
        make_socket_to_file(path)->step(pair.receiver.get(), file.fd(), 0, content.size());
    CHECK(::waitpid(child, nullptr, 0) == child);
    CHECK(step.status == StepStatus::progress);
    CHECK(step.moved == content.size());
    CHECK((file.content() == content));
}

TEST_CASE("a pipe is as large as asked, up to what the system grants") {
    const auto small = make_pipe(1 << 17);
    REQUIRE(small);
    CHECK(small->capacity_bytes >= 4096);
    const auto greedy = make_pipe(SIZE_MAX);
    REQUIRE(greedy);
    CHECK(greedy->capacity_bytes >= small->capacity_bytes);
    CHECK((::fcntl(greedy->read_end.get(), F_GETFD) & FD_CLOEXEC) != 0);
}

TEST_CASE("copy paths have their names, and no others") {
    CHECK(parse_copy_path("auto", "splice") == CopyPath::automatic);
    CHECK(parse_copy_path("splice", "splice") == CopyPath::zero_copy);
    CHECK(parse_copy_path("copy", "splice") == CopyPath::copy);
    CHECK_FALSE(parse_copy_path("sendfile", "splice"));
    CHECK_FALSE(parse_copy_path("", "splice"));
}
