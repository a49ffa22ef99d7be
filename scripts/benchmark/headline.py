"""What a group showed, as one sentence that a person understands at a glance."""

from __future__ import annotations

from .model import GroupResult, Result, SuiteResult
from .table import goals, rate_of, rate_unit, series_of
from .units import significant


def _pace(result: Result, group: GroupResult, unit: str) -> str:
    name, scale = rate_unit(group, unit)
    rate = rate_of(result, group, unit)
    return f"{significant(rate.median / scale)} {name}" if rate else "not measured"


def _beside(head: Result, group: GroupResult) -> list[str]:
    """How the case compares with the reference or the bound, with peers, and with other modes."""
    parts: list[str] = []
    if head.wall is None:
        return parts
    # The goals say more of those.
    named = {goal.beside for goal in group.group.goals if goal.case == head.case.name}
    ratio = group.ratio(head)
    if ratio is not None and group.group.bound is not None:
        parts.append(f"{100 / ratio:.0f} % of the bound: {group.group.bound.text}")
    elif ratio is not None and group.group.reference not in (head.case.name, *named):
        parts.append(f"{ratio:.2f} x the time of {group.group.reference}")
    for role, what in (("peer", "the fastest peer"), ("sluice", "the best other choice")):
        others = [
            result
            for result in group.results
            if result.measured and result is not head and result.case.role == role
        ]
        # Modes of sluice are choices of one and the same user only where -z auto chooses, too.
        if not others or (role == "sluice" and "auto" not in head.case.name):
            continue
        best = min(others, key=lambda result: result.wall.median if result.wall else 0)
        if best.wall is not None and best.case.name not in named:
            factor = best.wall.median / head.wall.median
            relation = "as fast as" if factor >= 1 else "the speed of"
            parts.append(f"{factor:.2f} x {relation} {what} ({best.case.name})")
    return parts


def sentence(group: GroupResult, unit: str) -> str:
    """Empty if there is nothing to say."""
    heads = [result for result in group.results if result.case.headline]
    if not heads:
        return ""
    head = heads[0]
    if not head.measured:
        return f"{head.case.name} {head.status}: {head.message}"
    parts = [f"{head.case.name}: {_pace(head, group, unit)}", *_beside(head, group)]
    parts += [f"{meaning}: {rates}" for meaning, rates in series_of(head)]
    return "; ".join(parts + goals(group, head.case.name))


def summary(suite: SuiteResult) -> list[tuple[str, str]]:
    """Title and sentence of each group; of a line chart only of its two ends."""
    unit = suite.suite.unit
    lines = []
    for group in suite.groups:
        said = sentence(group, unit)
        if said:
            title = ": ".join(part for part in (suite.suite.title, group.group.title) if part)
            lines.append((title, said))
    if suite.suite.x_label and len(lines) > 2:
        return [lines[0], lines[-1]]
    return lines
