"""What a benchmark measures (Work, Case, Group, Suite) and what comes out (End, Run, Result).

to_json() of the results is the documented output of --json; SCHEMA changes with it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from .stats import Spread, ratio, spread
from .units import Link, format_size

SCHEMA = 1

Kind = Literal["file", "tree", "generate"]
Role = Literal["sluice", "reference", "peer"]
Status = Literal["ok", "failed", "skipped"]

# How bytes went, from the cheapest way on.
WAYS = ("zero-copy", "copied", "inline", "compressed")


@dataclass(frozen=True)
class Work:
    """What is sent. One file, a tree (made of many files, or the copy of one), or made-up bytes."""

    kind: Kind
    files: int
    bytes: int
    content: Literal["random", "text"] = "random"
    tree: Path | None = None  # the original that is copied
    discard: bool = False  # the receiver stores nothing

    def describe(self) -> str:
        size = format_size(self.bytes)
        if self.kind == "generate":
            return f"{size} of made-up bytes"
        count = "1 file" if self.files == 1 else f"{self.files:,} files"
        if self.tree is not None:
            return f"a copy of {self.tree}: {count}, {size}"
        text = " of text" if self.content == "text" else ""
        if self.kind == "file":
            return f"one file of {size}{text}"
        each = format_size(self.bytes / max(self.files, 1))
        return f"{count} of about {each}{text}"


@dataclass
class End:
    """What one end of a transfer cost. None: not known."""

    cpu_seconds: float | None = None
    peak_memory_bytes: int | None = None
    context_switches: int | None = None
    system_calls: int | None = None
    bytes_by_way: dict[str, int] = field(default_factory=dict)


@dataclass
class Run:
    """One measurement. Several values of one run (sessions, seconds) are in `series`."""

    wall_seconds: float
    sender: End
    receiver: End | None = None  # None: there is no such process (cp)
    series: dict[str, list[float]] = field(default_factory=dict)
    stored: bool = True  # something is at the target now

    def total(self, name: str) -> float | None:
        """Of both ends together; None unless all are known."""
        ends = [self.sender] if self.receiver is None else [self.sender, self.receiver]
        values = [getattr(end, name) for end in ends]
        return None if None in values else sum(values)


class Failure(Exception):
    """A run that failed; the message is one line for people."""


class Tool(Protocol):
    """Moves the work from the source to the target, and says what that cost."""

    def missing(self, place: Any) -> str | None:
        """Why it cannot run here; None: it can."""

    def run(self, place: Any) -> Run:
        """Raises Failure."""


@dataclass(frozen=True)
class Case:
    """One row: a tool under a name."""

    name: str
    tool: Tool
    role: Role
    headline: bool = False  # stands for sluice in the summary
    max_runs: int | None = None  # of something slow


@dataclass(frozen=True)
class Bound:
    """The least time that the network allows."""

    seconds: float
    text: str


BOUND = "the bound"


@dataclass(frozen=True)
class Goal:
    """What the times of two cases, or of a case and its group's bound, are wanted to be."""

    case: str
    beside: str  # a case, or BOUND
    factor: float
    faster: bool = False  # at least so many times as fast; else: at most so many times the time


@dataclass(frozen=True)
class Group:
    """Cases that are compared with each other: the same work over the same network."""

    work: Work
    cases: list[Case]
    title: str = ""
    reference: str = ""  # name of a case: others are shown as multiples of its time
    link: Link | None = None
    bound: Bound | None = None  # then times are shown as multiples of this
    cold: bool = False  # the source is not in the page cache
    x: float | None = None  # where it is on a line chart
    goals: tuple[Goal, ...] = ()


@dataclass(frozen=True)
class Suite:
    """Groups that are reported together."""

    name: str
    title: str
    groups: list[Group]
    unit: Literal["bytes", "files"] = "bytes"  # what the rate counts
    x_label: str = ""  # a line chart over all groups, instead of bars for each


