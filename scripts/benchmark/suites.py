"""The named suites: what each measures, against what, and how much of it when it has to be quick."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from .crowd import Limited, Sessions
from .model import BOUND, Bound, Case, Goal, Group, Suite, Tool, Work
from .peers import Iperf, Netcat, Nginx, Rsync, Socat
from .sources import measure_tree
from .ssh import FAST_CIPHER, USUAL_CIPHER, RsyncSsh, Scp, TarSsh, short_name
from .tools import CP, CP_TREE, LEVELS, READ, Bare, Security, Sluice, Synced
from .units import GIB, KIB, MIB, Link, format_size, parse_link, parse_size

BARE = "bare sendfile -> splice"
CP_NAME, CP_TREE_NAME = "cp", "cp -a"
READ_NAME = "dd bs=1M of=/dev/null"

# The product's goal for many small files: the links' time with 15 % for framing, and 5 round trips.
_SMALL_FILES_SHARE, _SMALL_FILES_ROUND_TRIPS = 1.15, 5
# What it wants to reach beside others: times as a multiple of theirs at most, or so many times as
# fast at least. Those that name a peer are left out without peers.
_FILE_GOALS = (
    Goal("sluice --verify none", BARE, 1.10),
    Goal("sluice", BARE, 1.20),
    Goal("sluice", CP_NAME, 1),
)
_FILE_PEER_GOALS = (Goal("sluice", "socat", 1), Goal("sluice", "rsync daemon -aW", 1))
_FILES_GOALS = (Goal("sluice", CP_TREE_NAME, 1.4, faster=True),)
_TREE_GOALS = (Goal("sluice", CP_TREE_NAME, 1),)
_TREE_PEER_GOALS = (
    Goal("sluice", "tar | nc | tar", 0.60),
    Goal("sluice", "rsync daemon -aW", 0.45),
)
_SMALL_PEER_GOALS = (Goal("sluice", "tar | nc | tar", 0.65),)
_FSYNC_PEER_GOALS = (
    Goal("sluice --fsync", "socat, sync", 0.60),
    Goal("sluice --fsync", "rsync daemon -aW, sync", 0.60),
)
_DISCARD_GOALS = (
    Goal("sluice --verify none", BARE, 0.9, faster=True),
    Goal("sluice --verify none", "sluice copy -> copy", 3, faster=True),
)
_COLD_GOALS = (Goal("sluice", READ_NAME, 0.95, faster=True),)
_LINK_GOALS = (Goal("sluice", BOUND, 0.9, faster=True),)
_LINK_MANY_GOALS = (Goal("sluice", BOUND, 1),)
_AUTO_SHARE = 1.05  # of the time of every fixed choice
# Its goals for protected pushes: signed takes at most so much longer than in clear, TLS is so many
# times as fast as what goes through ssh, a file and many files.
_SIGNED_SHARE, _TLS_FILE_FACTOR, _TLS_TREE_FACTOR = 1.15, 3, 5


@dataclass(frozen=True)
class Settings:
    """What the command line says about all suites."""

    quick: bool = False
    size: int | None = None  # of the large file
    tree: Path = Path("/usr/share")
    peers: bool = True

    def goals(
        self, goals: tuple[Goal, ...], beside_peers: tuple[Goal, ...] = ()
    ) -> tuple[Goal, ...]:
        """None where it has to be quick: they are about more work than that."""
        if self.quick:
            return ()
        return goals + beside_peers if self.peers else goals

    def choose(self, normal: int, quick: int) -> int:
        return quick if self.quick else normal

    def large(self, normal: int = 2 * GIB, quick: int = 256 * MIB) -> Work:
        size = self.size or self.choose(normal, quick)
        return Work("file", 1, size)


def sluice(name: str, *send: str, receive: tuple[str, ...] = (), head: bool = False) -> Case:
    return Case(name, Sluice(send, receive), "sluice", headline=head)


def reference(name: str, tool: Tool) -> Case:
    return Case(name, tool, "reference")


def peer(name: str, tool: Tool, max_runs: int | None = None) -> Case:
    return Case(name, tool, "peer", max_runs=max_runs)


def file_peers() -> list[Case]:
    return [
        peer("socat", Socat()),
        peer("nc", Netcat()),
        peer("rsync daemon -aW", Rsync()),
        peer("scp (aes128-gcm)", Scp()),
        peer("nginx -> curl", Nginx()),
    ]


def tree_peers() -> list[Case]:
    return [
        peer("tar | nc | tar", Netcat()),
        peer("rsync daemon -aW", Rsync()),
        peer("scp -r (aes128-gcm)", Scp(), max_runs=1),
    ]


def _file(settings: Settings) -> list[Group]:
    cases = [
        reference(BARE, Bare()),
        reference("bare copy -> copy", Bare("copy", "copy")),
        reference(CP_NAME, CP),
        sluice("sluice", head=True),
        sluice("sluice --verify none", "--verify=none"),
        sluice("sluice sendfile -> copy", "--send-path=sendfile", receive=("--receive-path=copy",)),
        sluice("sluice copy -> splice", "--send-path=copy", receive=("--receive-path=splice",)),
        sluice("sluice copy -> copy", "--send-path=copy", receive=("--receive-path=copy",)),
        sluice("sluice -z", "--compress=3"),
    ]
    if settings.peers:
        cases += file_peers()
    goals = settings.goals(_FILE_GOALS, _FILE_PEER_GOALS)
    return [Group(settings.large(), cases, reference=BARE, goals=goals)]


def _tree_cases(settings: Settings) -> list[Case]:
    cases = [
        reference(CP_TREE_NAME, CP_TREE),
        sluice("sluice", head=True),
        sluice("sluice --verify none", "--verify=none"),
    ]
    return cases + tree_peers() if settings.peers else cases


def _files(settings: Settings) -> list[Group]:
    work = Work("tree", 4, 4 * settings.choose(GIB, 64 * MIB))
    cases = _tree_cases(settings)
    cases.insert(2, sluice("sluice -P 4", "--streams=4"))
    return [Group(work, cases, reference=CP_TREE_NAME, goals=settings.goals(_FILES_GOALS))]


def tree_work(tree: Path) -> Work:
    files, total = measure_tree(tree)
    return Work("tree", files, total, tree=tree)


def _tree(settings: Settings) -> list[Group]:
    goals = settings.goals(_TREE_GOALS, _TREE_PEER_GOALS)
    work = tree_work(settings.tree)
    return [Group(work, _tree_cases(settings), reference=CP_TREE_NAME, goals=goals)]


def _small(settings: Settings) -> list[Group]:
    count = settings.choose(20_000, 4_000)
    work = Work("tree", count, count * 8 * KIB)
    goals = settings.goals(_TREE_GOALS, _SMALL_PEER_GOALS)
    return [Group(work, _tree_cases(settings), reference=CP_TREE_NAME, goals=goals)]


def _level(level: str) -> str:
    return f"sluice --security {level}"


def _protected(work: Work, title: str, ssh: list[Case], named: int, factor: float) -> Group:
    """All levels beside programs that go through ssh; the first of those, so many, are goals."""
    levels = [
        Case(_level(level), Sluice(security=Security(level)), "sluice", headline=level == "tls")
        for level in LEVELS
    ]
    goals = [Goal(_level("signed"), _level("none"), _SIGNED_SHARE)]
    goals += [Goal(_level("tls"), case.name, factor, faster=True) for case in ssh[:named]]
    return Group(work, levels + ssh, title, _level("none"), goals=tuple(goals))


def _security(settings: Settings) -> list[Group]:
    fast, usual = short_name(FAST_CIPHER), short_name(USUAL_CIPHER)
    rsync = peer(f"rsync -aW over ssh ({fast})", RsyncSsh())
    large = [peer(f"scp ({fast})", Scp()), peer(f"scp ({usual})", Scp(USUAL_CIPHER)), rsync]
    tree = [rsync, peer(f"tar | ssh | tar ({fast})", TarSsh())]
    many = [peer(f"scp -r ({fast})", Scp(), max_runs=1), *tree]
    if not settings.peers:
        large, tree, many = [], [], []
    count = settings.choose(20_000, 2_000)
    small = Work("tree", count, count * 8 * KIB)
    return [
        _protected(settings.large(), "one large file", large, 3, _TLS_FILE_FACTOR),
        _protected(tree_work(settings.tree), "a real tree", tree, 1, _TLS_TREE_FACTOR),
        _protected(small, "small files", many, 2, _TLS_TREE_FACTOR),
    ]


def _fsync(settings: Settings) -> list[Group]:
    base = "cp, sync"
    cases = [reference(base, Synced(CP))]
    if settings.peers:
        cases += [
            peer("socat, sync", Synced(Socat())),
            peer("rsync daemon -aW, sync", Synced(Rsync())),
        ]
    cases += [
        sluice("sluice --fsync", "--fsync", head=True),
        sluice("sluice --fsync --verify none", "--fsync", "--verify=none"),
    ]
    goals = settings.goals((), _FSYNC_PEER_GOALS)
    return [Group(settings.large(), cases, reference=base, goals=goals)]


def _discard(settings: Settings) -> list[Group]:
    size = settings.size or settings.choose(2 * GIB, 512 * MIB)
    copying = ("--receive-path=copy",)
    cases = [
        reference(BARE, Bare()),
        reference("bare copy -> copy", Bare("copy", "copy")),
        sluice("sluice --verify none", "--verify=none", head=True),
        sluice("sluice --verify none -P 1", "--verify=none", "--streams=1"),
        sluice("sluice copy -> copy", "--verify=none", "--send-path=copy", receive=copying),
        sluice("sluice", head=False),
        Case("sluice --generate --verify none", Sluice(("--verify=none",), made_up=True), "sluice"),
        Case("sluice --generate", Sluice(made_up=True), "sluice"),
    ]
    if settings.peers:
        cases += [peer("iperf3", Iperf()), peer("iperf3 --zerocopy", Iperf(zero_copy=True))]
    work = Work("file", 1, size, discard=True)
    return [Group(work, cases, reference=BARE, goals=settings.goals(_DISCARD_GOALS))]


def _cold(settings: Settings) -> list[Group]:
    size = settings.size or settings.choose(2 * GIB, 256 * MIB)
    read = reference(READ_NAME, READ)
    kept = [
        read,
        reference(CP_NAME, CP),
        sluice("sluice", head=True),
        sluice("sluice --verify none", "--verify=none"),
    ]
    dropped = [read, sluice("sluice", head=True), sluice("sluice --verify none", "--verify=none")]
    file, nothing = Work("file", 1, size), Work("file", 1, size, discard=True)
    return [
        Group(file, kept, "into a file", READ_NAME, cold=True),
        Group(
            nothing, dropped, "discarded", READ_NAME, cold=True, goals=settings.goals(_COLD_GOALS)
        ),
    ]


def _link(settings: Settings) -> list[Group]:
    link = parse_link("200M/80ms/0.1%")
    size = settings.size or settings.choose(256 * MIB, 32 * MIB)
    large = [
        peer("iperf3", Iperf()),
        sluice("sluice", head=True),
        sluice("sluice -P 1", "--streams=1"),
        sluice("sluice -P 8", "--streams=8"),
    ]
    many = [sluice("sluice", head=True)]
    if settings.peers:
        large.append(peer("rsync daemon -aW", Rsync()))
        many += [peer("tar | nc | tar", Netcat()), peer("rsync daemon -aW", Rsync())]
    if settings.quick:  # here it is the link that takes the time
        large, many = ([replace(case, max_runs=1) for case in cases] for cases in (large, many))
    total = 10_000 * 4 * KIB
    seconds = total / link.goodput
    formula = seconds * _SMALL_FILES_SHARE + _SMALL_FILES_ROUND_TRIPS * link.rtt_seconds
    return [
        Group(
            Work("file", 1, size),
            large,
            "one large file",
            link=link,
            bound=Bound(size / link.goodput, "the link's goodput (1448 of 1500 bytes a packet)"),
            goals=settings.goals(_LINK_GOALS),
        ),
        Group(
            Work("tree", 10_000, total),
            many,
            "many small files",
            link=link,
            bound=Bound(formula, "the link's time x 1.15 + 5 round trips"),
            goals=settings.goals(_LINK_MANY_GOALS),
        ),
    ]


def _compress(settings: Settings) -> list[Group]:
    levels = ("1", "3", "9", "auto")
    links: list[tuple[Link | None, int]] = [
        (Link(100e6), settings.choose(64 * MIB, 16 * MIB)),
        (Link(1e9), settings.choose(256 * MIB, 64 * MIB)),
        (None, settings.choose(GIB, 128 * MIB)),
    ]
    groups = []
    for link, size in links:
        for content in ("text", "random"):
            cases = [sluice("not compressed")]
            cases += [sluice(f"-z {level}", f"--compress={level}") for level in levels]
            auto = cases[-1] = sluice("-z auto", "--compress=auto", head=True)
            goals = tuple(Goal(auto.name, case.name, _AUTO_SHARE) for case in cases[:-1])
            goals = settings.goals(goals)
            groups.append(
                Group(
                    Work("file", 1, size, "text" if content == "text" else "random"),
                    cases,
                    f"{content}, {link or 'loopback'}",
                    "not compressed",
                    link,
                    goals=goals,
                )
            )
    return groups


def _sizes(settings: Settings) -> list[Group]:
    sizes = ["1M", "16M", "256M", "1G", "4G"] + ([] if settings.quick else ["16G", "64G"])
    return [
        Group(
            Work("generate", 1, parse_size(size), discard=True),
            [
                Case("sluice", Sluice(), "sluice", True),
                Case("sluice --verify none", Sluice(("--verify=none",)), "sluice"),
            ],
            format_size(parse_size(size)),
            x=float(parse_size(size)),
        )
        for size in sizes
    ]


def _files_title(count: int) -> str:
    return "1 file" if count == 1 else f"{count:,} files"


def _counts(settings: Settings) -> list[Group]:
    counts = [1, 10, 100, 1000, 10_000] + ([] if settings.quick else [100_000, 500_000])
    cases = [reference(CP_TREE_NAME, CP_TREE), sluice("sluice", head=True)]
    if settings.peers:
        cases += [peer("tar | nc | tar", Netcat()), peer("rsync daemon -aW", Rsync())]
    return [
        Group(Work("tree", count, count * KIB), cases, _files_title(count), CP_TREE_NAME, x=count)
        for count in counts
    ]


def _sessions(settings: Settings) -> list[Group]:
    # With less the 256 would be over before the last of them has started.
    total = settings.size or settings.choose(64 * GIB, 4 * GIB)
    return [
        Group(
            Work("generate", count, total, discard=True),
            [
                Case("sluice", Sessions(count), "sluice", True),
                Case("sluice --verify none", Sessions(count, ("--verify=none",)), "sluice"),
            ],
            f"{count} at once",
            x=count,
        )
        for count in (1, 4, 16, 64, 256)
    ]


def _bwlimit(settings: Settings) -> list[Group]:
    seconds = settings.choose(8, 4)
    groups = []
    for rate in ["1M", "10M", "100M"] + ([] if settings.quick else ["1G"]):
        limit = parse_size(rate)
        work = Work("generate", 1, limit * seconds, discard=True)
        case = Case(f"sluice --bwlimit {rate}", Limited(rate), "sluice", True, max_runs=1)
        bound = Bound(seconds, "the limit")
        groups.append(Group(work, [case], f"{format_size(limit)} per second", bound=bound))
    return groups


@dataclass(frozen=True)
class _Definition:
    title: str
    explanation: str
    groups: Callable[[Settings], list[Group]]
    unit: str = "bytes"
    x_label: str = ""


_DEFINITIONS = {
    "file": _Definition(
        "One large file", "2 GiB in all modes, beside bare system calls, cp and peers", _file
    ),
    "files": _Definition("Four large files", "four files of 1 GiB, beside cp and peers", _files),
    "tree": _Definition("A real tree", "a copy of /usr/share (or --tree), with metadata", _tree),
    "small": _Definition("Small files", "20,000 files of about 8 KiB", _small),
    "fsync": _Definition("Durable", "2 GiB until they are on the disk", _fsync),
    "discard": _Definition(
        "Nothing stored", "made-up and real bytes, received and dropped, beside bare", _discard
    ),
    "cold": _Definition(
        "From the disk", "the source out of the page cache, beside a sequential read", _cold
    ),
    "link": _Definition(
        "A long, lossy link", "200 Mbit/s, 80 ms, 0.1 % loss: a file, 10,000 x 4 KiB", _link
    ),
    "compress": _Definition(
        "Compression", "text and random bytes, 100M and 1G links and loopback, by level", _compress
    ),
    "sizes": _Definition(
        "By size", "1 MiB to 64 GiB, made up and dropped", _sizes, x_label="bytes"
    ),
    "counts": _Definition(
        "By number of files", "1 to 500,000 files of 1 KiB", _counts, "files", "files"
    ),
    "sessions": _Definition(
        "Many senders",
        "1 to 256 senders at once: all together, and each share",
        _sessions,
        x_label="senders",
    ),
    "security": _Definition(
        "Protected", "in clear, signed, TLS, beside scp, rsync and tar over ssh", _security
    ),
    "bwlimit": _Definition(
        "Limited rate", "--bwlimit: what the receiving kernel gets each second", _bwlimit
    ),
}

NAMES = tuple(_DEFINITIONS)
# A representative part that takes less than two minutes with --quick.
REPRESENTATIVE = ("file", "small", "discard", "link")


def explain(name: str) -> str:
    return _DEFINITIONS[name].explanation


def make(name: str, settings: Settings) -> Suite:
    """Of one of NAMES."""
    definition = _DEFINITIONS[name]
    return Suite(
        name,
        definition.title,
        definition.groups(settings),
        "files" if definition.unit == "files" else "bytes",
        definition.x_label,
    )
