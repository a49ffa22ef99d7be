"""The command line of scripts/bench."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from . import headline, suites, sweep, table
from .environment import gather, warnings
from .lab import NETLAB
from .model import Failure, GroupResult, Report, Suite, SuiteResult, to_json
from .runner import Plan, Runner, bytes_needed, estimate, space_problem
from .sources import remove
from .system import Cleanup, Interrupted, raise_on_signals
from .tools import Programs
from .units import UnitError, parse_size

ROOT = Path(__file__).resolve().parent.parent.parent
# Of the build; where there is a network lab, its emulator is one.
_TARGETS = ["sluice_bare", "sluice-send", "sluice-recv"]
_TARGETS += ["sluice_link"] if NETLAB.exists() else []
_DEFAULT_RUNS, _QUICK_RUNS = 5, 3
_OF_SWEEP = ("files", "generate", "discard", "link", "security", "to", "key_file", "insecure")
_EPILOG = """\
Suites (--list explains them):
  {names},
  all, and sweep. Without one: file; with --quick: {quick}, in less than two minutes.

Examples:
  scripts/bench --quick --html report.html
  scripts/bench tree --tree ~/project
  scripts/bench sweep --verify digest,none --streams 1,2,4 --size 64M,1G
  scripts/bench sweep --to server:7722 --key-file key --compress none,1,auto --size 1G
