"""The table on the terminal: at most 100 columns."""

from __future__ import annotations

import textwrap

from .model import GroupResult, Result
from .stats import Spread, spread
from .units import MIB, format_count, format_seconds, significant

WIDTH = 100
_NAME_WIDTH = 33
_ROW = f"{{:<{_NAME_WIDTH}}} {{:>7}} {{:>13}} {{:>7}} {{:>6}} {{:>6}} {{:>6}} {{:>6}} {{:>7}}"
_GIGA = 1e9


def rate_unit(group: GroupResult, unit: str) -> tuple[str, float]:
    """The name of the unit that rates of the group are shown in, and how large it is."""
    if unit == "files":
        return "files/s", 1.0
    rates = [
        result.wall.rate(group.group.work.bytes).median
        for result in group.results
        if result.measured and result.wall
    ]
    return ("GB/s", _GIGA) if rates and max(rates) >= 0.5 * _GIGA else ("MB/s", 1e6)


def rate_of(result: Result, group: GroupResult, unit: str) -> Spread | None:
    """Bytes or files per second."""
    work = group.group.work
    return result.wall.rate(work.files if unit == "files" else work.bytes) if result.wall else None


def cpu_per_gb(result: Result, group: GroupResult) -> Spread | None:
    """CPU seconds of both ends together per 10^9 bytes; None of less than 1 MB, where it says
    nothing."""
    cpu, gigabytes = result.total("cpu_seconds"), group.group.work.bytes / _GIGA
    return cpu.per(gigabytes) if cpu and gigabytes >= 0.001 else None


def _peaks(result: Result) -> str:
    sender, receiver = result.peaks()
    shown = [f"{peak / MIB:.0f}" if peak is not None else "-" for peak in (sender, receiver)]
    return shown[0] if result.runs[0].receiver is None else "/".join(shown)


def _explained(result: Result) -> str:
    """Instead of figures: why there are none, on as many lines as that takes."""
    first = f"{result.case.name[:_NAME_WIDTH]:<{_NAME_WIDTH}} "
    return "\n".join(
        textwrap.wrap(
            f"{result.status}: {result.message}",
            WIDTH,
            initial_indent=first,
            subsequent_indent=" " * len(first),
        )
    )


def _row(result: Result, group: GroupResult, unit: str) -> str:
    name = result.case.name
    if not result.measured or result.wall is None:
        return _explained(result)
    wall, ratio = result.wall, group.ratio(result)
    rate, (_, scale) = rate_of(result, group, unit), rate_unit(group, unit)
    cpu = cpu_per_gb(result, group)
    calls, switches = result.total("system_calls"), result.total("context_switches")
    spread_text = f"{format_seconds(wall.low)}-{format_seconds(wall.high)}"
    return _ROW.format(
        name if len(name) <= _NAME_WIDTH else name[: _NAME_WIDTH - 1] + "~",
        format_seconds(wall.median),
        spread_text if len(result.runs) > 1 else "-",
        significant(rate.median / scale) if rate else "-",
        f"{ratio:.2f}" if ratio is not None else "-",
        f"{cpu.median:.3f}" if cpu else "-",
        format_count(calls.median if calls else None),
        format_count(switches.median if switches else None),
        _peaks(result),
    ).rstrip()


def series_of(result: Result) -> list[tuple[str, str]]:
    """What several values of one run mean, and from where to where they go."""
    found = []
    for name, meaning in (
        ("session_rates", "each session"),
        ("rates_per_second", "each second at the receiver"),
    ):
        rates = spread(value for run in result.runs for value in run.series.get(name, []))
        if rates is not None:
            low, middle, high = (
                significant(rate / 1e6) for rate in (rates.low, rates.median, rates.high)
            )
            found.append((meaning, f"{low} to {high} MB/s, median {middle}"))
    return found


def notes(result: Result) -> list[str]:
    """What a row has no column for."""
    return [f"{result.case.name}: {meaning}: {rates}" for meaning, rates in series_of(result)]


def goals(group: GroupResult, subject: str = "") -> list[str]:
    """How far each was reached. A goal of the case `subject` goes without its name."""
    lines = []
    for goal in group.group.goals:
        name = "" if goal.case == subject else f"{goal.case}: "
        relation = "as fast as" if goal.faster else "the time of"
        wanted = f"goal: {'>=' if goal.faster else '<='} {goal.factor:g}"
        reached = group.reached(goal)
        if reached is None:
            lines.append(f"{name}not measured beside {goal.beside} ({wanted})")
            continue
        verdict = "met" if group.met(goal) else "missed"
        lines.append(f"{name}{reached:.2f} x {relation} {goal.beside} ({wanted}, {verdict})")
    return lines


def render(group: GroupResult, unit: str) -> list[str]:
    """Lines without line ends."""
    base = "xbound" if group.group.bound else "x ref"
    head = _ROW.format(
        "",
        "wall s",
        "min-max",
        rate_unit(group, unit)[0],
        base,
        "CPU/GB",
        "calls",
        "switch",
        "MiB",
    )
    lines = [head.rstrip()]
    for result in group.results:
        lines += _row(result, group, unit).splitlines()
    for result in group.results:
        lines += [f"  {note}" for note in notes(result)]
    return lines + [f"  {line}" for line in goals(group)]


LEGEND = (
    "x ref: time as a multiple of the first row's or of the bound; CPU/GB: CPU seconds of both",
    "ends per 10^9 bytes; calls: system calls, as far as known; switch: context switches; MiB: peak",
    "memory, sender/receiver",
)
