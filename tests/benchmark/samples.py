"""Results made by hand, with figures that are easy to reckon with."""

from __future__ import annotations

from pathlib import Path

from benchmark.model import (
    Case,
    End,
    Group,
    GroupResult,
    Report,
    Result,
    Role,
    Run,
    Suite,
    SuiteResult,
    Work,
)
from benchmark.tools import Local
from benchmark.units import MIB

NOTHING = Local(("true",))


def case(name: str, role: Role = "sluice", headline: bool = False) -> Case:
    return Case(name, NOTHING, role, headline)


def end(cpu: float, peak: int = 8, ways: dict[str, int] | None = None) -> End:
    return End(cpu, peak * MIB, 1000, 2000, ways or {})


def result(name: str, walls: list[float], role: Role = "sluice", headline: bool = False) -> Result:
    """CPU: a tenth of a second at each end, at every run."""
    runs = [Run(wall, end(0.1, 7, {"zero-copy": 10**9}), end(0.1, 9)) for wall in walls]
    return Result(case(name, role, headline), runs=runs)


def large_file() -> GroupResult:
    """10^9 bytes: bare in 0.5 s, sluice in 1 s, one that failed, one that was skipped."""
    bare = result("bare", [0.4, 0.5, 0.9], "reference")
    sluice = result("sluice", [1.2, 1.0, 0.9], headline=True)
    failed = Result(case("scp", "peer"), "failed", "scp: exit code 1: <no> & never")
    absent = Result(case("nc", "peer"), "skipped", "nc is not installed")
    results = [bare, sluice, failed, absent]
    work = Work("file", 1, 10**9)
    return GroupResult(Group(work, [r.case for r in results], reference="bare"), results)


def by_count() -> SuiteResult:
    """1, 10 and 100 files; the last of them in half a second."""
    groups = []
    for count in (1, 10, 100):
        sluice = result("sluice", [0.5], headline=True)
        group = Group(Work("tree", count, count * 1024), [sluice.case], str(count), x=count)
        groups.append(GroupResult(group, [sluice]))
    suite = Suite("counts", "By number", [group.group for group in groups], "files", "files")
    return SuiteResult(suite, groups)


def report() -> Report:
    group = large_file()
    suite = Suite("file", "One large file", [group.group])
    environment = {"date": "2000-01-01", "sluice": "1", "kernel": "Linux 6", "cores": "2"}
    return Report(environment, "scripts/bench file", [SuiteResult(suite, [group]), by_count()])


PROJECT = Path(__file__).resolve().parents[2]
