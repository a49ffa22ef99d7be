"""The HTML report: one file that needs no other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2

from . import charts
from .headline import summary
from .model import GroupResult, Report, Result, SuiteResult
from .stats import Spread
from .table import cpu_per_gb, goals, notes, rate_of, rate_unit
from .units import MIB, format_count, format_seconds, significant

_TEMPLATE = "report.html.j2"


def _range(wall: Spread) -> str:
    return f"{format_seconds(wall.low)}–{format_seconds(wall.high)}"


def _cells(result: Result, group: GroupResult, unit: str) -> list[str]:
    """Of a row that was measured."""
    assert result.wall is not None
    _, scale = rate_unit(group, unit)
    rate, cpu, ratio = rate_of(result, group, unit), cpu_per_gb(result, group), group.ratio(result)
    calls, switches = result.total("system_calls"), result.total("context_switches")
    peaks = [f"{peak / MIB:.0f}" if peak is not None else "–" for peak in result.peaks()]
    return [
        format_seconds(result.wall.median),
        _range(result.wall) if len(result.runs) > 1 else "–",
        significant(rate.median / scale) if rate else "–",
        f"{ratio:.2f}" if ratio is not None else "–",
        f"{cpu.median:.3f}" if cpu else "–",
        format_count(calls.median) if calls else "–",
        format_count(switches.median) if switches else "–",
        *peaks,
    ]


def _rows(group: GroupResult, unit: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for result in group.results:
        row: dict[str, Any] = {"name": result.case.name, "role": result.case.role}
        if result.measured:
            row["cells"] = _cells(result, group, unit)
        else:
            row["message"] = f"{result.status}: {result.message}"
        row["notes"] = notes(result)
        rows.append(row)
    return rows


def _group(suite: SuiteResult, group: GroupResult, prefix: str) -> dict[str, Any]:
    unit = suite.suite.unit
    bars = not suite.suite.x_label
    return {
        "title": group.group.title,
        "work": group.group.work.describe(),
        "cold": group.group.cold,
        "link": str(group.group.link) if group.group.link else "",
        "bound": group.group.bound,
        "reference": group.group.reference,
        "rate_unit": rate_unit(group, unit)[0],
        "rows": _rows(group, unit),
        "goals": goals(group),
        "throughput": charts.throughput(group, unit, f"{prefix}t") if bars else "",
        "ways": charts.where_bytes_went(group, f"{prefix}w") if bars else "",
    }


def render(report: Report) -> str:
    """The whole page."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    suites = [
        {
            "title": suite.suite.title,
            "name": suite.suite.name,
            "lines": charts.by_size(suite, f"s{number}") if suite.suite.x_label else "",
            "groups": [
                _group(suite, group, f"s{number}g{index}")
                for index, group in enumerate(suite.groups)
            ],
        }
        for number, suite in enumerate(report.suites)
    ]
    return environment.get_template(_TEMPLATE).render(
        environment=report.environment,
        command=report.command,
        incomplete=report.incomplete,
        summary=[line for suite in report.suites for line in summary(suite)],
        suites=suites,
    )
