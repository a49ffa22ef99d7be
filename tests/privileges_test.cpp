// Becoming another user, and what a program hides of itself. In child processes: there is no way
// back.
#include "common/hardening.hpp"
#include "common/sanitized.hpp"
#include "receiver/privileges.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/support/unprivileged.hpp"

#include <catch2/catch.hpp>
#include <grp.h>
#include <sys/prctl.h>
#include <sys/resource.h>

using namespace sluice;
using namespace sluice::test;

TEST_CASE("a user is found by the name, and only by one that exists") {
    const Result<UserIdentity> root = find_user("root");
    REQUIRE(root);
    CHECK(root->user == 0);
    for (const char* const name : {"no-such-user", "", "0", "root\n"}) {
        const Result<UserIdentity> none = find_user(name);
        REQUIRE_FALSE(none);
        CHECK(none.error().kind == ErrorKind::usage);
        CHECK(none.error().message.find('\n') == std::string::npos);
    }
}

TEST_CASE("root becomes another user for good") {
    if (::geteuid() != 0) {
        std::cout << "skipped: needs root\n";
        return;
    }
    const TempDir directory;
    directory.write_file("secret", "root's", 0600);
    directory.set_mode("", 0755);
    const std::string trouble = in_child([&] {
        const gid_t groups[] = {0, 4, 27};
        expect(::setgroups(3, groups) == 0, "setgroups");
        const Status done = become_user({"nobody", kNobody, kNobody});
        expect(bool(done), done ? "" : done.error().message);
        expect(::geteuid() == kNobody && ::getuid() == kNobody, "user");
        expect(::getegid() == kNobody && ::getgid() == kNobody, "group");
        gid_t left[64];
        const int count = ::getgroups(64, left);
        for (int index = 0; index < count; ++index) {
            expect(left[index] != 0 && left[index] != 27, "a group of root's was kept");
        }
        expect(::setuid(0) != 0 && ::seteuid(0) != 0 && ::setgid(0) != 0, "there is a way back");
        expect(::access(directory.path("secret").c_str(), R_OK) != 0, "reads what is root's");
        expect(::prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0, "others may look into it");
    });
    CHECK(trouble == "");
}

TEST_CASE("a process that could take root's rights back does not pass for another user's") {
    if (::geteuid() != 0) {
        std::cout << "skipped: needs root\n";
        return;
    }
    if (kSanitized) {
        // Securebits are a thread's own, and glibc ends a process whose threads fare differently.
        std::cout << "skipped: a sanitizer's thread cannot be given root's rights back\n";
        return;
    }
    const std::string trouble = in_child([] {
        // Capabilities stay with a process of such securebits (capabilities(7)).
        constexpr unsigned long kNoSetuidFixup = 1UL << 2U;
        expect(::prctl(PR_SET_SECUREBITS, kNoSetuidFixup, 0, 0, 0) == 0, "securebits");
        const Status done = become_user({"nobody", kNobody, kNobody});
        expect(!done, "no error");
        expect(done.error().kind == ErrorKind::refused, done.error().message);
    });
    CHECK(trouble == "");
}

TEST_CASE("only root becomes somebody else") {
    const std::string trouble = as_nobody([] {
        expect(bool(become_user({"myself", ::geteuid(), ::getegid()})), "not even oneself");
        const Status done = become_user({"root", 0, 0});
        expect(!done, "no error");
        expect(done.error().kind == ErrorKind::usage, done.error().message);
    });
    CHECK(trouble == "");
}

TEST_CASE("a hardened process leaves no core and gains no privileges") {
    const std::string trouble = in_child([] {
        const Status done = harden_process();
        expect(bool(done), done ? "" : done.error().message);
        rlimit core{1, 1};
        expect(::getrlimit(RLIMIT_CORE, &core) == 0, "getrlimit");
        expect(core.rlim_cur == 0 && core.rlim_max == 0, "core limit");
        expect(::prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0, "dumpable");
        expect(::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1, "no new privileges");
    });
    CHECK(trouble == "");
}
