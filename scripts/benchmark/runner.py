"""Runs the cases of each group, one after the other and again, and compares what arrived."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .lab import LOOPBACK, Lab, Network
from .memory import Memory
from .model import Failure, Group, GroupResult, Result, Suite, SuiteResult, Work
from .sources import Sources, chill, heat, settle
from .system import Cleanup, Processes
from .targets import Targets, image_bytes
from .tools import Place, Programs
from .units import MIB, format_duration, format_size

# A run that takes longer hangs: a minute, and what the slowest of disks or links would need.
_LIMIT_SECONDS, _LIMIT_BYTES_PER_SECOND, _LIMIT_FILES_PER_SECOND = 60.0, 20e6, 500
_LIMIT_LINK_FACTOR = 10
# What an estimate rests on.
_USUAL_BYTES_PER_SECOND, _USUAL_FILES_PER_SECOND, _USUAL_START_SECONDS = 1.2e9, 15e3, 0.5
_SPARE_BYTES = 512 * MIB


@dataclass(frozen=True)
class Plan:
    """How everything is run."""

    runs: int
    verify: bool = True
    hold_memory: bool = False


def seconds_of(group: Group, runs: int) -> float:
    """Roughly how long a group takes, making its source included."""
    work, seconds = group.work, 0.0
    rate = min(_USUAL_BYTES_PER_SECOND, group.link.goodput if group.link else 1e12)
    if group.bound is not None and group.link is None:
        rate = work.bytes / group.bound.seconds
    each = work.bytes / rate + work.files / _USUAL_FILES_PER_SECOND + _USUAL_START_SECONDS
    for case in group.cases:
        seconds += each * min(runs, case.max_runs or runs)
    return seconds + (0 if work.kind == "generate" else 2 * each)


def bytes_needed(suites: list[Suite], runs: int, may_mount: bool) -> int:
    """The most that is on the disk at a time: trees stay to the end, see targets."""
    trees: dict[Work, int] = {}
    kept = image = most = 0
    for suite in suites:
        for group in suite.groups:
            work = group.work
            if work.kind == "tree":
                trees[work] = work.bytes + work.files * 4096
                if may_mount:
                    image = max(image, image_bytes(work))
                else:
                    kept += len(group.cases) * runs * trees[work]
            elif work.kind == "file":
                most = max(most, work.bytes * (1 if work.discard else 2))
            elif not work.discard:
                most = max(most, work.bytes)
    return sum(trees.values()) + image + kept + most + _SPARE_BYTES


class Runner:
    """Works below `base`, which the caller removes."""

    def __init__(
        self,
        programs: Programs,
        base: Path,
        cleanup: Cleanup,
        plan: Plan,
        say: Callable[[str], None],
    ) -> None:
        self._programs = programs
        self._base = base
        self._plan = plan
        self._say = say
        self._cleanup = cleanup
        self._processes = Processes(programs.bare)
        cleanup.add(self._processes.kill_all)
        self._memory = Memory(programs.bare, plan.hold_memory)
        cleanup.add(self._memory.release)
        self._sources = Sources(base, say)
        self.targets = Targets(base, cleanup)
        self._lab = Lab(programs.emulator, cleanup)
        self._scratch = base / "scratch"
        self._scratch.mkdir()

    def run(self, result: SuiteResult, done: Callable[[Suite, GroupResult], None]) -> None:
        """Adds each group as soon as it is measured, and tells `done` of it."""
        suite = result.suite
        needed = {group.work for group in suite.groups}
        for group in suite.groups:
            measured = self._run_group(suite, group)
            result.groups.append(measured)
            done(suite, measured)
        for work in needed:
            self._sources.drop(work)

    def _run_group(self, suite: Suite, group: Group) -> GroupResult:
        results = [Result(case) for case in group.cases]
        network = LOOPBACK
        if group.link is not None:
            problem = self._lab.missing()
            if problem is None:
                try:
                    network = self._lab.up(group.link)
                except Failure as error:
                    problem = str(error)
            if problem:
                for result in results:
                    result.status, result.message = "skipped", problem
                return GroupResult(group, results)
        try:
            self._repeat(suite, group, network, results)
        finally:
            self._processes.kill_all()
            if network is not LOOPBACK:
                self._cleanup.now(self._lab.down)
        return GroupResult(group, results)

    def _repeat(self, suite: Suite, group: Group, network: Network, results: list[Result]) -> None:
        """Interleaved, so that what changes with time on a machine changes for all alike."""
        try:
            self._sources.get(group.work)  # it takes memory as well
            self._memory.hold(_stored_bytes(group.work))
        except Failure as error:
            for result in results:
                result.status, result.message = "failed", str(error)
            return
        for number in range(self._plan.runs):
            for result in results:
                if result.status != "ok" or number >= (result.case.max_runs or number + 1):
                    continue
                self._progress(f"{suite.name}: run {number + 1}: {result.case.name}")
                try:
                    self._run_case(group, network, result)
                except Failure as error:
                    result.status, result.message = "failed", str(error)
                finally:
                    self._processes.kill_all()
        self._progress("")

    def _place(self, group: Group, network: Network, target: Path) -> Place:
        work = group.work
        limit = _LIMIT_SECONDS + work.bytes / _LIMIT_BYTES_PER_SECOND
        limit += work.files / _LIMIT_FILES_PER_SECOND
        if group.link is not None:
            limit += _LIMIT_LINK_FACTOR * work.bytes / group.link.goodput
        if group.bound is not None:
            limit += group.bound.seconds
        return Place(
            self._programs, self._processes, work, None, target, self._scratch, limit, network
        )

    def _run_case(self, group: Group, network: Network, result: Result) -> None:
        work, tool = group.work, result.case.tool
        missing = tool.missing(self._place(group, network, self._scratch))
        if missing:
            result.status, result.message = "skipped", missing
            return
        source = self._sources.get(work)
        with self.targets.fresh(work) as directory:
            place = self._place(group, network, directory / "payload")
            place.source = source
            if not work.discard:  # what the predecessor stored
                settle(self._base)
            if source is not None:
                chill(source) if group.cold else heat(source)
            self._memory.warm(_stored_bytes(work))
            try:
                run = tool.run(place)
            finally:
                self._processes.kill_all()  # what still runs after a failure keeps the target busy
            kept = run.stored and not work.discard
            if kept and self._plan.verify and not result.runs and source is not None:
                _compare(source, place.target)
            result.runs.append(run)

    def _progress(self, text: str) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{text[:78]:<78}\r" if text else "\r" + " " * 78 + "\r")
            sys.stderr.flush()


def _stored_bytes(work: Work) -> int:
    return 0 if work.discard else work.bytes


def _compare(source: Path, target: Path) -> None:
    """Contents, names, and what symbolic links point to."""
    command = ["cmp"] if source.is_file() else ["diff", "-r", "--no-dereference", "--brief"]
    done = subprocess.run([*command, source, target], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = (done.stdout + done.stderr).strip().splitlines() or ["no word"]
        raise Failure(f"delivered something else: {said[0]}")


def estimate(suites: list[Suite], runs: int) -> str:
    """For people."""
    seconds = sum(seconds_of(group, runs) for suite in suites for group in suite.groups)
    return f"about {format_duration(seconds)}"


def space_problem(free: int, needed: int, where: Path) -> str | None:
    if free >= needed:
        return None
    return (
        f"{where} has {format_size(free)} free and {format_size(needed)} are needed: "
        "give --dir another file system, or a smaller --size"
    )