@dataclass
class Result:
    """What became of a case."""

    case: Case
    status: Status = "ok"
    message: str = ""
    runs: list[Run] = field(default_factory=list)

    @property
    def measured(self) -> bool:
        return self.status == "ok" and bool(self.runs)

    @property
    def wall(self) -> Spread | None:
        return spread(run.wall_seconds for run in self.runs)

    def total(self, name: str) -> Spread | None:
        return spread(run.total(name) for run in self.runs)

    def peaks(self) -> tuple[int | None, int | None]:
        """Peak memory of the sender and of the receiver, the largest of all runs."""
        ends: list[int | None] = []
        for end in ("sender", "receiver"):
            values = [getattr(run, end) for run in self.runs]
            known = [value.peak_memory_bytes for value in values if value is not None]
            ends.append(max((peak for peak in known if peak is not None), default=None))
        return ends[0], ends[1]

    def ways(self, end: Literal["sender", "receiver"]) -> dict[str, int]:
        """Bytes by way at one end, of the first run."""
        if not self.runs:
            return {}
        value = self.runs[0].sender if end == "sender" else self.runs[0].receiver
        return value.bytes_by_way if value is not None else {}


@dataclass
class GroupResult:
    group: Group
    results: list[Result]

    def reference_wall(self) -> Spread | float | None:
        if self.group.bound is not None:
            return self.group.bound.seconds
        for result in self.results:
            if result.case.name == self.group.reference and result.measured:
                return result.wall
        return None

    def ratio(self, result: Result) -> float | None:
        return ratio(result.wall, self.reference_wall())

    def reached(self, goal: Goal) -> float | None:
        """What the goal's factor is in fact; None: not both were measured."""
        walls = {result.case.name: result.wall for result in self.results if result.measured}
        case, beside = walls.get(goal.case), walls.get(goal.beside)
        if goal.beside == BOUND and self.group.bound is not None:
            beside = spread([self.group.bound.seconds])
        return ratio(beside, case) if goal.faster else ratio(case, beside)

    def met(self, goal: Goal) -> bool | None:
        reached = self.reached(goal)
        if reached is None:
            return None
        return reached >= goal.factor if goal.faster else reached <= goal.factor


@dataclass
class SuiteResult:
    suite: Suite
    groups: list[GroupResult]


@dataclass
class Report:
    """Everything that one call of scripts/bench measured."""

    environment: dict[str, str]
    command: str
    suites: list[SuiteResult]
    incomplete: str = ""  # why something is missing

    @property
    def empty(self) -> bool:
        return not any(suite.groups for suite in self.suites)


def _medians(result: Result, group: GroupResult) -> dict[str, Any]:
    wall, gigabytes = result.wall, group.group.work.bytes / 1e9
    if wall is None:
        return {}
    cpu = result.total("cpu_seconds")
    sender, receiver = result.peaks()
    return {
        "wall_seconds": wall.median,
        "wall_seconds_min": wall.low,
        "wall_seconds_max": wall.high,
        "bytes_per_second": wall.rate(group.group.work.bytes).median,
        "files_per_second": wall.rate(group.group.work.files).median,
        "ratio": group.ratio(result),
        "cpu_seconds_per_gb": cpu.median / gigabytes if cpu and gigabytes else None,
        "system_calls": _median(result.total("system_calls")),
        "context_switches": _median(result.total("context_switches")),
        "sender_peak_memory_bytes": sender,
        "receiver_peak_memory_bytes": receiver,
    }


def _median(value: Spread | None) -> float | None:
    return None if value is None else value.median


def _group_json(group: GroupResult) -> dict[str, Any]:
    work, link, bound = group.group.work, group.group.link, group.group.bound
    return {
        "title": group.group.title,
        "work": {
            "kind": work.kind,
            "description": work.describe(),
            "bytes": work.bytes,
            "files": work.files,
            "discarded": work.discard,
        },
        "link": None if link is None else asdict(link),
        "source": "cold" if group.group.cold else "warm",
        "reference": group.group.reference or None,
        "bound": None if bound is None else asdict(bound),
        "x": group.group.x,
        "goals": [
            {**asdict(goal), "reached": group.reached(goal), "met": group.met(goal)}
            for goal in group.group.goals
        ],
        "cases": [
            {
                "name": result.case.name,
                "role": result.case.role,
                "status": result.status,
                "message": result.message,
                "median": _medians(result, group),
                "runs": [asdict(run) for run in result.runs],
            }
            for result in group.results
        ],
    }


def to_json(report: Report) -> dict[str, Any]:
    """The schema is in ARCHITECTURE.md."""
    return {
        "schema": SCHEMA,
        "environment": report.environment,
        "command": report.command,
        "incomplete": report.incomplete or None,
        "suites": [
            {
                "name": suite.suite.name,
                "title": suite.suite.title,
                "groups": [_group_json(group) for group in suite.groups],
            }
            for suite in report.suites
        ],
    }