"""


class UsageError(Exception):
    """One line about the command line."""


def parser() -> argparse.ArgumentParser:
    """All options; those of sweep are in a group of their own."""
    names, quick = ", ".join(suites.NAMES), ", ".join(suites.REPRESENTATIVE)
    result = argparse.ArgumentParser(
        prog="scripts/bench",
        usage="scripts/bench [OPTIONS] [SUITE...]",
        description="Measures sluice over loopback, an emulated link or a real one, beside plain\n"
        "system calls, cp, and whatever comparable is installed.",
        epilog=_EPILOG.format(names=names, quick=quick),
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(
            prog, max_help_position=26, width=table.WIDTH
        ),
        allow_abbrev=False,
    )
    add = result.add_argument
    add("suites", nargs="*", metavar="SUITE", help="what to measure")
    add("--list", action="store_true", help="explain the suites and exit")
    add("--quick", action="store_true", help="less of everything, 3 runs")
    add("--runs", type=int, metavar="N", help="of each case, interleaved (default 5)")
    add("--size", metavar="SIZE", help="of the large file, with K, M or G (sweep: a list)")
    add("--tree", metavar="DIR", help="what to copy as a real tree (default /usr/share)")
    add("--no-peers", dest="peers", action="store_false", help="only sluice, bare, cp")
    add("--no-verify", dest="check", action="store_false", help="do not compare what arrived")
    add("--hold-memory", action="store_true", help="keep free memory from the host of this machine")
    add("--json", metavar="FILE", help="write every run and the medians to FILE")
    add("--html", metavar="FILE", help="write a report with charts to FILE")
    add("--dir", metavar="DIR", help="where to work (default $TMPDIR or /var/tmp)")
    add("--no-build", dest="build", action="store_false", help="use build/release as it is")
    add("--build-dir", metavar="DIR", help="use the programs of DIR as they are")
    group = result.add_argument_group("sweep: all combinations of these lists")
    add = group.add_argument
    add("--send-path", default="auto", metavar="LIST", help="auto, sendfile, copy")
    add("--receive-path", default="auto", metavar="LIST", help="auto, splice, copy")
    add("--verify", default="digest", metavar="LIST", help="digest, none")
    add("--compress", default="none", metavar="LIST", help="none, levels, auto")
    add("--streams", default="auto", metavar="LIST", help="numbers, auto")
    add("--files", metavar="LIST", help="trees of COUNTxSIZE, such as 10000x4K")
    add("--generate", action="store_true", help="made-up bytes instead of files, for --size")
    add("--discard", action="store_true", help="the receiver stores nothing")
    add("--link", metavar="LIST", help="RATE/RTT/LOSS, such as 200M/80ms/0.1%% (root)")
    add("--security", metavar="LIST", help="none, signed, tls (default none)")
    add("--to", metavar="HOST[:PORT]", help="a receiver that runs; what it got stays there")
    add("--key-file", metavar="FILE", help="with --to: its key (default for --security: tls)")
    add("--insecure", action="store_true", help="with --to: in clear, although not to loopback")
    return result


def choose(options: argparse.Namespace) -> list[Suite]:
    """What is asked for. Raises UsageError and UnitError."""
    names = list(options.suites)
    if not names:
        names = list(suites.REPRESENTATIVE) if options.quick else ["file"]
    if "all" in names:
        names = list(suites.NAMES)
    known = (*suites.NAMES, "sweep")
    for name in names:
        if name not in known:
            raise UsageError(f"no suite '{name}': there are {', '.join(known)} and all")
    tree = Path(options.tree or "/usr/share").resolve()
    options.tree_given = options.tree is not None
    needs_tree = options.tree_given or not {"tree", "security"}.isdisjoint(names)
    if needs_tree and not tree.is_dir():
        raise UsageError(f"--tree {tree} is not a directory")
    if names == ["sweep"]:
        options.tree = tree
        return [sweep.make(options)]
    if "sweep" in names:
        raise UsageError("sweep goes alone: its lists do not apply to other suites")
    given = [name for name in _OF_SWEEP if vars(options)[name]]
    if given:
        raise UsageError(f"--{given[0].replace('_', '-')} belongs to sweep")
    size = parse_size(options.size) if options.size else None
    settings = suites.Settings(options.quick, size, tree, options.peers)
    return [suites.make(name, settings) for name in names]


def build(options: argparse.Namespace) -> Programs:
    """The programs, built unless told otherwise."""
    programs = Programs(Path(options.build_dir or ROOT / "build" / "release").resolve())
    if options.build and not options.build_dir:
        group = "bench" if options.html else "build"
        for script, *words in (
            ("setup", "--quiet", group),
            ("build", "release", *_TARGETS),
        ):
            if subprocess.run([ROOT / "scripts" / script, *words], check=False).returncode != 0:
                raise UsageError(f"scripts/{script} failed")
    for program in (programs.send, programs.receive, programs.bare):
        if not os.access(program, os.X_OK):
            raise UsageError(f"{program} is missing: run scripts/build")
    return programs


def check_outputs(options: argparse.Namespace) -> None:
    """Before anything is measured, not after."""
    for name in (options.json, options.html):
        if name and not os.access(Path(name).resolve().parent, os.W_OK):
            raise UsageError(f"cannot write {name}: its directory is missing or read-only")
    if options.html:
        try:
            from . import report  # noqa: F401
        except ImportError as error:
            raise UsageError(f"--html: {error}: run scripts/setup bench") from None


def say(text: str) -> None:
    print(text, flush=True)


def _show(runner: Runner, suite: Suite, group: GroupResult) -> None:
    title = ": ".join(part for part in (suite.title, group.group.title) if part)
    say(f"\n{title}")
    work = group.group.work
    source = "made up" if work.kind == "generate" else "in the page cache"
    if group.group.cold:
        source = "not in the page cache"
    say(f"{work.describe()}; source {source}; {runner.targets.describe(work)}")
    if group.group.bound:
        say(f"bound: {group.group.bound.seconds:.3f} s, {group.group.bound.text}")
    for line in table.render(group, suite.unit):
        say(line)


def prepare(
    options: argparse.Namespace, chosen: list[Suite], programs: Programs, cleanup: Cleanup
) -> tuple[Runner, Report]:
    """Says what will be done, if there is room for it. The report is to be filled."""
    runs = options.runs or (_QUICK_RUNS if options.quick else _DEFAULT_RUNS)
    base = Path(options.dir or os.environ.get("TMPDIR") or "/var/tmp").resolve()
    if not base.is_dir():
        raise UsageError(f"--dir {base} is not a directory")
    needed = bytes_needed(chosen, runs, os.geteuid() == 0)
    problem = space_problem(shutil.disk_usage(base).free, needed, base)
    if problem:
        raise UsageError(problem)
    environment = gather(programs, base)
    largest = max(group.work.bytes for suite in chosen for group in suite.groups)
    for name, value in environment.items():
        say(f"{name + ':':<21}{value}")
    for warning in warnings(environment, largest, options.hold_memory):
        say(f"note: {warning}")
    repeated = f"{runs} runs of each, interleaved, medians" if runs > 1 else "one run of each"
    say(f"{repeated}; {estimate(chosen, runs)}")
    work = Path(tempfile.mkdtemp(prefix="sluice-bench.", dir=base))
    cleanup.add(lambda: remove(work))
    runner = Runner(programs, work, cleanup, Plan(runs, options.check, options.hold_memory), say)
    return runner, Report(environment, shlex.join(["scripts/bench", *sys.argv[1:]]), [])


def measure(runner: Runner, chosen: list[Suite], result: Report) -> None:
    """Everything, shown on the way. If it fails, the report has what was measured before."""
    try:
        for suite in chosen:
            result.suites.append(SuiteResult(suite, []))
            runner.run(result.suites[-1], lambda suite, group: _show(runner, suite, group))
    except (Failure, OSError, Interrupted) as error:
        why = f"ended by {error}" if isinstance(error, Interrupted) else f"failed: {error}"
        result.incomplete = f"suite {len(result.suites)} of {len(chosen)} {why}"
        raise


def write(options: argparse.Namespace, result: Report) -> None:
    """The files first: nobody may be left to read what is said."""
    if result.empty:
        return
    if options.json:
        Path(options.json).write_text(json.dumps(to_json(result), indent=1) + "\n")
    if options.html:
        from . import report

        Path(options.html).write_text(report.render(result))
    say("\n" + "\n".join(table.LEGEND))
    say("")
    for title, said in (line for suite in result.suites for line in headline.summary(suite)):
        say(f"{title}: {said}")
    if result.incomplete:
        say(f"incomplete: {result.incomplete}")


def failures(result: Report) -> int:
    """How many cases failed."""
    return sum(
        case.status == "failed"
        for suite in result.suites
        for group in suite.groups
        for case in group.results
    )


def main() -> int:
    """Exit codes: 0 measured, 1 usage or failure, 128 + the signal's number."""
    options = parser().parse_args()
    if options.list:
        for name in suites.NAMES:
            say(f"{name:<10}{suites.explain(name)}")
        say(f"{'sweep':<10}every combination of the lists given; see --help")
        return 0
    # A key that the user keeps for other purposes would change what is measured.
    os.environ["SLUICE_KEY_FILE"] = ""
    cleanup = Cleanup()
    raise_on_signals()
    try:
        if options.runs is not None and options.runs < 1:
            raise UsageError(f"--runs {options.runs}: at least 1")
        check_outputs(options)
        chosen = choose(options)  # before anything that takes its time
        runner, result = prepare(options, chosen, build(options), cleanup)
        try:
            measure(runner, chosen, result)
        finally:
            write(options, result)
        failed = failures(result)
        if failed:
            print(f"bench: {failed} case(s) failed", file=sys.stderr)
        return 1 if failed else 0
    except (UsageError, UnitError, Failure, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except Interrupted as signal:
        print(f"\nbench: ended by {signal}", file=sys.stderr)
        return 128 + signal.number
    finally:
        for problem in cleanup.run():
            print(f"bench: cleaning up: {problem}", file=sys.stderr)
